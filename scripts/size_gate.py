"""Size, names and manners of the source tree; prints the offenders and exits 1 if there are any.

The rules:

- a source file has at most 300 lines; in `agent` and in `tests`, half of the function bodies have
  at most 10 lines and 95 % at most 40 (without docstring);
- `except Exception` stands only where `BROAD_EXCEPT` says why, or where the handler ends in `raise`;
- no module has a name that says nothing;
- no file names a package registry, a path of somebody's machine, or its own licence or author.

    python scripts/size_gate.py [FOLDER]
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FILE_LINES = 300
MAX_MEDIAN_LINES = 10
MAX_BODY_LINES = 40
SHARE_WITHIN = 0.95

# Where a thread, a process or a foreign plug-in ends: path -> why everything must be caught there.
BROAD_EXCEPT: dict[str, str] = {
    "agent/app/lifecycle.py": "one part's fault must not keep the others from stopping",
    "agent/web/serving.py": "where a web server's thread ends; the program goes on without its page",
    "agent/doctor/examination.py": "where a probe's thread ends; what failed is a finding",
    "agent/host/loop.py": "where a loop's thread ends; the life cycle is told",
    "agent/vision/worker.py": "where a request ends; the control process is told, then the worker exits",
}

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}
SOURCE_SUFFIXES = {".py", ".sh", ".js", ".css", ".html"}

# Each pattern is written so that it does not find itself.
FORBIDDEN_TEXT = {
    "names a package registry": re.compile(
        r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|deb[.]debian[.]org|docker[.]io|ghcr[.]io"
        r"|--(extra-)?index-ur[l]|--find-link[s]"
    ),
    "names a path of one machine": re.compile(r"(?<![\w.~-])/(root|work)[/](?!\s)"),
    "carries a licence or authorship remark": re.compile(
        r"SPDX-Lic[e]nse|Licensed under[ ]the|Co-authored[-]by|generated (by|with) an? [a]ssistant",
        re.IGNORECASE,
    ),
}
MAY_SAY_ANYTHING = {"LICENSE"}
UNLOOKED_FOLDERS = {"build", "dist", "node_modules", "runs", "__pycache__"}


class Function(NamedTuple):
    """One function and the number of lines of its body."""

    path: str
    line: int
    name: str
    body_lines: int


def main(root: Path) -> int:
    """Prints what breaks a rule; returns the exit status."""
    offences = list(inspect(root))
    for offence in offences:
        print(offence)
    return 1 if offences else 0


def inspect(root: Path) -> Iterator[str]:
    """Yields one line for everything under `root` that breaks a rule."""
    texts = dict(read_texts(root))
    for path, text in texts.items():
        yield from check_length(path, text)
        yield from check_name(path)
        yield from check_text(path, text)
    trees = {path: ast.parse(text) for path, text in texts.items() if path.endswith(".py")}
    for path, tree in trees.items():
        yield from check_excepts(path, tree)
    for folder in ("agent", "tests"):
        inside = {path: tree for path, tree in trees.items() if path.startswith(f"{folder}/")}
        yield from check_functions(folder, [f for p, t in inside.items() for f in functions(p, t)])


def read_texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yields path and content of every text file that git knows or would add."""
    for path in list_files(root):
        try:
            yield path, (root / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # binary, or deleted and not yet committed


def list_files(root: Path) -> list[str]:
    """The files of the tree, by git where there is a checkout and by walking where there is none."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others"]
    try:
        listed = subprocess.run(
            [*command, "--exclude-standard"], check=True, capture_output=True, text=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return sorted(walk(root))
    return sorted(name for name in listed.stdout.split("\0") if (root / name).is_file())


def walk(root: Path) -> Iterator[str]:
    """Yields the files that are not in hidden or generated folders."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if path.is_file() and not hidden and not UNLOOKED_FOLDERS.intersection(parts):
            yield "/".join(parts)


def is_source(path: str) -> bool:
    """Whether people write this file as program text."""
    in_scripts = path.startswith(("scripts/", ".ci/")) and "." not in Path(path).name
    return in_scripts or Path(path).suffix in SOURCE_SUFFIXES


def check_length(path: str, text: str) -> Iterator[str]:
    """A source file is short."""
    lines = text.count("\n")
    if is_source(path) and lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"


def check_name(path: str) -> Iterator[str]:
    """A module's name says what it holds."""
    named = [part.removesuffix(".py") for part in Path(path).parts]
    for name in EMPTY_NAMES.intersection(named) if is_source(path) else ():
        yield f"{path}: the name {name!r} says nothing"


def check_text(path: str, text: str) -> Iterator[str]:
    """No file names a registry, a machine or its author."""
    if path in MAY_SAY_ANYTHING:
        return
    for complaint, pattern in FORBIDDEN_TEXT.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: {complaint}: {match.group()}"


def check_excepts(path: str, tree: ast.AST) -> Iterator[str]:
    """Catching everything needs a reason."""
    if path in BROAD_EXCEPT:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not goes_on_raising(node):
            yield f"{path}:{node.lineno}: catches everything; if it must, say why in BROAD_EXCEPT"


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether the handler catches every error."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {one.id for one in caught if isinstance(one, ast.Name)}
    return handler.type is None or bool(names & {"Exception", "BaseException"})


def goes_on_raising(handler: ast.ExceptHandler) -> bool:
    """Whether the handler only cleans up and lets the error fly on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def functions(path: str, tree: ast.AST) -> Iterator[Function]:
    """Yields every function of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(path, node.lineno, node.name, body_lines(node))


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def check_functions(folder: str, found: Iterable[Function]) -> Iterator[str]:
    """Most functions are short."""
    by_length = sorted(found, key=lambda function: function.body_lines)
    if not by_length:
        return
    median = statistics.median(function.body_lines for function in by_length)
    if median > MAX_MEDIAN_LINES:
        yield f"{folder}: the median function has {median} lines, at most {MAX_MEDIAN_LINES}"
    long = [function for function in by_length if function.body_lines > MAX_BODY_LINES]
    if len(long) > (1 - SHARE_WITHIN) * len(by_length):
        yield f"{folder}: {len(long)} of {len(by_length)} functions exceed {MAX_BODY_LINES} lines"
        yield from (f"  {f.path}:{f.line}: {f.name} has {f.body_lines} lines" for f in long)


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else here))
