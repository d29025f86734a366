"""A whole site as tests use it: a throw-away fleet, real devices, releases, and everything they said.

site.install(device, site.release("1.0.0"))      # publish, deploy, wait for the end
device.kill(); device.start()
site.wait(device, lambda state: state.release == "sorters/parts/1.0.0")
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from agent.config import load_config
from agent.demo import releases
from agent.demo.device import CAMERA, PLACES, DemoDevice
from agent.demo.fleet import DemoFleet
from agent.demo.releases import Script
from agent.fleet.blocks import BlockServer
from agent.fleet.operators import SignedCommand
from agent.schema.blocks import BlockReply
from agent.schema.keystore import FileKeyConfig
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Reply, State
from agent.schema.topics import ParsedTopic
from agent.telemetry.status_file import Status, read_status
from agent.update.journal import Journal
from agent.update.record import UpdateRecord
from tests.parts.processes import children, is_alive, is_stopped, until, vigil

T = TypeVar("T")
MODEL = releases.BUNDLED / "parts-1.onnx"
# Cameras: 15 frames a second, and as many as most tests need; every frame takes time from those that run beside.
FILM: dict[str, Any] = {"name": CAMERA, "source": str(releases.VIDEO), **PLACES}
CALM = {**FILM, "fps": 6.0}
QUICK: dict[str, Any] = {
    "trial_timeout_s": 15.0,
    # The frames may take four times as long: less would be too little on a busy machine.
    "probation": {"seconds": 1.0, "frames": 5, "max_p95_ms": 5000.0},
}
# A trial and a probation that end when the test wants it.
SLOW_TRIAL: dict[str, Any] = {**QUICK, "trial_timeout_s": 3600.0}
SLOW_PROBATION: dict[str, Any] = {
    **QUICK,
    "probation": {"seconds": 3600.0, "frames": 5, "max_p95_ms": 5000.0},
}


class Device(DemoDevice):
    """A device whose operator and whose fate the test plays."""

    def configure(self, **sections: Any) -> None:
        """Change whole sections of the configuration file."""
        config = yaml.safe_load(self.config.read_text())
        self.config.write_text(yaml.safe_dump({**config, **sections}, sort_keys=False))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the control process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the control process and wait until it and its workers are gone."""
        family = [self.pid, *children(self.pid)]
        self.signal(signal.SIGKILL)
        self.wait()
        until(lambda: not any(is_alive(pid) for pid in family), 30, "the workers died, too")

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for the agent's end; return its exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    @property
    def key(self) -> Path:
        """The file that holds the device's key."""
        key = load_config(self.config).key
        assert isinstance(key, FileKeyConfig)
        return Path(key.path)

    @property
    def journal(self) -> UpdateRecord:
        """What the journal on disk says."""
        return Journal(self.folder / "state").read()

    def wait_held(self) -> None:
        """Wait until a worker is held, see `tests.parts.holding`."""
        until(lambda: any(map(is_stopped, children(self.pid))), 60, "a worker that is held")

    @property
    def status(self) -> Status:
        """What `vigil status` reads."""
        return read_status(self.folder / "run")

    @property
    def log_text(self) -> str:
        """The whole log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def cli(self, *arguments: str, under: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run `vigil` with this device's configuration at the end."""
        return vigil(*arguments, "--config", str(self.config), under=under)


@dataclass(frozen=True)
class Heard:
    """One message of a device, with the monotonic second it came."""

    at_s: float
    topic: ParsedTopic
    message: Any


class HeldRoad(BlockServer):
    """A block server that lets requests for some paths wait until `let_go`."""

    def __init__(self, public: Path, hold: str) -> None:
        super().__init__(public)
        self._hold = hold.encode()
        self.free = threading.Event()
        self.held = threading.Event()

    def answer(self, device: str, payload: bytes) -> BlockReply:
        """Answer, later if it is about something held."""
        if self._hold in payload:
            self.held.set()
            self.free.wait(60)
        return super().answer(device, payload)


