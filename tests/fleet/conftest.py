from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from agent.fleet.access import CONTROLLER
from agent.fleet.authority import FleetAuthority
from agent.fleet.blocks import BlockServer
from agent.fleet.broker import EmbeddedBroker
from agent.fleet.controller import Controller, Services
from agent.fleet.keys import KeyService
from agent.fleet.mosquitto import REVOKED, access_file, mosquitto_configuration
from agent.fleet.registry import DeviceRecord, Registry
from agent.host.ports import free_port
from agent.schema.config import BrokerConfig, TlsConfig
from agent.trust.keys import FileKey
from tests.fleet.workshop import Vigil, make_workshop, run
from tests.parts.postgresql import Server, postgresql

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"


@dataclass(frozen=True)
class Fleet:
    """A small fleet: an authority, a registry, a public folder, and keys of three devices."""

    folder: Path
    authority: FleetAuthority
    registry: Registry
    public: Path

    def register(self, device: str, device_class: str = "gate", *groups: str) -> FileKey:
        key = FileKey.create(self.folder / f"{device}.grant.key")
        cert, _ = self.authority.client_certificate(device).write(self.folder, device)
        serial = f"{x509.load_pem_x509_certificate(cert.read_bytes()).serial_number:x}"
        record = DeviceRecord(device, device_class, groups, key.public_bytes, serial)
        self.registry.put_device(record)
        return key

    def write_access(self) -> None:
        """What `vigil fleet revoke` writes for mosquitto."""
        path = self.folder / "acl"
        path.write_text(access_file(self.registry.devices()))
        path.chmod(0o600)
        serials = self.registry.certificates.revoked()
        (self.folder / REVOKED).write_bytes(self.authority.revocation_list(serials))

    def members(self, device: str) -> frozenset[str] | None:
        record = self.registry.device(device)
        return None if record is None or record.revoked else frozenset(record.groups)

    def tls(self, name: str) -> TlsConfig:
        if not (self.folder / f"{name}.crt").exists():
            self.authority.client_certificate(name).write(self.folder, name)
        return TlsConfig(
            ca=str(self.folder / "ca.crt"),
            cert=str(self.folder / f"{name}.crt"),
            key=str(self.folder / f"{name}.key"),
        )

    def broker(self, port: int, name: str = CONTROLLER, protocol: str = "auto") -> BrokerConfig:
        return BrokerConfig(host="127.0.0.1", port=port, tls=self.tls(name), protocol=protocol)

    def controller(self, port: int, protocol: str = "auto") -> Controller:
        config = self.broker(port, protocol=protocol)
        return Controller(config, Services(KeyService(self.registry), BlockServer(self.public)))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    public = tmp_path / "public"
    (public / "targets/models").mkdir(parents=True)
    (public / "targets/models/big.bin").write_bytes(bytes(range(256)) * 6144)  # 1.5 MiB
    registry = Registry(tmp_path / "fleet.db")
    registry.put_release_key(RELEASE, DEK)
    fleet = Fleet(tmp_path, FleetAuthority.create(tmp_path), registry, public)
    fleet.register("cam-1", "gate", "north")
    fleet.register("cam-2", "gate", "south")
    yield fleet
    registry.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgresql() as started:
        yield started


@pytest.fixture
def embedded(fleet: Fleet) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(fleet.folder / "broker", fleet.authority, fleet.members)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def mosquitto(fleet: Fleet) -> Iterator[int]:
    """A real mosquitto with the configuration we ship; gives its port."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    fleet.authority.server_certificate(["127.0.0.1", "localhost"]).write(fleet.folder, "broker")
    fleet.write_access()
    configuration = mosquitto_configuration(fleet.folder, port)
    (fleet.folder / "mosquitto.conf").write_text(configuration)
    log = (fleet.folder / "mosquitto.log").open("wb")
    process = subprocess.Popen(
        [program, "-c", str(fleet.folder / "mosquitto.conf")], stdout=log, stderr=log
    )
    try:
        wait_for_port(port, process, fleet.folder / "mosquitto.log")
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def wait_for_port(
    port: int, process: subprocess.Popen[bytes], log: Path, host: str = "127.0.0.1"
) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    pytest.fail(f"mosquitto did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make_workshop` makes it, to be copied."""
    folder = tmp_path_factory.mktemp("workshop")
    make_workshop(folder)
    return folder


@pytest.fixture
def vigil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vigil:
    """Run `vigil …` in a fresh folder and return what it prints; faults fly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return run


@pytest.fixture
def repo(vigil: Vigil, workshop: Path) -> Path:
    """The repository in a copy of the workshop, which is the working directory."""
    shutil.copytree(workshop, Path.cwd(), dirs_exist_ok=True)
    return Path("repo")
