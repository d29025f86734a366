"""What a measurement says: memory, intake, board, link, outbox, counters since the agent started."""

from __future__ import annotations

import os
from pathlib import Path

from agent.host.clock import boot_id
from agent.schema.camera_report import CameraReport
from agent.schema.document import parse_json, to_json
from agent.schema.ipc import FrameResult, Heartbeat
from agent.schema.measures import LinkQuality, ModelReport
from agent.schema.messages import Telemetry
from agent.schema.reporting import OutboxConfig
from agent.telemetry.meters import Meters
from agent.telemetry.outbox import Outbox
from agent.telemetry.spool import Priority
from agent.telemetry.survey import Ports, Subject, Survey
from agent.telemetry.watch import board_report

SECOND_NS = 1_000_000_000


def test_a_new_worker_is_weighed_at_once(tmp_path: Path) -> None:
    workers = [0]
    outbox = Outbox(tmp_path / "outbox.db", OutboxConfig())
    survey = Survey(
        Subject("cam-1", tmp_path, 1.0), Meters(), outbox, Ports(worker_pid=lambda: workers[-1])
    )
    assert survey().worker_pss_mb == 0.0
    workers.append(os.getpid())
    assert survey().worker_pss_mb > 1.0
    outbox.close()


def test_a_measurement_tells_of_link_outbox_model_board_and_counters(tmp_path: Path) -> None:
    times_ms = [1_000_000]
    outbox = Outbox(tmp_path / "outbox.db", OutboxConfig(), lambda: times_ms[-1])
    outbox.put("topic", bytes(65 * 1024), Priority.ALERT)
    outbox.put("topic", b"waits", Priority.METRIC)
    times_ms.append(1_030_000)
    ports = Ports(
        worker_pid=lambda: 0,
        link=lambda: LinkQuality(protocol="5", reconnects=3, acknowledged=9, round_trip_ms=12.5),
        model=lambda: ModelReport(release="gate/parts/1.0.0", variant="fp32", phase="committed"),
    )
    meters = Meters()
    meters.frame(_frame(error=""))
    meters.frame(_frame(error="broken"))
    survey = Survey(Subject("cam-1", tmp_path, 10.0), meters, outbox, ports)
    said = parse_json(to_json(survey()), Telemetry)
    assert said.boot == boot_id()
    assert (said.link.reconnects, said.link_reconnects, said.link.round_trip_ms) == (3, 3, 12.5)
    assert said.model.release == "gate/parts/1.0.0"
    assert (said.totals.frames, said.totals.failed) == (1, 1)
    assert (said.outbox.messages, said.outbox.oldest_s) == (1, 30.0)
    assert (said.outbox.dropped, said.outbox_dropped) == ({"alert": 1, "event": 0, "metric": 0}, 1)
    assert (said.board.disk_free_mb or 0) > 0
    assert (said.board.memory_free_mb or 0) > 0
    assert said.board.uptime_s > 0
    outbox.close()


def test_frames_that_came_and_frames_that_were_dropped_are_rates() -> None:
    now_ns = [SECOND_NS]
    meters = Meters(lambda: now_ns[-1])
    for captured, dropped in ((100, 10), (130, 25)):
        meters.heartbeat(Heartbeat(at_ns=0, cameras=[_camera(captured, dropped)]))
        now_ns.append(now_ns[-1] + 2 * SECOND_NS)
    assert meters.intake(10.0) == (15.0, 7.5)
    meters.heartbeat(Heartbeat(at_ns=0, cameras=[_camera(5, 0)]))
    assert meters.intake(10.0) == (0.0, 0.0)


def test_the_board_says_what_its_files_say(tmp_path: Path) -> None:
    for name, content in {
        "proc/uptime": "3600.52 7000.1\n",
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 2097152 kB\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/class/hwmon/hwmon1/name": "ina3221\n",
        "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
        "sys/class/hwmon/hwmon1/in1_input": "5000\n",
        "sys/class/hwmon/hwmon1/curr1_input": "1200\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    board = board_report(tmp_path / "nowhere", tmp_path)
    assert (board.uptime_s, board.memory_free_mb, board.disk_free_mb) == (3600, 2048.0, None)
    assert "under-voltage" in board.throttled
    assert board.power_mw == {"VDD_IN": 6000.0}


def _camera(captured: int, dropped: int) -> CameraReport:
    return CameraReport(
        name="door",
        status="streaming",
        fps=1.0,
        captured=captured,
        processed=captured - dropped,
        dropped=dropped,
    )


def _frame(error: str) -> FrameResult:
    return FrameResult(
        camera="door",
        frame=1,
        captured_ms=0,
        captured_ns=0,
        finished_ns=1,
        width=1,
        height=1,
        boxes=[],
        stages_ms={"infer": 1.0},
        error=error,
    )
