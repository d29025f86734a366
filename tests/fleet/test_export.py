"""Tables for other programs: the same rows in both formats, and in Parquet with their types."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import datetime, timezone
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.fleet.export import encode, require
from agent.schema.messages import Outcome, State, Telemetry, UpdateReport
from tests.console.scripted import telemetry

AT_MS = 1_764_000_000_123
UPDATE = UpdateReport(release="people 2.0", path="m.json", outcome=Outcome.COMMITTED, at_ms=5)
STATES = [
    State(v=1, device="cam-1", online=True, at_ms=AT_MS, release="people 2.0", last_update=UPDATE),
    State(
        v=1, device="cam-2", online=False, problem="=1+1", floor=2**40
    ),  # as a last will: no time, no release
]
MEASURED = [telemetry(device="cam-1", at_ms=AT_MS), telemetry(device="cam-2", temperature_c=None)]


def read(messages: list[Any], kind: type[Any]) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    return parquet.read_table(pa.BufferReader(encode(messages, kind, "parquet")))


@pytest.mark.parametrize(("messages", "kind"), [(STATES, State), (MEASURED, Telemetry)])
def test_both_formats_have_the_same_rows(messages: list[Any], kind: type[Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(encode(messages, kind, "csv").decode())))
    table = read(messages, kind)
    assert table.column_names == list(rows[0]) == list(kind.__struct_fields__)
    assert [[said(value) for value in row.values()] for row in table.to_pylist()] == [
        [value.removeprefix("'") for value in row.values()] for row in rows
    ]


def said(value: Any) -> str:
    """What CSV says of a value."""
    if isinstance(value, datetime):
        return str(round(value.timestamp() * 1000))
    return "" if value is None else str(value)


def test_a_column_has_its_type_whatever_is_in_it() -> None:
    import pyarrow as pa

    wanted = {"at_ms": pa.timestamp("ms", "UTC"), "online": pa.bool_(), "v": pa.int64()}
    wanted |= dict.fromkeys(("device", "release", "phase", "last_update", "groups"), pa.string())
    for messages in ([], STATES[:1], STATES[1:]):
        schema = read(messages, State).schema
        assert {name: schema.field(name).type for name in wanted} == wanted
    measured = read(MEASURED[1:], Telemetry).schema
    assert measured.field("temperature_c").type == measured.field("fps").type == pa.float64()
    assert measured.field("worker_restarts").type == pa.int64()


def test_times_are_in_utc_and_what_was_not_said_is_null() -> None:
    first, second = read(STATES, State).to_pylist()
    assert first["at_ms"] == datetime(2025, 11, 24, 16, 0, 0, 123_000, timezone.utc)
    assert json.loads(first["last_update"])["outcome"] == "committed"
    assert (second["at_ms"], second["release"], second["last_update"]) == (None, None, None)
    # Texts are as they were said: no spreadsheet reads this file.
    assert (second["problem"], second["floor"]) == ("=1+1", 2**40)


def test_without_pyarrow_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pyarrow") as refused:
        require("parquet")
    assert "vigil-agent[parquet]" in refused.value.hint
    require("csv")
    with pytest.raises(ConfigError, match="expected one of csv, parquet"):
        require("xls")
