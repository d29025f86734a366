"""A device updates its own agent: real wheels of this project, real environments, a signed repository, the launcher."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.fleet.operators import Order
from agent.release.agent_release import build_agent_release
from agent.schema.messages import Reply
from agent.update.selfupdate import launcher
from agent.update.selfupdate.slots import Slots
from tests.parts.agent_wheels import BLIND, NONSENSE, Edits, Wheels
from tests.parts.processes import until
from tests.parts.site import QUICK, Device, Site

PLACE = f"{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"
PATIENCE = {"health_s": 2.0, "deadline_s": 25.0, "ready_s": 60.0, "silence_s": 60.0}
FIRST, GOOD, BAD, BROKEN = "0.8.0", "0.8.1", "0.8.2", "0.8.3"


@dataclass(frozen=True)
class Fixture:
    site: Site
    device: Device
    wheels: Wheels
    prefix: Path

    @property
    def slots(self) -> Slots:
        return Slots(self.prefix, "a")

    def publish(self, version: str, edits: Edits, config_schema: int = 1) -> dict[str, Any]:
        """Sign a version; return what the command must name."""
        folder = self.prefix.parent / f"release-{version}"
        wheels = {PLACE: self.wheels.version(version, edits)}
        build_agent_release(folder, wheels, "0.1", config_schema)
        asked = self.site.fleet.repository.add_agent(folder)
        self.site.fleet.publish()
        return {"agent": asked.agent, "sha256": asked.sha256}

    def update(self, asked: dict[str, Any]) -> Reply:
        """Send the signed command and wait for its end."""
        order = Order("update-agent", asked, f"d/{self.device.name}")
        return self.site.end_of(self.site.fleet.order(order), 240.0)

    def wait_version(self, version: str) -> None:
        self.site.wait(
            self.device,
            lambda state: state.online and state.agent == version and state.pipeline == "running",
            60.0,
        )


@pytest.fixture
def installed(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    """A device with one environment made from a wheel, started by the launcher, and a release on it."""
    # The dependencies come from the environment of the tests, the agent itself from its wheel.
    monkeypatch.setenv("PYTHONPATH", sysconfig.get_path("purelib"))
    monkeypatch.chdir(tmp_path)
    prefix = tmp_path / "opt"
    (prefix / "state").mkdir(parents=True)
    (prefix / "b").mkdir()
    shutil.copy(launcher.__file__, prefix / "launch")
    wheels = Wheels(tmp_path / "wheels")
    environment(prefix / "a", wheels.version(FIRST))
    device = site.device("self-updating", update={**QUICK, "agent": PATIENCE})
    _launch(device, prefix)
    site.wait_ready(device)
    assert site.install(device, site.release("1.0.0")).status.value == "succeeded"
    yield Fixture(site, device, wheels, prefix)
    device.stop()


def environment(slot: Path, wheels: Path) -> None:
    """The first environment, in a second: what the agent itself makes of a bundle is what the updates show."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", slot], check=True)
    for wheel in wheels.iterdir():
        zipfile.ZipFile(wheel).extractall(next(slot.glob("lib/python*/site-packages")))


def _launch(device: Device, prefix: Path) -> None:
    with device.log.open("ab") as log:
        device._process = subprocess.Popen(
            [prefix / "launch", "run", "--config", str(device.config)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_good_version_is_kept_a_blind_one_goes_back_and_a_broken_one_never_starts(
    installed: Fixture,
) -> None:
    device, slots = installed.device, installed.slots
    installed.wait_version(FIRST)
    pid = device.pid

    # A version that works is kept, under the same process id for the service manager.
    good = installed.publish(GOOD, {})
    reply = installed.update(good)
    assert reply.status.value == "succeeded", f"{reply}\n{device.log_text[-3000:]}"
    assert reply.data == {"version": GOOD}
    installed.wait_version(GOOD)
    assert device.pid == pid
    assert slots.read()["current"] == "b"

    # Asked for again it is refused: it is not newer.
    again = installed.update(good)
    assert again.code == "trust.rollback"

    # One that sees nothing is given up after its window; the one before runs again, with its own configuration.
    reply = installed.update(installed.publish(BAD, BLIND, config_schema=2))
    assert reply.status.value == "failed"
    assert reply.code == "agent.rolled_back"
    assert "no frames are processed" in reply.message
    installed.wait_version(GOOD)
    assert yaml.safe_load(device.config.read_text())["schema"] == 1
    newer = device.config.with_name("vigil.schema-2.yaml").read_text()
    assert yaml.safe_load(newer)["schema"] == 2, "it had been brought up"

    # One that cannot be imported is found when it is installed; nothing is restarted.
    boots = device.log_text.count("starts as")
    reply = installed.update(installed.publish(BROKEN, NONSENSE))
    assert reply.code == "package.import"
    assert "no_such_module" in reply.message
    assert device.log_text.count("starts as") == boots
    assert slots.read()["current"] == "b"

    # And stopping ends all of it.
    device.stop()
    until(lambda: not device.pid, 30, "the end")
