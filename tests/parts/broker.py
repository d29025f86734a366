"""A real mosquitto on a free port of the loopback interface.

broker = Broker(tmp_path)                      # plain, everyone may do everything
broker = Broker(tmp_path, tls=Tls(authority, authority.server(), acl="..."))
broker.start()
broker.kill(); broker.start()                  # SIGKILL; same port, state from disk
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from agent.host.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.certificates import Authority, Credentials

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")

# What the fleet's own broker allows: a device speaks for itself, everyone hears the hints.
FLEET_ACL = """\
user backend
topic readwrite vigil/1/#
pattern readwrite vigil/1/d/%u/#
topic read vigil/1/g/+/cmd
topic read vigil/1/hint
"""

_START_S = 10.0
_STOP_S = 5.0


@dataclass(frozen=True)
class Tls:
    """TLS 1.3 with client certificates; the common name is user name and client id."""

    authority: Authority
    server: Credentials
    acl: str = FLEET_ACL

    def settings(self, acl_file: Path) -> list[str]:
        """The lines of mosquitto.conf for it; writes the access list."""
        acl_file.write_text(self.acl)
        return [
            "allow_anonymous false",
            f"acl_file {acl_file}",
            f"cafile {self.authority.certificate}",
            f"crlfile {self.authority.revocations}",
            f"certfile {self.server.certificate}",
            f"keyfile {self.server.key}",
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",
            "tls_version tlsv1.3",
        ]


class Broker:
    """One mosquitto process, its port and its folder."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *, tls: Tls | None = None, settings: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self._tls = tls
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it accepts connections."""
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text("\n".join(self._configuration()) + "\n")
        with self.log.open("ab") as log:
            command = [MOSQUITTO, "-v", "-c", str(configuration)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_open(self._process)

    def stop(self) -> None:
        """Ends it as a service manager would: SIGTERM, and SIGKILL if that does not help."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it with SIGKILL: nothing is flushed, no client hears a goodbye."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it and starts it on the same port with the same state."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Makes it read its access and revocation lists again."""
        assert self._process is not None, "the broker does not run"
        self._process.send_signal(signal.SIGHUP)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _configuration(self) -> list[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        access = self._tls.settings(self.folder / "acl") if self._tls else ["allow_anonymous true"]
        return [
            "per_listener_settings false",
            # mosquitto started by root would give up root's access to the test's own folder.
            *(["user root"] if os.geteuid() == 0 else []),
            "persistence true",
            f"persistence_location {self.folder / 'data'}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "set_tcp_nodelay true",
            "max_inflight_messages 0",
            "max_queued_messages 1000",
            "max_packet_size 300000",
            f"listener {self.port} {self.host}",
            *access,
            self._settings,
        ]

    def _wait_until_open(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        pytest.fail(f"mosquitto did not start:\n{self.log.read_text()}")

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)


class BrokerFactory(Protocol):
    """Starts a broker that ends with the test."""

    def __call__(self, *, tls: Tls | None = None, settings: str = "") -> Broker: ...


@pytest.fixture
def broker_factory(tmp_path: Path) -> Iterator[BrokerFactory]:
    """Starts as many brokers as a test asks for; each ends with the test."""
    brokers: list[Broker] = []

    def make(*, tls: Tls | None = None, settings: str = "") -> Broker:
        broker = Broker(tmp_path / f"broker-{len(brokers)}", tls=tls, settings=settings)
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mosquitto(broker_factory: BrokerFactory) -> Broker:
    """A plain broker: no encryption, everyone may do everything."""
    return broker_factory()


@pytest.fixture
def tls_mosquitto(broker_factory: BrokerFactory, authority: Authority) -> Broker:
    """A broker as a fleet runs it: TLS 1.3, client certificates, an access list by device."""
    return broker_factory(tls=Tls(authority, authority.server()))
