"""States and measurements of devices as tables for other programs: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from agent.errors import ConfigError

FORMATS = ("csv", "parquet")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(messages: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> dict[str, list[Any]]:
    """Return messages of one kind by column; what has parts of its own is JSON text."""
    rows = [msgspec.to_builtins(message) for message in messages]
    defaults = {
        field.name: None if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(kind)
    }
    return {
        name: [_cell(row.get(name, default)) for row in rows] for name, default in defaults.items()
    }


def encode(columns: dict[str, list[Any]], kind: str) -> bytes:
    """Return a table as a file of one of `FORMATS`.

    Raises:
        ConfigError: Another format, or Parquet without pyarrow.
    """
    if kind == "csv":
        return _csv(columns)
    if kind == "parquet":
        return _parquet(columns)
    raise ConfigError(f"format {kind}: expected one of {', '.join(FORMATS)}")


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list, tuple, msgspec.Struct)):
        return json.dumps(msgspec.to_builtins(value), sort_keys=True)
    return value


def _csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_inert(value) for value in row])
    return text.getvalue().encode()


def _inert(value: Any) -> Any:
    # Devices choose these texts; a spreadsheet would calculate what begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        from pyarrow import parquet
    except ImportError as error:
        hint = "pip install pyarrow, or take --format csv"
        raise ConfigError(f"Parquet: {error}", hint=hint) from error
    target = io.BytesIO()
    parquet.write_table(pa.table(columns), target)
    return target.getvalue()
