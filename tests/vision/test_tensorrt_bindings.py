"""Everything that the code (and the double) takes for TensorRT's is there in NVIDIA's own bindings.

The bindings are one shared object that wants TensorRT's libraries, which are gigabytes and need a GPU. To be asked
what classes it has it needs only the names of their entry points: an empty library has these, compiled here.
"""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.vision.backends.cuda import CALLS
from tests.vision.nvidia import libcudart
from tests.vision.peer import ROOT

BINDINGS = ("tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
LEAN = ("tensorrt-lean-cu13-bindings", "tensorrt-lean-cu12-bindings")
SOURCES = [
    ROOT / "agent" / "vision" / "backends" / "tensorrt.py",
    ROOT / "agent" / "vision" / "engine_build.py",
]
# The names by which the sources call objects of TensorRT.
OBJECTS = {
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "builder": "Builder",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
}
ENTRY_POINTS = (
    "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL"
    " createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getBuilderPluginRegistry"
    " getNvOnnxParserVersion getPluginRegistry initLibNvInferPlugins"
)
TELL = """
import json, {module} as trt
told = {{}}
for name, value in vars(trt).items():
    if isinstance(value, type):
        told[name] = {{key: getattr(value, key).__doc__ or "" for key in dir(value)}}
    else:
        told[name] = {{}}
print(json.dumps(told))
"""


def version_of(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    pytest.skip(f"not installed: {' or '.join(distributions)} (extra dev, on x86-64)")


def tell(module: str, **environment: str) -> dict[str, dict[str, str]]:
    """Classes of a module by name, with the docstring of every attribute."""
    command = [sys.executable, "-c", TELL.format(module=module)]
    env = os.environ | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    told: dict[str, dict[str, str]] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def version() -> str:
    return version_of(BINDINGS)


@pytest.fixture(scope="module")
def real(version: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the empty library that the bindings want")
    folder = tmp_path_factory.mktemp("empty")
    source = folder / "empty.c"
    source.write_text(
        "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ENTRY_POINTS.split())
    )
    for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        target = folder / f"{library}.so.{version.partition('.')[0]}"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True)
    return tell("tensorrt_bindings", LD_LIBRARY_PATH=str(folder))


def chains(path: Path) -> Iterator[list[str]]:
    """Every dotted name in a module, as its parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        parts: list[str] = []
        owner = node
        while isinstance(owner, ast.Attribute):
            parts.insert(0, owner.attr)
            owner = owner.value
        if parts and isinstance(owner, ast.Name):
            yield [owner.id, *parts]


def used() -> set[tuple[str, str]]:
    """Class and attribute of TensorRT, as far as the sources use them; no attribute: the name itself."""
    found = set()
    for parts in (parts for path in SOURCES for parts in chains(path)):
        if parts[0] == "trt" and parts[1] != "__version__":
            found.add((parts[1], parts[2] if len(parts) > 2 else ""))
        names = parts[1:] if parts[0] == "self" else parts
        if names[0] in OBJECTS and len(names) > 1:
            found.add((OBJECTS[names[0]], names[1]))
    return found


def test_the_sources_are_read_as_they_are_written() -> None:
    assert {
        ("ILogger", "ERROR"),
        ("IExecutionContext", "execute_async_v3"),
        ("ICudaEngine", "get_tensor_shape"),
        ("IBuilderConfig", "set_memory_pool_limit"),
        ("MemoryPoolType", "WORKSPACE"),
        ("OnnxParser", "get_error"),
        ("nptype", ""),
    } <= used()


def test_every_name_the_code_uses_is_in_the_real_bindings(real: dict[str, dict[str, str]]) -> None:
    missing = [
        f"{kind}.{name}" for kind, name in sorted(used()) if name and name not in real.get(kind, {})
    ]
    missing += [kind for kind, _ in used() if kind not in real]
    assert not missing


def test_the_runtimes_half_is_in_the_lean_bindings() -> None:
    version_of(LEAN)
    lean = tell("tensorrt_lean_bindings")
    tree = [parts for parts in chains(SOURCES[0]) if parts[0] == "trt"]
    assert tree
    assert not [parts for parts in tree if parts[1] not in lean and parts[1] != "__version__"]
    for variable in ("engine", "_context", "runtime"):
        kind = OBJECTS[variable]
        assert not {name for one, name in used() if one == kind and name} - set(lean[kind])


def test_builder_flags_are_those_of_tensorrt_10_and_gone_in_11(
    real: dict[str, dict[str, str]], version: str
) -> None:
    tree = ast.parse(SOURCES[1].read_text())
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FLAGS"
    )
    assert isinstance(table, ast.Dict)
    flags = {flag for value in table.values for flag in ast.literal_eval(value)}
    assert flags == {"FP16", "INT8"}
    is_weakly_typed = int(version.partition(".")[0]) < 11
    assert flags & set(real["BuilderFlag"]) == (flags if is_weakly_typed else set())


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("IProgressMonitor", "phase_start"),
        ("IProgressMonitor", "phase_finish"),
        ("IProgressMonitor", "step_complete"),
        ("ILogger", "log"),
    ],
)
def test_what_the_code_overrides_has_the_real_parameters(
    real: dict[str, dict[str, str]], kind: str, method: str
) -> None:
    signature = real[kind][method].partition("->")[0]
    expected = re.findall(r"(\w+): ", signature)
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    ours = next(node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == method)
    assert [argument.arg for argument in ours.args.args] == expected


def test_the_double_has_nothing_that_the_real_bindings_lack(
    real: dict[str, dict[str, str]], version: str
) -> None:
    tree = ast.parse((ROOT / "tests" / "vision" / "nvidia" / "tensorrt.py").read_text())
    missing = []
    for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        kind = real["ILogger"] if node.name == "Severity" else real.get(node.name, {})
        missing += [f"{node.name}.{name}" for name in public(node) if name not in kind]
    assert not missing


def public(kind: ast.ClassDef) -> Iterator[str]:
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id


def test_the_real_lean_runtime_refuses_what_is_no_engine(tmp_path: Path) -> None:
    version_of(LEAN)
    (tmp_path / "no.engine").write_bytes(b"ftrt" + bytes(1000))
    script = (
        "import sys, tensorrt_lean_bindings as lean\n"
        "sys.modules['tensorrt'] = lean\n"
        "from agent.errors import ModelError\n"
        "from agent.vision.backends import BackendOptions, open_backend\n"
        "try:\n"
        "    open_backend('tensorrt', sys.argv[1], BackendOptions())\n"
        "except ModelError as error:\n"
        "    print(error.code, error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "no.engine")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split()[0] in {"model.unreadable", "model.accelerator"}
    assert "no reason" not in done.stdout, "TensorRT's own words reach the reader"


def test_the_double_of_cuda_has_the_calls_of_the_code_and_no_others() -> None:
    doubled: set[Any] = {name for name in dir(libcudart.Cudart) if name.startswith("cuda")}
    assert doubled == {*CALLS, "cudaGetErrorString"}
