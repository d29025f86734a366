"""Checking device profiles: every fault with file, line, place, expected and found.

`load_profiles` stops at the first fault; here all of them are collected, so that a person who writes a
profile corrects them in one go.
"""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from agent.errors import ConfigError
from agent.schema.profile import PROFILE_SCHEMA, DeviceProfile
from agent.schema.values import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLACE = re.compile(r" - at `\$(.*)`$")
_GOT = re.compile(r"^Expected (.+), got (.+)$")
_INVALID = re.compile(r"^Invalid enum value (.+)$")


class Fault(Struct):
    """One thing that is wrong with a profile; `place` is a JSON path such as `$.limits.memory_mb`."""

    file: str
    line: int
    place: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Return the fault as compilers write it."""
        return f"{self.file}:{self.line}: at {self.place}: expected {self.expected}, found {self.found}"


def lint(paths: Iterable[Path]) -> list[Fault]:
    """Return the faults of these files, and names that two files of one folder share.

    Raises:
        ConfigError: A file cannot be read.
    """
    faults: list[Fault] = []
    seen: dict[tuple[Path, str], Path] = {}
    for path in paths:
        text = _read(path)
        faults += lint_text(text, str(path))
        name = _name_in(text)
        first = seen.setdefault((path.parent, name), path)
        if name and first != path:
            line = _lines(text).get("$.name", 1)
            faults.append(Fault(file=str(path), line=line, place="$.name",
                                expected="a name of its own", found=f"{name!r}, as in {first.name}"))  # fmt: skip
    return faults


def lint_text(text: str, source: str) -> list[Fault]:
    """Return the faults of one profile; `source` names it."""
    try:
        tree = yaml.safe_load(text)
        lines = _lines(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        found = f"an error: {problem}"
        return [Fault(file=source, line=line, place="$", expected="YAML", found=found)]
    faults = list(_faults(tree, DeviceProfile, "$")) or _contradictions(tree)
    located = [
        Fault(file=source, line=_line_of(place, lines), place=place, expected=wanted, found=found)
        for place, wanted, found in faults
    ]
    return sorted(located, key=lambda fault: fault.line)


_Raw = tuple[str, str, str]


def _faults(value: Any, kind: Any, place: str) -> Iterator[_Raw]:
    """Yield place, expected and found, going into structs and lists so that none hides another."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        yield from _struct_faults(value, kind, place)
        return
    (item,) = _item_kind(kind)
    if item is not None and isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _faults(each, item, f"{place}[{index}]")
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield _described(str(error), value, kind, place)


def _struct_faults(value: dict[Any, Any], kind: type, place: str) -> Iterator[_Raw]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value.keys() - fields.keys():
        yield f"{place}.{name}", f"one of {', '.join(fields)}", f"unknown field {name}"
    for name, field in fields.items():
        if name in value:
            yield from _faults(value[name], field.type, f"{place}.{name}")
        elif field.required:
            yield f"{place}.{name}", "a value", "nothing"


def _item_kind(kind: Any) -> tuple[Any]:
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    return typing.get_args(kind) if typing.get_origin(kind) is list else (None,)


def _described(message: str, value: Any, kind: Any, place: str) -> _Raw:
    inner = _PLACE.search(message)
    place += inner[1] if inner else ""
    plain = _PLACE.sub("", message).replace("`", "")
    found = repr(value)[:60]
    if got := _GOT.match(plain):
        return place, got[1], found if got[2] in {"int", "float"} else f"{found} ({got[2]})"
    if _INVALID.match(plain) and isinstance(kind, type):
        return place, f"one of {', '.join(each.value for each in kind)}", found  # type: ignore[attr-defined] # an enum
    return place, plain.removeprefix("Expected "), found


def _contradictions(tree: Any) -> list[_Raw]:
    """Return what is well-formed and still cannot be meant."""
    profile = msgspec.convert(tree, DeviceProfile)
    faults: list[_Raw] = []
    if profile.schema != PROFILE_SCHEMA:
        faults.append(("$.schema", str(PROFILE_SCHEMA), str(profile.schema)))
    limits, camera = profile.limits, profile.camera
    if limits.target_fps > camera.fps:
        wanted = f"at most the camera's {camera.fps:g} frames a second"
        faults.append(("$.limits.target_fps", wanted, f"{limits.target_fps:g}"))
    runtime = profile.runtime
    if runtime.streams > runtime.threads:
        wanted = f"at most as many as the {runtime.threads} threads they share"
        faults.append(("$.runtime.streams", wanted, str(runtime.streams)))
    kinds = [(each.backend, each.precision, sorted(each.needs)) for each in profile.prefer]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            found = f"{kind[0].value} {kind[1].value} again"
            faults.append((f"$.prefer[{index}]", "each runtime and precision once", found))
    if not profile.prefer:
        faults.append(("$.prefer", "at least one runtime", "none"))
    return faults


def _lines(text: str) -> dict[str, int]:
    """Return the line of every node of the document, by JSON path."""
    lines: dict[str, int] = {}
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    waiting = [("$", root)] if root is not None else []
    visited: set[int] = set()
    while waiting:
        place, node = waiting.pop()
        lines[place] = node.start_mark.line + 1
        if id(node) in visited:  # an alias: its content was seen where it is anchored
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [(f"{place}.{key.value}", child) for key, child in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(f"{place}[{index}]", child) for index, child in enumerate(node.value)]
    return lines


def _line_of(place: str, lines: dict[str, int]) -> int:
    """Return the line of a place, or of the nearest one around it that is written down."""
    while place not in lines and place != "$":
        place = re.sub(r"(\.[^.\[]+|\[[^\]]*\])$", "", place) or "$"
    return lines.get(place, 1)


def _name_in(text: str) -> str:
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return ""
    return str(tree.get("name", "")) if isinstance(tree, dict) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
