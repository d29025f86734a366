"""Reading documents strictly: wrong input is named by file, place, expected and found.

Every struct that crosses a boundary is decoded here and nowhere else, so that no decoder's own
exception ever reaches a caller.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any, TypeVar

import msgspec

from agent.errors import ConfigError, TrustError
from agent.schema.values import IDENTIFIER

T = TypeVar("T")
MAX_DEPTH = 32
_LONGEST_FIELD = 64
_PATH = re.compile(r" - at `(\$.*)`$")
_UNKNOWN = re.compile(r"unknown field (\S+)")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
# How msgspec says what most names must be, and how people do.
_IDENTIFIER = f"Expected str matching regex {IDENTIFIER!r}"
_IN_WORDS = (
    "expected small letters, digits, '.', '_' and '-', with a letter or digit first, 63 at most"
)
_making = threading.Lock()
_made: set[Any] = set()


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


def ready(kind: T) -> T:
    """Return a type when several threads may decode it; `msgspec.convert` outside of this file wants its type from here.

    What msgspec 0.22 has to know of a struct it finds out when it is first asked for, and shows it to all threads before
    it is whole: another one that decodes the same struct, or one that holds it, reads a null pointer and ends the process.
    """
    if kind not in _made:
        with _making:
            msgspec.msgpack.Decoder(kind)
            _made.add(kind)
    return kind


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
        found = first_line(error) if data.strip() else "nothing"
        raise Malformed("$", f"expected JSON, found {found}") from error
    return _convert(tree, kind)


def parse_yaml(text: str, kind: type[T]) -> T:
    """Decode YAML `text` as the struct `kind`.

    Raises:
        Malformed: The text is not YAML or does not fit `kind`.
    """
    return _convert(_yaml_tree(text), kind)


def to_yaml(tree: dict[str, Any]) -> str:
    """Write a mapping as YAML, keys in their order."""
    from agent.schema.yaml_tree import write_tree

    return write_tree(tree)


def parse_msgpack(data: bytes | memoryview, kind: Any) -> Any:
    """Decode MessagePack `data` as `kind` (a struct or a union of tagged structs).

    Raises:
        Malformed: The bytes are not MessagePack or do not fit `kind`.
    """
    try:
        return msgspec.msgpack.decode(data, type=ready(kind))
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Malformed("$", first_line(error)) from error


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
    # Only here: a worker never reads YAML and would keep its library.
    from agent.schema.yaml_tree import read_tree

    return read_tree(text)


def _config_error(error: Malformed, source: str) -> ConfigError:
    return ConfigError(f"{source}: {error}", hint=f"correct {error.place} in {source}")


def _convert(tree: Any, kind: type[T]) -> T:
    _limit_depth(tree)
    try:
        return msgspec.convert(tree, ready(kind))
    except msgspec.ValidationError as error:
        text = str(error)
        match = _PATH.search(text)
        place = match.group(1) if match else "$"
        problem = _PATH.sub("", text).replace("`", "").replace(_IDENTIFIER, _IN_WORDS)
        unknown = _UNKNOWN.search(problem)
        if unknown and len(unknown.group(1)) <= _LONGEST_FIELD:  # to compare takes the square of it
            problem += _meant(kind, place, unknown.group(1))
        raise Malformed(place, f"{problem}{_found(tree, place)}") from error


def _meant(kind: Any, place: str, name: str) -> str:
    """Return `, did you mean …?` when a field at `place` is called nearly so, else nothing."""
    from difflib import get_close_matches  # in the case of a fault alone

    kinds = [msgspec.inspect.type_info(kind)]
    for field, _ in _STEP.findall(place.replace("[...]", ".…")):  # a dictionary's values
        kinds = [below for one in kinds for below in _below(one, field)]
    known = {field.encode_name for one in kinds for field in getattr(one, "fields", ())}
    close = get_close_matches(name, sorted(known), 1)
    return f", did you mean {close[0]}?" if close else ""


def _below(kind: Any, field: str) -> list[Any]:
    """Return what may stand in a field of a type, or in its lists when `field` is empty."""
    found = [one.type for one in getattr(kind, "fields", ()) if one.encode_name == field]
    inner = getattr(kind, "value_type" if field else "item_type", None)
    found += [inner] if inner else []
    return [one for below in found for one in getattr(below, "types", (below,))]


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


def first_line(error: BaseException) -> str:
    """Return how an error of a parser begins, at most 160 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