class Site:
    """One fleet with the devices that tests add to it; `heard` is everything devices said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = DemoFleet(folder / "fleet")
        self.heard: list[Heard] = []
        self.fleet.controller.inbox.observe(
            lambda topic, message: self.heard.append(Heard(time.monotonic(), topic, message))
        )
        self.fleet.start()
        self._refs: dict[str, ReleaseRef] = {}
        self._devices: list[Device] = []

    def close(self) -> None:
        """Stop devices and fleet."""
        self.tidy()
        self.fleet.stop()

    def tidy(self) -> None:
        """Let the road be normal, and end all devices, quickly."""
        self.unhold()
        for device in self._devices:
            if device.pid:
                device.kill()
        self._devices.clear()

    def device(self, name: str, **config: Any) -> Device:
        """Enrol a device with a `CALM` camera; not started yet."""
        device = Device(name, self.folder / name, self.fleet)
        device.configure(**{"update": QUICK, "cameras": [CALM], **config})
        self._devices.append(device)
        return device

    def running(self, name: str, **config: Any) -> Device:
        """Enrol and start a device, and wait until it takes commands."""
        device = self.device(name, **config)
        device.start()
        self.wait_ready(device)
        return device

    def serving(self, name: str, **config: Any) -> Device:
        """Enrol and start a device with release 1.0.0 committed."""
        device = self.running(name, **config)
        reply = self.install(device, self.release("1.0.0"))
        assert reply.status.value == "succeeded", reply
        return device

    def release(self, version: str, script: Script | None = None) -> ReleaseRef:
        """Build and publish a release once; of the small ONNX model unless a script says otherwise."""
        if version not in self._refs:
            counter = int(version.split(".", maxsplit=1)[0])
            script = script or Script(version, counter, (MODEL.name,))
            script = replace(script, version=version, counter=counter)
            folder = releases.build(self.fleet, script)
            self._refs[version] = self.fleet.repository.add_release(folder)
            self.fleet.publish()
            self.fleet.controller.hint(self.fleet.repository.timestamp_version)
        return self._refs[version]

    def deploy(self, device: Device, release: ReleaseRef) -> SignedCommand:
        """Send the signed deploy command."""
        return self.fleet.deploy(release, device.name)

    def install(self, device: Device, release: ReleaseRef, timeout_s: float = 90.0) -> Reply:
        """Deploy and wait for the last reply."""
        return self.end_of(self.deploy(device, release), timeout_s)

    def end_of(self, command: SignedCommand, timeout_s: float = 90.0) -> Reply:
        """Wait for a command's last reply."""
        return self.fleet.controller.inbox.wait_reply(command.id, timeout_s)

    def wait(
        self, device: Device, wanted: Callable[[State], bool], timeout_s: float = 60.0
    ) -> State:
        """Wait for a state of the device."""
        return self.fleet.controller.inbox.wait_state(device.name, wanted, timeout_s)

    def wait_ready(self, device: Device) -> State:
        """Wait until the device is online with a command policy."""
        return self.wait(device, lambda state: state.online and state.policy_ver > 0)

    def hold(self, path_part: str) -> HeldRoad:
        """Let requests for paths that contain this wait until `unhold`."""
        road = HeldRoad(self.fleet.repository.public, path_part)
        self.fleet.road.elsewhere = road
        return road

    def unhold(self) -> None:
        """Let everything pass again."""
        road, self.fleet.road.elsewhere = self.fleet.road.elsewhere, None
        if isinstance(road, HeldRoad):
            road.free.set()

    def messages(self, device: Device, kind: type[T], since_s: float = 0.0) -> list[T]:
        """What the device said of one kind since a monotonic second."""
        return [
            heard.message
            for heard in list(self.heard)
            if heard.at_s >= since_s
            and heard.topic.device == device.name
            and isinstance(heard.message, kind)
        ]


@pytest.fixture(scope="session")
def session_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The one fleet that all tests share."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


@pytest.fixture
def site(session_site: Site) -> Iterator[Site]:
    """The shared fleet; devices of one test are gone after it."""
    yield session_site
    session_site.tidy()


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fleet for the tests of one file."""
    site = Site(tmp_path_factory.mktemp("own"))
    yield site
    site.close()


@pytest.fixture
def own_site(module_site: Site) -> Iterator[Site]:
    """A fleet that others do not share: its broker may stop, and its releases may stand above theirs."""
    yield module_site
    module_site.tidy()
