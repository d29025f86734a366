"""Whatever is wrong around the agent, it says so clearly, loses nothing and stays reachable."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from agent.schema.camera_report import CameraReport
from agent.schema.events import Event
from agent.schema.messages import Phase, ReplyStatus
from tests.parts.processes import until
from tests.parts.site import Device, Site

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def test_without_a_broker_it_detects_and_spools_and_delivers_when_the_broker_comes(
    own_site: Site,
) -> None:
    device = own_site.serving("alone")
    device.stop()
    own_site.fleet.broker.stop()
    device.start()
    until((device.folder / "run/status.json").exists, 30, "it runs")
    until(lambda: device.status.telemetry.fps > 1, 30, "it detects")
    assert "connected by" not in device.status.link
    until(lambda: device.status.telemetry.outbox_messages > 0, 30, "it spools")
    alone_until_ms = device.status.telemetry.at_ms

    own_site.fleet.broker.start()
    own_site.wait(device, lambda state: state.at_ms > alone_until_ms, 40)
    until(
        lambda: [e for e in own_site.messages(device, Event) if e.at_ms <= alone_until_ms],
        20,
        "what it saw alone is delivered",
    )


def test_without_a_model_the_state_says_so(site: Site) -> None:
    device = site.running("empty")
    state = site.wait(device, lambda state: state.online)
    assert (state.release, state.pipeline) == (None, "stopped")
    assert "no model is installed" in state.problem


@pytest.mark.parametrize("damage", ["missing", "flipped", "cut"])
def test_with_a_damaged_model_it_is_reachable_and_an_update_heals_it(
    site: Site, damage: str
) -> None:
    device = site.serving(f"damaged-{damage}")
    device.stop()
    ruin(device, damage)
    device.start()
    state = site.wait(device, lambda state: state.online and state.release is None)
    assert state.pipeline == "stopped"
    assert str(device.folder / "state/models/blobs") in state.problem

    assert site.install(device, site.release("1.0.0")).status is ReplyStatus.SUCCEEDED
    healed = site.wait(device, lambda state: state.pipeline == "running")
    assert healed.release == "sorters/parts/1.0.0"


def ruin(device: Device, damage: str) -> None:
    release = max((device.folder / "state/models/blobs").iterdir(), key=lambda p: p.stat().st_size)
    if damage == "missing":
        release.unlink()
    elif damage == "cut":
        os.truncate(release, release.stat().st_size // 2)
    else:
        data = bytearray(release.read_bytes())
        data[len(data) // 2] ^= 1
        release.write_bytes(data)


def test_a_port_that_is_taken_costs_only_the_page(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        device = site.serving("port-taken", console={"port": taken.getsockname()[1]})
        assert "without its page" in device.log_text
        assert "console.port_in_use" in device.log_text


def test_a_missing_camera_file_is_named_in_the_camera_s_report(site: Site) -> None:
    cameras = [{"name": "belt", "source": "nowhere.mp4"}]
    device = site.running("blind", cameras=cameras)
    reply = site.install(device, site.release("1.0.0"))
    reported: list[CameraReport] = []

    def is_reported() -> bool:
        reported[:] = [one for one in device.status.telemetry.cameras if one.problem]
        return bool(reported)

    until(is_reported, 30, "the problem is reported")
    (camera,) = reported
    assert camera.status == "failed"
    assert "nowhere.mp4" in camera.problem
    assert reply.code in {"probation.frames", ""}, reply


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_state_folder_that_may_not_be_written_is_named_in_one_message() -> None:
    # Every run of pytest closes its folders, those of other runs above them, too, to everybody else.
    with tempfile.TemporaryDirectory(prefix="vigil-denied-") as folder:
        site = Site(Path(folder) / "site")
        device = site.device("denied")
        locked = Path(folder) / "locked"
        locked.mkdir(mode=0o755)
        device.configure(state_dir=str(locked))
        give_away(device.folder)
        result = device.cli("run", under=AS_NOBODY)
        site.close()
    assert result.returncode == 1
    assert str(locked) in result.stderr
    assert "storage.denied" in result.stderr
    assert "Traceback" not in result.stderr


def give_away(folder: Path) -> None:
    """Let nobody own the folder and reach it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)


def test_a_device_key_that_everyone_may_read_is_refused(site: Site) -> None:
    device = site.device("open-key")
    key = device.key
    key.chmod(0o644)
    result = device.cli("run")
    assert str(key) in result.stderr
    assert result.returncode == 78, result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_journal_keeps_the_newest_committed_release_serving(site: Site) -> None:
    device = site.serving("rotten-journal")
    device.stop()
    for slot in (device.folder / "state").glob("update.?.json"):
        slot.write_bytes(b"\0" * 100)
    device.start()
    state = site.wait(device, lambda state: state.online and state.release is not None)
    assert state.release == "sorters/parts/1.0.0"
    assert "journal" in device.log_text
    assert site.install(device, site.release("2.0.0")).status is ReplyStatus.SUCCEEDED
    assert site.wait(device, lambda state: state.floor == 2).phase is Phase.COMMITTED
