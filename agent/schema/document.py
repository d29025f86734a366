"""Reading documents strictly: wrong input is named by file, place, expected and found.

Every struct that crosses a boundary is decoded here and nowhere else, so that no decoder's own
exception ever reaches a caller.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec
import yaml

from agent.errors import ConfigError, TrustError

T = TypeVar("T")
MAX_DEPTH = 32
_PATH = re.compile(r" - at `(\$.*)`$")
_MERGE = "tag:yaml.org,2002:merge"
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class _UniqueLoader(yaml.SafeLoader):
    """The safe loader, which would let the last of two equal keys win, without that."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and key.value in seen:
                problem = f"key {key.value!r} twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


class Malformed(ValueError):  # noqa: N818 - it describes a document, callers raise the error
    """A document that does not fit its schema; callers turn it into the error of their side.

    Attributes:
        place: Where in the document, as a JSON path such as `$.cameras[0].fps`.
        problem: What was expected and what was found there.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"at {place}: {problem}")
        self.place = place
        self.problem = problem


def parse_json(data: bytes, kind: type[T]) -> T:
    """Decode JSON `data` as the struct `kind`, refusing duplicate keys and deep nesting.

    Raises:
        Malformed: The bytes are not JSON or do not fit `kind`.
    """
    try:
        tree = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("$", f"expected JSON, found {_first_line(error)}") from error
    return _convert(tree, kind)


def parse_yaml(text: str, kind: type[T]) -> T:
    """Decode YAML `text` as the struct `kind`.

    Raises:
        Malformed: The text is not YAML or does not fit `kind`.
    """
    return _convert(_yaml_tree(text), kind)


def to_yaml(tree: dict[str, Any]) -> str:
    """Write a mapping as YAML, keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def parse_msgpack(data: bytes | memoryview, kind: Any) -> Any:
    """Decode MessagePack `data` as `kind` (a struct or a union of tagged structs).

    Raises:
        Malformed: The bytes are not MessagePack or do not fit `kind`.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Malformed("$", _first_line(error)) from error


def to_json(value: object) -> bytes:
    """Encode a struct as compact JSON with its fields in the order of declaration."""
    return msgspec.json.encode(value)


def config_from_yaml(text: str, kind: type[T], source: str) -> T:
    """Decode an operator's YAML file; `source` names the file in the error.

    Raises:
        ConfigError: With file, place in the document, expected and found.
    """
    return config_from_tree(config_tree(text, source), kind, source)


def config_tree(text: str, source: str) -> Any:
    """Return an operator's YAML file as plain lists and dictionaries, its fields unchecked.

    Raises:
        ConfigError: It is not YAML, or a key stands twice.
    """
    try:
        return _yaml_tree(text)
    except Malformed as error:
        raise _config_error(error, source) from error


def config_from_tree(tree: Any, kind: type[T], source: str) -> T:
    """Fit plain lists and dictionaries to the struct `kind`.

    Raises:
        ConfigError: With source, place in the document, expected and found.
    """
    try:
        return _convert(tree, kind)
    except Malformed as error:
        raise _config_error(error, source) from error


def trusted_json(data: bytes, kind: type[T], source: str) -> T:
    """Decode JSON that came from outside; `source` names it in the error.

    Raises:
        TrustError: With code `trust.malformed`.
    """
    try:
        return parse_json(data, kind)
    except Malformed as error:
        raise TrustError(f"{source}: {error}", code="trust.malformed") from error


def _yaml_tree(text: str) -> Any:
    try:
        tree = yaml.load(text, _UniqueLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(_yaml_place(error), f"expected YAML, found {_first_line(error)}") from error
    return {} if tree is None else tree


def _config_error(error: Malformed, source: str) -> ConfigError:
    return ConfigError(f"{source}: {error}", hint=f"correct {error.place} in {source}")


def _convert(tree: Any, kind: type[T]) -> T:
    _limit_depth(tree)
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        match = _PATH.search(text)
        place = match.group(1) if match else "$"
        problem = _PATH.sub("", text).replace("`", "")
        raise Malformed(place, f"{problem}{_found(tree, place)}") from error


def _found(tree: Any, place: str) -> str:
    """Return ` (found …)` with the offending value, shortened, when `place` leads to a plain one."""
    value = tree
    for name, index in _STEP.findall(place):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if isinstance(value, (dict, list)) else f" (found {str(value)[:60]!r})"


def _limit_depth(tree: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise Malformed("$", f"expected at most {MAX_DEPTH} levels of nesting, found more")
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        _limit_depth(child, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise Malformed("$", f"expected unique keys, found {repeated[:60]!r} twice")
    return result


def _no_constant(name: str) -> float:
    raise Malformed("$", f"expected a finite number, found {name}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _yaml_place(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    return "$" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
