"""States and measurements of devices as tables for other programs: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from agent.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("csv", "parquet")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TIME = "at_ms"  # a time of the device's clock, Unix milliseconds; 0 where it said none


def require(form: str) -> None:
    """Say at once what would be said of a table in this format.

    Raises:
        ConfigError: It is none of `FORMATS`, or is Parquet without pyarrow.
    """
    if form not in FORMATS:
        raise ConfigError(f"format {form}: expected one of {', '.join(FORMATS)}")
    if form == "parquet":
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            hint = "pip install 'vigil-agent[parquet]', or take --format csv"
            raise ConfigError(f"Parquet: {error}", hint=hint) from error


def encode(messages: Sequence[msgspec.Struct], kind: type[msgspec.Struct], form: str) -> bytes:
    """Return messages of one kind as a table in one of `FORMATS`: a row each, in their order, a column for each field.

    What has parts of its own is JSON text; what was not said is empty, or null. In CSV a time is a number, Unix
    milliseconds, and what begins like a spreadsheet's formula has an apostrophe before it. In Parquet a time is a
    timestamp in UTC, and a column has its type in every file, whatever is in it.

    Raises:
        ConfigError: See `require`.
    """
    require(form)
    columns = _columns(messages, kind)
    return _csv(columns) if form == "csv" else _parquet(columns, kind)


def _columns(
    messages: Sequence[msgspec.Struct], kind: type[msgspec.Struct]
) -> dict[str, list[Any]]:
    return {
        name: [_cell(name, getattr(one, name)) for one in messages]
        for name in kind.__struct_fields__
    }


def _cell(name: str, value: Any) -> Any:
    if name == _TIME and value == 0:
        return None
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True) if isinstance(plain, (dict, list)) else plain


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


def _parquet(columns: dict[str, list[Any]], kind: type[msgspec.Struct]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(field.name, _type(field)) for field in msgspec.structs.fields(kind)])
    target = io.BytesIO()
    parquet.write_table(pa.table(columns, schema), target)
    return target.getvalue()


def _type(field: msgspec.structs.FieldInfo) -> pa.DataType:
    import pyarrow as pa

    if field.name == _TIME:
        return pa.timestamp("ms", "UTC")
    plain = {
        inspect.BoolType: pa.bool_(),
        inspect.IntType: pa.int64(),
        inspect.FloatType: pa.float64(),
    }
    told = inspect.type_info(field.type)
    kinds = told.types if isinstance(told, inspect.UnionType) else (told,)
    return next((plain[type(one)] for one in kinds if type(one) in plain), pa.string())
