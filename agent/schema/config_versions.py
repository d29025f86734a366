"""Versions of `vigil.yaml`, and the way from each to the next and back: pure.

A step is a pair of functions from document to document (plain dicts, `schema` left alone). What an older version cannot
express is lost on the way down; what it could express must come back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import ConfigError
from agent.schema.config import CONFIG_SCHEMA

Document = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """From schema n to n + 1, and back."""

    up: Callable[[Document], Document]
    down: Callable[[Document], Document]


# By the schema that `up` starts from. There is one schema so far.
STEPS: Mapping[int, Step] = {}


def migrate(
    document: Document, wanted: int = CONFIG_SCHEMA, steps: Mapping[int, Step] = STEPS
) -> Document:
    """Return the document in the schema `wanted`; the one given is not changed.

    Raises:
        ConfigError: `config.schema`: it has no schema number, or no step leads there.
    """
    schema = document.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        message = f"at $.schema: expected a number, found {schema!r}"
        raise ConfigError(message, code="config.schema", hint=f"write `schema: {wanted}`")
    while schema != wanted:
        number = schema if schema < wanted else schema - 1
        step = steps.get(number)
        if step is None:
            message = f"at $.schema: expected {wanted}, found {schema}"
            hint = "it was written for another version of the agent; restore the file of this one"
            raise ConfigError(message, code="config.schema", hint=hint)
        document = dict(step.up(document) if schema < wanted else step.down(document))
        schema = number + 1 if schema < wanted else number
        document["schema"] = schema
    return document
