"""The status file and the command that shows it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from agent.cli.status import status as status_command
from agent.errors import StorageError, VigilError
from agent.schema.camera_report import CameraReport
from agent.schema.document import to_json
from agent.schema.messages import Outcome, StageMs, State, Telemetry, UpdateReport
from agent.telemetry import status_file as status_file_module
from agent.telemetry.status_file import StatusFile, read_status
from tests.control.world import until

STATE = State(
    v=1,
    device="dev-1",
    online=True,
    release="detector 3",
    profile="rpi5",
    pipeline="running",
    problem="[bold]door[/bold] stalled",
    last_update=UpdateReport(release="detector 4", path="p", outcome=Outcome.REJECTED, reason="no"),
)
TELEMETRY = Telemetry(
    v=1,
    device="dev-1",
    boot="b",
    at_ms=1,
    interval_ms=1000,
    fps=12.5,
    stages={"infer": StageMs(p50=20.0, p95=25.0, p99=30.0)},
    cameras=[
        CameraReport(name="door", status="streaming", fps=12.5, captured=9, processed=8, dropped=1)
    ],
    worker_restarts=0,
    control_pss_mb=40.0,
    worker_pss_mb=120.0,
    temperature_c=None,
    outbox_messages=3,
    outbox_dropped=0,
    link_reconnects=0,
)


def status_file(folder: Path) -> StatusFile:
    return StatusFile(folder, lambda: STATE, lambda: TELEMETRY, lambda: 77, lambda: "connected")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "vigil.yaml"
    path.write_text(
        "schema: 1\ndevice: {id: dev-1, class: gate}\n"
        "broker: {host: localhost, allow_plaintext: true}\nruntime_dir: run\n"
    )
    (tmp_path / "run").mkdir()
    return path


def show(*arguments: str, columns: int = 120) -> str:
    import typer

    app = typer.Typer()
    app.command()(status_command)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_running_agent_is_shown(config: Path) -> None:
    status_file(config.parent / "run").write()
    shown = show("--config", str(config))
    for part in ("dev-1", "detector 3", "12.5", "door", "25.00", "connected", str(os.getpid())):
        assert part in shown
    assert "[bold]door[/bold] stalled" in shown


def test_eighty_columns_hold_it_without_cutting_a_word(config: Path) -> None:
    status_file(config.parent / "run").write()
    shown = show("--config", str(config), columns=80)
    assert "…" not in shown
    assert "reopened" in shown


def test_json_is_the_file_itself(config: Path) -> None:
    status_file(config.parent / "run").write()
    shown = json.loads(show("--config", str(config), "--json"))
    assert (shown["worker_pid"], shown["state"]["release"]) == (77, "detector 3")


def test_an_agent_that_does_not_run_is_said_plainly(config: Path) -> None:
    with pytest.raises(VigilError, match="not running") as caught:
        show("--config", str(config))
    assert caught.value.code == "status.absent"
    assert "systemctl start vigil" in caught.value.diagnostics()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"written_ns": -60 * 10**9}, "s old"),
        ({"written_ns": 2**62}, "s old"),
        ({"boot": "another"}, "from before the last reboot"),
    ],
)
def test_an_old_file_is_not_taken_for_news(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    status_file(tmp_path).write()
    old = replace(read_status(tmp_path), **changes)
    (tmp_path / "status.json").write_bytes(to_json(old))
    with pytest.raises(VigilError, match=told) as caught:
        read_status(tmp_path)
    assert caught.value.code == "status.stale"


def test_a_file_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"schema": 9}')
    with pytest.raises(VigilError, match=r"status\.json: at \$") as caught:
        read_status(tmp_path)
    assert caught.value.code == "status.malformed"


def test_it_is_written_again_and_again_and_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_file_module, "_EVERY_S", 0.1)
    stop = threading.Event()
    thread = threading.Thread(target=status_file(tmp_path).run, args=(stop,))
    thread.start()
    assert until((tmp_path / "status.json").exists)
    first = read_status(tmp_path).written_ns
    assert until(lambda: read_status(tmp_path).written_ns > first)
    stop.set()
    thread.join(60)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_end_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_file_module, "_EVERY_S", 0.1)
    folder = tmp_path / "late"
    with pytest.raises(StorageError):
        status_file(folder).write()
    stop = threading.Event()
    thread = threading.Thread(target=status_file(folder).run, args=(stop,))
    thread.start()
    stop.wait(0.3)
    folder.mkdir()
    assert until((folder / "status.json").exists)
    stop.set()
    thread.join(60)
