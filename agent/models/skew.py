"""Versions under the agent that do not go together, each with its fix.

Pure: facts in, findings out. Nothing here stops the agent: a runtime that does not work fails its trial,
and these findings say why before anybody has to look.

Sources: NVIDIA's JetPack archive (TensorRT of each JetPack) and CUDA release notes, table "CUDA Toolkit and
Minimum Required Driver Version"; ONNX Runtime documentation, "CUDA Execution Provider", requirements;
google-coral/edgetpu issue 812 (libedgetpu 16 with TensorFlow Lite 2.12 and newer); tflite-runtime 2.14 is
built for NumPy 1 (with NumPy 2 it stops with SystemError).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.schema.values import BackendName, Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.schema.profile import BoardFacts

_OLDEST_PYTHON = (3, 10)
_NUMPY_2 = (2,)
# TensorRT that each JetPack brings. Those of JetPack 4 are out of reach: its Python is too old.
_TENSORRT_OF_JETPACK = {
    "5.0": (8, 4),
    "5.1": (8, 5),
    "6.0": (8, 6),
    "6.1": (10, 3),
    "6.2": (10, 3),
}
# Least driver for each CUDA, Linux.
_LEAST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
# onnxruntime-gpu as the package registry has it: made for CUDA 11 before the first of these versions, for
# CUDA 12 up to the second; what newer ones are made for is not known here, but it is no older CUDA.
_ORT_CUDA_12 = ((1, 19), (1, 26))
_LIBEDGETPU_OF_TF_2_5 = 16
_TFLITE_WITHOUT_IT = (2, 12)


class Skew(Struct):
    """Two versions that do not go together: what was found, and what puts it right."""

    code: str
    problem: str
    fix: str


def find_skew(facts: BoardFacts) -> list[Skew]:
    """Return every disagreement of versions on this board, in the order of `_RULES`."""
    return [skew for rule in _RULES for skew in rule(facts)]


def _old_python(facts: BoardFacts) -> Iterator[Skew]:
    software = facts.software
    if software.python and _parts(software.python)[:2] < _OLDEST_PYTHON:
        origin = f" of JetPack {software.jetpack}" if software.jetpack else ""
        yield Skew(
            code="skew.python",
            problem=f"Python {software.python}{origin} is older than the 3.10 that Vigil needs",
            fix="install Python 3.10 or newer beside it; the vendor's bindings (TensorRT, OpenCV) stay"
            " behind with the old one, so inference runs on the CPU, or install a newer JetPack if the"
            " module has one",
        )


def _l4t_halfway(facts: BoardFacts) -> Iterator[Skew]:
    software = facts.software
    if software.l4t and software.l4t_packages and software.l4t != software.l4t_packages:
        yield Skew(
            code="skew.l4t",
            problem=f"Jetson Linux {software.l4t} runs with packages of {software.l4t_packages}",
            fix="finish the upgrade: `apt full-upgrade`, then restart the board",
        )


def _old_firmware(facts: BoardFacts) -> Iterator[Skew]:
    software = facts.software
    firmware = re.match(r"(\d+)\.\d+\.\d+-gcid", software.firmware)
    if software.l4t and firmware and _parts(firmware[1])[0] < _parts(software.l4t)[0]:
        yield Skew(
            code="skew.firmware",
            problem=f"firmware {software.firmware} is older than Jetson Linux {software.l4t}",
            fix="update the boot firmware: `apt install nvidia-l4t-bootloader`, then restart; a board"
            " that still runs JetPack 5 firmware must be flashed once with JetPack 6",
        )


def _foreign_tensorrt(facts: BoardFacts) -> Iterator[Skew]:
    software = facts.software
    wanted = _TENSORRT_OF_JETPACK.get(".".join(software.jetpack.split(".")[:2]))
    found = _parts(software.tensorrt)[:2]
    # The library's file name alone shows only the first part.
    if wanted and software.tensorrt and found != wanted[: len(found)]:
        yield Skew(
            code="skew.tensorrt_jetpack",
            problem=f"TensorRT {software.tensorrt} is not the {wanted[0]}.{wanted[1]} of JetPack"
            f" {software.jetpack}",
            fix="`apt install --reinstall nvidia-tensorrt`, or upgrade the whole of JetPack",
        )


def _tensorrt_bindings(facts: BoardFacts) -> Iterator[Skew]:
    library, bindings = facts.software.tensorrt, facts.backends.get(BackendName.TENSORRT, "")
    if library and bindings and _parts(library)[:1] != _parts(bindings)[:1]:
        yield Skew(
            code="skew.tensorrt_bindings",
            problem=f"Python's tensorrt {bindings} is not made for the system's TensorRT {library}",
            fix="remove it from the environment and use the system's own (`venv"
            " --system-site-packages`)",
        )
    is_new_enough = _parts(facts.software.python)[:2] >= _OLDEST_PYTHON
    if library and not bindings and is_new_enough:
        yield Skew(
            code="skew.tensorrt_unreachable",
            problem=f"TensorRT {library} is installed, but not for this agent's Python",
            fix="`apt install python3-libnvinfer`, and make the environment with `venv"
            " --system-site-packages` from the system's Python",
        )


def _old_driver(facts: BoardFacts) -> Iterator[Skew]:
    cuda, driver = facts.software.cuda, facts.gpu.driver
    wanted = _LEAST_DRIVER.get(_parts(cuda)[0]) if cuda else None
    if driver and wanted and _parts(driver)[:2] < wanted:
        yield Skew(
            code="skew.driver",
            problem=f"NVIDIA driver {driver} is too old for CUDA {cuda}",
            fix=f"install driver {wanted[0]}.{wanted[1]} or newer, or an older CUDA",
        )


def _gpu_runtime(facts: BoardFacts) -> Iterator[Skew]:
    packages, cuda = facts.software.packages, facts.software.cuda
    version = packages.get("onnxruntime-gpu", "")
    if not version:
        return
    if "onnxruntime" in packages:
        yield Skew(
            code="skew.onnxruntime_twice",
            problem="onnxruntime and onnxruntime-gpu are both installed, in the same folder",
            fix="uninstall both, then install onnxruntime-gpu alone",
        )
    if not facts.accelerators.get("cuda"):
        yield Skew(
            code="skew.onnxruntime_gpu",
            problem=f"onnxruntime-gpu {version} finds no CUDA device and runs on the CPU",
            fix="install the NVIDIA driver, or plain onnxruntime",
        )
    first, last = _ORT_CUDA_12
    wanted = 12 if _parts(version)[:2] >= first else 11
    found = _parts(cuda)[0]
    is_other = found != wanted if _parts(version)[:2] <= last else found < wanted
    # A Jetson's is NVIDIA's own build for its JetPack.
    if cuda and not facts.software.l4t and is_other:
        yield Skew(
            code="skew.onnxruntime_cuda",
            problem=f"onnxruntime-gpu {version} is made for CUDA {wanted}, found {cuda}",
            fix=f"install CUDA {wanted}, or the onnxruntime-gpu that is made for CUDA {found}"
            " (ONNX Runtime's documentation, CUDA Execution Provider)",
        )


def _tflite_numpy(facts: BoardFacts) -> Iterator[Skew]:
    packages = facts.software.packages
    version, numpy = packages.get("tflite-runtime", ""), packages.get("numpy", "")
    if version and numpy and _parts(numpy) >= _NUMPY_2:
        yield Skew(
            code="skew.tflite_numpy",
            problem=f"tflite-runtime {version} is made for NumPy 1, found NumPy {numpy}",
            fix="install ai-edge-litert instead, or `numpy<2` (the extra `tflite`)",
        )


def _edgetpu(facts: BoardFacts) -> Iterator[Skew]:
    if not facts.accelerators.get("edgetpu"):
        return
    library, packages = facts.software.edgetpu, facts.software.packages
    if not library:
        yield Skew(
            code="skew.edgetpu_missing",
            problem="an Edge TPU is there, but its library libedgetpu is not installed",
            fix="install libedgetpu1-std built for your TensorFlow Lite (github.com/feranick/libedgetpu)",
        )
        return
    litert = packages.get("ai-edge-litert", "") or packages.get("tflite-runtime", "")
    is_new = "ai-edge-litert" in packages or _parts(litert or "0") >= _TFLITE_WITHOUT_IT
    # Rebuilt ones carry the version of TensorFlow too: 16.0tf2.17.
    if litert and is_new and library == f"{_LIBEDGETPU_OF_TF_2_5}.0":
        yield Skew(
            code="skew.edgetpu_runtime",
            problem=f"libedgetpu {library} is made for TensorFlow Lite 2.5 and crashes with {litert}",
            fix="install a libedgetpu built for it (github.com/feranick/libedgetpu)",
        )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)


_RULES: tuple[Callable[[BoardFacts], Iterator[Skew]], ...] = (
    _old_python,
    _l4t_halfway,
    _old_firmware,
    _foreign_tensorrt,
    _tensorrt_bindings,
    _old_driver,
    _gpu_runtime,
    _tflite_numpy,
    _edgetpu,
)
