"""The doctor's rules, one case each: what was seen, and the code of what it means."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from agent.doctor.cameras import judge_look, judge_running, look_at_cameras
from agent.doctor.certificates import CertificateSeen
from agent.doctor.certificates import judge as judge_certificate
from agent.doctor.files import FileSeen
from agent.doctor.files import judge as judge_file
from agent.doctor.findings import exit_status, from_error, good, unseen, verdict, warning
from agent.doctor.machine import (
    ClockSeen,
    DiskSeen,
    PowerSeen,
    judge_clock,
    judge_disk,
    judge_power,
)
from agent.doctor.pace import judge_beside, judge_pace
from agent.doctor.patient import Patient
from agent.errors import StorageError
from agent.schema.camera_report import CameraReport
from agent.schema.config import BrokerConfig, CameraConfig, Config, DeviceConfig
from agent.schema.doctor import CameraLook, Finding, Level
from agent.schema.facts import Throttling
from agent.schema.messages import State, Telemetry
from agent.schema.pace import FleetPace, FleetPaces, PaceReport
from agent.telemetry.status_file import Status
from tests.parts.snapshots import STATE, TELEMETRY

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
USB = CameraConfig(name="gate", source="/dev/video0")
GOOD_LOOK = CameraLook(frames=5, width=640, height=360, brightness=90.0, contrast=40.0)


def certificate(
    *, starts: dt.datetime = NOW - DAY, ends: dt.datetime = NOW + 400 * DAY, pair: bool = True
) -> Finding:
    seen = CertificateSeen("device", "d.crt", "dev-1", starts, ends, "dev-1", pair)
    return judge_certificate(seen, NOW)


def file(mode: int | None, owner: int = 7, *, secret: bool = True, hidden: str = "") -> Finding:
    return judge_file(FileSeen("device key", "/id/device.key", secret, mode, owner, 7, hidden))


def running(report: CameraReport | None, last_s: float | None) -> Finding:
    telemetry = Telemetry(
        v=1, device="d", boot="b", at_ms=1, interval_ms=1, fps=5.0, stages={},
        cameras=[report] if report else [], worker_restarts=0, control_pss_mb=1.0, worker_pss_mb=1.0,
        temperature_c=None, outbox_messages=0, outbox_dropped=0, link_reconnects=0,
    )  # fmt: skip
    now_ns = 10**12
    last = {} if last_s is None else {"gate": now_ns - int(last_s * 1e9)}
    state = State(v=1, device="d", online=True)
    status = Status(
        schema=1, boot="b", written_ns=1, pid=1, worker_pid=2, link="connected", state=state,
        telemetry=telemetry, last_frames_ns=last,
    )  # fmt: skip
    return judge_running("gate", status, now_ns)


def fleet(infer_ms: float) -> FleetPaces:
    alike = FleetPace(
        profile=STATE.profile,
        release=STATE.release or "",
        variant=STATE.variant or "",
        devices=5,
        stages_ms={"infer": infer_ms},
    )
    return FleetPaces(v=1, at_ms=1, paces=[alike])


REPORT = CameraReport(name="gate", status="streaming", fps=5.0, captured=9, processed=9, dropped=0)
CASES: dict[str, tuple[str, Callable[[], Finding | Iterator[Finding]]]] = {
    "a disk with room": ("ok", lambda: judge_disk(DiskSeen("/s", 9000))),
    "a full disk": ("disk.full", lambda: judge_disk(DiskSeen("/s", 3))),
    "no file can be made": ("disk.full", lambda: judge_disk(DiskSeen("/s", 9000, free_files=0))),
    "little room": ("disk.tight", lambda: judge_disk(DiskSeen("/s", 200))),
    "read-only": ("disk.read_only", lambda: judge_disk(DiskSeen("/s", 9000, read_only=True))),
    "eMMC's warning": ("disk.worn", lambda: judge_disk(DiskSeen("/s", 9000, pre_eol=2))),
    "half worn": ("ok", lambda: judge_disk(DiskSeen("/s", 9000, life_percent=50, pre_eol=1))),
    "a clock behind": (
        "clock.behind",
        lambda: judge_clock(ClockSeen(1000, synchronised=True, floor_s=9000)),
    ),
    "a free clock": ("clock.unsynchronised", lambda: judge_clock(ClockSeen(9, synchronised=False))),
    "a good clock": (
        "ok",
        lambda: judge_clock(ClockSeen(9, synchronised=True, zone="UTC", journal_kept=True)),
    ),
    "earlier under-voltage": (
        "power.under_voltage",
        lambda: judge_power(PowerSeen(Throttling(earlier=["under-voltage"]))),
    ),
    "over-current": (
        "power.over_current",
        lambda: judge_power(PowerSeen(Throttling(over_current={"oc1": 4, "oc2": 0}))),
    ),
    "slower than in its past": ("agent.slow", lambda: judge_pace(STATE, TELEMETRY)),
    "as quick as in its past": (
        "ok",
        lambda: judge_pace(
            replace(STATE, slow=""), replace(TELEMETRY, pace=PaceReport(state="usual"))
        ),
    ),
    "slower than others like it": (
        "agent.slower_than_alike",
        lambda: judge_beside(STATE, TELEMETRY, fleet(4.0)),
    ),
    "as quick as others like it": ("ok", lambda: judge_beside(STATE, TELEMETRY, fleet(10.0))),
    "a fleet without others like it": (
        "unseen",
        lambda: judge_beside(replace(STATE, profile="other"), TELEMETRY, fleet(4.0)),
    ),
    "heat": ("power.hot", lambda: judge_power(PowerSeen(temperature_c=85.0, limit_c=80.0))),
    "a cool board": ("ok", lambda: judge_power(PowerSeen(temperature_c=40.0, limit_c=80.0))),
    "a good certificate": ("ok", certificate),
    "one whose renewal is overdue": (
        "certificate.expires_soon",
        lambda: certificate(starts=NOW - 85 * DAY, ends=NOW + 5 * DAY),
    ),
    "one that the device renews": (
        "ok",
        lambda: certificate(starts=NOW - 65 * DAY, ends=NOW + 25 * DAY),
    ),
    "one that ended": ("certificate.expired", lambda: certificate(ends=NOW - DAY)),
    "one of tomorrow": ("certificate.not_yet_valid", lambda: certificate(starts=NOW + DAY)),
    "one of another key": ("certificate.other_key", lambda: certificate(pair=False)),
    "a secret of its owner": ("ok", lambda: file(0o600)),
    "a secret for all": ("files.exposed", lambda: file(0o640)),
    "a public file that all may change": ("files.writable", lambda: file(0o666, secret=False)),
    "a missing file": ("files.missing", lambda: file(None)),
    "a stranger's file": ("files.owner", lambda: file(0o600, 8)),
    "root's file": ("ok", lambda: file(0o600, 0)),
    "a hidden file": ("unseen", lambda: file(0, hidden="Permission denied")),
    "a good picture": ("ok", lambda: judge_look(USB, GOOD_LOOK)),
    "a driver that hangs": ("camera.hangs", lambda: judge_look(USB, None)),
    "a black picture": ("camera.dark", lambda: judge_look(USB, CameraLook(frames=1))),
    "one colour": (
        "camera.flat",
        lambda: judge_look(USB, CameraLook(frames=5, brightness=99.0, contrast=1.0)),
    ),
    "a frozen camera": (
        "camera.frozen",
        lambda: judge_look(USB, CameraLook(frames=5, brightness=90, contrast=40, same=True)),
    ),
    "no picture": ("camera.empty", lambda: judge_look(USB, CameraLook())),
    "an agent with fresh frames": ("ok", lambda: running(REPORT, 0.5)),
    "an agent with old frames": ("camera.no_frames", lambda: running(REPORT, 60.0)),
    "an agent without any": ("camera.no_frames", lambda: running(REPORT, None)),
    "an agent without a model": ("camera.idle", lambda: running(None, None)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_seen_has_its_code_and_advice(case: str) -> None:
    code, judge = CASES[case]
    judged = judge()
    findings = [judged] if isinstance(judged, Finding) else list(judged)
    codes = [finding.code for finding in findings]
    assert codes[0] == code if code == "ok" else code in codes, findings
    for finding in findings:
        needs_advice = finding.level in {Level.WARNING, Level.PROBLEM}
        assert bool(finding.fix and finding.why) == needs_advice or finding.level is Level.UNSEEN


def test_the_verdict_is_the_worst_and_what_was_not_seen_is_no_fault() -> None:
    bad = warning("a", "b", "c", "d", "e")
    assert exit_status(verdict([good("a", "b"), unseen("a", "b")])) == 0
    assert exit_status(verdict([good("a", "b"), bad])) == 1
    worst = from_error("a", StorageError("gone"), "why", "fix")
    assert exit_status(verdict([worst, bad])) == 2
    denied = from_error("a", StorageError("no", code="storage.denied"), "why", "fix")
    assert denied.level is Level.UNSEEN
    assert "sudo -u vigil" in denied.fix


def test_real_pictures_are_looked_at_in_a_process_of_their_own(tmp_path: Path) -> None:
    pictures = {"dark": np.zeros((90, 160, 3)), "grey": np.full((90, 160, 3), 128)}
    rows, columns = np.mgrid[0:90, 0:160]
    pictures["sharp"] = np.dstack([(rows + columns) % 2 * 255] * 3)
    for name, picture in pictures.items():
        folder = tmp_path / name
        folder.mkdir()
        for index in range(6):
            assert cv2.imwrite(str(folder / f"{index}.png"), picture.astype(np.uint8))
    (tmp_path / "empty").mkdir()
    cameras = [CameraConfig(name=one, source=str(tmp_path / one)) for one in (*pictures, "empty")]
    config = Config(
        schema=1,
        device=DeviceConfig(id="d", device_class="c"),
        broker=BrokerConfig(host="h", allow_plaintext=True),
        cameras=cameras,
    )
    found = {one.check: one for one in look_at_cameras(Patient(config, Path("/"), None))}
    assert found["camera.dark"].code == "camera.dark"
    assert found["camera.grey"].code == "camera.flat"
    assert found["camera.sharp"].what.startswith("160x90, 5 pictures")
    assert found["camera.empty"].level is Level.PROBLEM
