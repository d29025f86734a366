"""YAML as plain values, and back; what fits a struct is `agent.schema.document`'s business."""

from __future__ import annotations

from typing import Any

import yaml

from agent.schema.document import Malformed, first_line

_MERGE = "tag:yaml.org,2002:merge"


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


def read_tree(text: str) -> Any:
    """Return the lists, dictionaries and scalars of a YAML text; an empty one is a mapping without keys.

    Raises:
        Malformed: It is not YAML, or a key stands twice.
    """
    try:
        tree = yaml.load(text, _UniqueLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(_place(error), f"expected YAML, found {first_line(error)}") from error
    return {} if tree is None else tree


def write_tree(tree: dict[str, Any]) -> str:
    """Return a mapping as YAML, keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _place(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    return "$" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
