"""Looking after a real device from afar: pictures, logs, self-test, diagnostics, cameras, restarts, rollback."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.app.lifecycle import EXIT_RESTART
from agent.config import load_config
from agent.demo.device import CAMERA
from agent.demo.releases import VIDEO
from agent.fleet.accounts import read_history
from agent.fleet.examples import read_examples
from agent.fleet.operators import Order
from agent.models.measurements import MEASUREMENTS_FILE
from agent.schema.commands import COMMANDS
from agent.schema.messages import Reply, ReplyStatus
from agent.trust.keys import FileKey, load_private
from tests.parts.processes import until
from tests.parts.site import Device, Site

OK = ReplyStatus.SUCCEEDED
MASK = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]


def ask(site: Site, device: Device, cmd: str, **args: Any) -> Reply:
    return site.end_of(site.fleet.order(Order(cmd, args, f"d/{device.name}")), timeout_s=60)


def data_of(parts: list[dict[str, Any]]) -> bytes:
    ordered = sorted(parts, key=lambda part: int(part["part"]))
    data = b"".join(base64.b64decode(part["base64"]) for part in ordered)
    assert hashlib.sha256(data).hexdigest() == parts[0]["sha256"]
    return data


@pytest.fixture(scope="module")
def kept(session_site: Site) -> Iterator[tuple[Site, Device]]:
    """One device for the tests that leave it as it is."""
    masks = [{"name": "desk", "polygon": MASK}]
    camera = {"name": CAMERA, "source": str(VIDEO), "privacy": {"masks": masks}}
    key = FileKey.create(session_site.folder / "examples.key").public_bytes
    examples = {"key": base64.b64encode(key).decode(), "control_every": 1, "gap_s": 5.0}
    at_its_best = {"enabled": False}  # a busy machine would keep a shadow run waiting
    device = session_site.serving("kept", cameras=[camera], examples=examples, governor=at_its_best)
    yield session_site, device
    session_site.tidy()


def test_every_command_of_the_table_is_known_and_refuses_what_it_does_not_understand(
    kept: tuple[Site, Device],
) -> None:
    site, device = kept
    codes = {name: ask(site, device, name, nonsense=1).code for name in COMMANDS}
    assert codes == dict.fromkeys(COMMANDS, "command.arguments")


def test_a_snapshot_fits_a_reply_shows_nothing_masked_and_an_unknown_camera_is_named(
    kept: tuple[Site, Device],
) -> None:
    site, device = kept
    reply = ask(site, device, "snapshot", camera="belt", max_width=4096)
    assert reply.status is OK, reply
    jpeg = np.frombuffer(data_of([reply.data["attachment"]]), np.uint8)
    picture = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    masked, shown = np.split(picture, [picture.shape[1] // 2], axis=1)
    # JPEG rings a little at the edge of the mask.
    assert (int(masked[:, :-16].max()), bool(shown.mean() > 30)) == (0, True)
    assert reply.data["camera"] == "belt"
    refused = ask(site, device, "snapshot", camera="cellar")
    assert (refused.code, "belt" in refused.message) == ("camera.unknown", True)


def test_the_log_comes_newest_first_and_without_secrets(kept: tuple[Site, Device]) -> None:
    site, device = kept
    reply = ask(site, device, "logs", limit=1000)
    times = [line["at_ms"] for line in reply.data["lines"]]
    assert times == sorted(times, reverse=True)
    assert any("starts as kept" in line["text"] for line in reply.data["lines"])
    later = ask(site, device, "logs", level="error", since_ms=times[0] + 60_000)
    assert later.data == {"lines": [], "more": 0}


def test_the_device_tests_itself(kept: tuple[Site, Device]) -> None:
    site, device = kept
    reply = ask(site, device, "self-test")
    assert reply.status is OK, reply
    checks = {one["name"]: one for one in reply.data["checks"]}
    assert set(checks) == {"model", "pipeline", "cameras", "link", "audit", "disk", "clock"}
    assert "golden set" in checks["model"]["found"]


def test_captures_are_kept_with_what_was_seen(kept: tuple[Site, Device]) -> None:
    site, device = kept
    reply = ask(site, device, "capture", frames=2, interval_ms=300)
    assert (reply.status, reply.data["pictures"]) == (OK, 2)
    folder = Path(reply.data["folder"])
    pictures, notes = sorted(folder.glob("*.jpg")), sorted(folder.glob("*.json"))
    assert [path.stem for path in pictures] == [path.stem for path in notes]
    assert "boxes" in json.loads(notes[0].read_text())
    assert pictures[0].stat().st_mode & 0o077 == 0


def test_examples_come_sealed_show_nothing_masked_and_go_once_they_arrived(
    kept: tuple[Site, Device],
) -> None:
    site, device = kept
    folder = device.folder / "state/examples"
    until(lambda: list(folder.glob("*.example")), 60, "examples on the shelf")
    reply = ask(site, device, "collect-examples")
    assert reply.status is OK, reply
    told = site.fleet.controller.inbox.replies(reply.id)
    sent = data_of([one.data["attachment"] for one in told if "attachment" in one.data])
    (site.folder / "fetched").mkdir()
    (site.folder / "fetched/kept.tar").write_bytes(sent)
    found = read_examples(site.folder / "fetched", load_private(site.folder / "examples.key"))
    assert len(found) == reply.data["examples"] > 0
    picture = cv2.imdecode(np.frombuffer(found[0].jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    masked, shown = np.split(picture, [picture.shape[1] // 2], axis=1)
    assert (int(masked[:, :-16].max()), bool(shown.mean() > 30)) == (0, True)
    arrived = reply.data["last"]
    assert ask(site, device, "collect-examples", arrived=arrived).status is OK
    assert all(path.name > arrived for path in folder.glob("*.example"))


def test_a_release_that_is_not_active_is_judged_on_live_frames_and_reported(
    kept: tuple[Site, Device],
) -> None:
    site, device = kept
    ref = site.release("2.0.0")
    asked = {"release": ref.path, "sha256": ref.sha256}
    assert ask(site, device, "shadow-report").code == "shadow.none"
    assert ask(site, device, "start-shadow").code == "shadow.same"
    # For eight of its twenty seconds the recording shows nothing beside the mask: ten frames reach beyond them.
    reply = ask(site, device, "start-shadow", **asked, frames=10, every_s=1.5, cpu_percent=50)
    assert (reply.status, reply.data.get("candidate")) == (OK, "sorters/parts/2.0.0"), reply
    until(lambda: "ended: frames" in device.cli("status").stdout, 120, "its end", every_s=1)
    assert ask(site, device, "stop-shadow").code == "shadow.none"
    reply = ask(site, device, "shadow-report")
    told = site.fleet.controller.inbox.replies(reply.id)
    files = unpacked(data_of([one.data["attachment"] for one in told if "attachment" in one.data]))
    report = json.loads(files["report.json"])
    assert (report["end"], report["frames"], reply.data["frames"]) == ("frames", 10, 10)
    assert report["whole"]["both"] > 0
    assert b"Shadow run on kept" in files["report.html"]
    assert site.wait(device, lambda _: True).release == "sorters/parts/1.0.0"


def test_a_device_sends_what_it_kept_of_its_days_to_the_fleet(kept: tuple[Site, Device]) -> None:
    site, device = kept
    reply = ask(site, device, "daily-summaries", days=2)
    assert (reply.status, reply.data["days"] > 0) == (OK, True), reply
    told = site.fleet.controller.inbox.replies(reply.id)
    sent = data_of([one.data["attachment"] for one in told if "attachment" in one.data])
    history = read_history(sent, "kept")
    assert len(history.days) == reply.data["days"]
    # Where midnight has just been, it is the day before that was measured.
    assert any(day.measured_s > 0 and "infer" in day.stages for day in history.days)
    assert any("sorters/parts/1.0.0" in row.text for row in history.noted)


def test_the_diagnostics_bundle_tells_all_but_secrets(kept: tuple[Site, Device]) -> None:
    site, device = kept
    reply = ask(site, device, "diagnostics")
    assert reply.status is OK, reply
    told = site.fleet.controller.inbox.replies(reply.id)
    sent = data_of([one.data["attachment"] for one in told if "attachment" in one.data])
    assert sent == Path(reply.data["path"]).read_bytes()
    bundle = device.folder / "bundle.tar.gz"
    done = device.cli("diagnostics", "--json", "--out", str(bundle))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"file": str(bundle), "bytes": bundle.stat().st_size}
    for data in (sent, bundle.read_bytes()):
        files = unpacked(data)
        assert {"versions.json", "config.json", "status.json", "audit.txt", "log.txt"} <= set(files)
        assert json.loads(files["config.json"])["device"]["id"] == "kept"
        assert b"admitted" in files["audit.txt"]
        assert b"PRIVATE KEY" not in b"".join(files.values())


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(one.name.split("/")[1], archive.extractfile(one)) for one in archive]
        return {name: file.read() for name, file in members if file is not None}


def test_the_audit_record_is_exported_signed_and_verified(kept: tuple[Site, Device]) -> None:
    site, device = kept
    head = site.wait(device, lambda state: bool(state.audit_signature)).audit_head
    export = device.folder / "audit.jsonl"
    assert device.cli("audit", "export", "--out", str(export)).returncode == 0
    tls = load_config(device.config).broker.tls
    assert tls is not None
    known = ("--head", head, "--certificate", tls.cert)
    checked = device.cli("audit", "verify", str(export), *known)
    assert checked.returncode == 0, checked.stderr
    assert "signed by kept" in checked.stdout
    assert "the head you kept is row" in checked.stdout
    told = json.loads(device.cli("audit", "verify", str(export), *known, "--json").stdout)
    assert (told["signed_by"], told["rows"]) == (
        "kept",
        told["kept_head_row"] + told["rows_after_it"],
    )
    lines = export.read_text().splitlines()
    number, at_ms, kind, _, row_hash = json.loads(lines[2])
    lines[2] = json.dumps([number, at_ms, kind, "nothing happened", row_hash])
    export.write_text("\n".join([*lines, ""]))
    broken = device.cli("audit", "verify", str(export))
    assert broken.returncode == 1
    assert "row 2 " in broken.stderr


def test_a_camera_is_paused_through_restarts_until_it_is_resumed(site: Site) -> None:
    device = site.serving("dark")
    assert ask(site, device, "pause-camera", camera="belt").data["changed"] is True
    site.wait(device, lambda state: state.paused == ["belt"])
    # Dark once it says so, not some time later.
    assert ask(site, device, "snapshot", camera="belt").status is not OK
    dark = "camera.no_picture"
    until(lambda: ask(site, device, "snapshot", camera="belt").code == dark, 30, "no picture")
    device.kill()
    site.wait(device, lambda state: not state.online)
    device.start()
    site.wait(device, lambda state: state.pipeline == "running" and state.paused == ["belt"])
    assert ask(site, device, "pause-camera", camera="belt").data["changed"] is False
    assert ask(site, device, "resume-camera", camera="belt").data["changed"] is True
    site.wait(device, lambda state: state.pipeline == "running" and not state.paused)
    until(lambda: ask(site, device, "snapshot", camera="belt").status is OK, 30, "a picture again")


def test_worker_and_agent_are_restarted_when_told(site: Site) -> None:
    device = site.serving("reborn")
    worker = device.status.worker_pid
    reply = ask(site, device, "restart", what="worker")
    assert (reply.status, reply.data["pid"] == worker) == (OK, False)
    command = site.fleet.order(Order("restart", {"what": "agent"}, f"d/{device.name}"))
    assert device.wait() == EXIT_RESTART, "the service manager starts it again"

    # What the first life came to was kept at its end.
    page = site.folder / "month.html"
    told = device.cli("report", "--json", "--out", str(page))
    assert told.returncode == 0, told.stderr
    kept = len(list((device.folder / "state/days").iterdir()))  # two, where midnight came between
    assert json.loads(told.stdout) == {"file": str(page), "days": 30, "kept": kept}
    for part in (device.name, "agent starts</td><td>1<", "Inference, ms"):
        assert part in page.read_text(), part

    device.start()
    assert site.end_of(command).status is OK


def test_a_report_of_days_that_nobody_kept_says_so(site: Site) -> None:
    page = site.folder / "none.html"
    told = site.device("unborn").cli("report", "--out", str(page))
    assert (told.returncode, "storage.missing" in told.stderr, page.exists()) == (1, True, False)
    assert "Traceback" not in told.stderr


def test_rollback_goes_to_the_release_before(site: Site) -> None:
    device = site.serving("regretful")
    assert ask(site, device, "rollback").code == "update.no_previous"
    assert site.install(device, site.release("2.0.0")).status is OK
    measured = device.folder / "state" / MEASUREMENTS_FILE
    slow = re.sub(rb'"p95_ms": [0-9.]+', b'"p95_ms": 99999.0', measured.read_bytes())
    assert slow != measured.read_bytes()
    measured.write_bytes(slow)  # a busy machine measures more than its profile allows
    reply = ask(site, device, "rollback")
    assert (reply.status, reply.cmd) == (OK, "rollback"), reply
    site.wait(device, lambda state: state.release == "sorters/parts/1.0.0")
