"""Brokers that are not mosquitto, as real processes: a NATS cluster with its MQTT gateway, and RabbitMQ."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from agent.host.ports import free_ports

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/rabbitmq/bin"
NATS = shutil.which("nats-server", path=_PATH)
RABBITMQ = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin")
needs_nats = pytest.mark.skipif(NATS is None, reason="nats-server is not installed")
needs_rabbitmq = pytest.mark.skipif(RABBITMQ is None, reason="rabbitmq-server is not installed")
HOST = "127.0.0.1"
_START_S = 60.0


class NatsCluster:
    """Three nodes with JetStream, each with an MQTT gateway; `port` is the first one's.

    Args:
        folder: Is made.
        replicas: On how many nodes sessions and messages are kept; the server decides when 0.
    """

    def __init__(self, folder: Path, replicas: int = 0) -> None:
        self.folder = folder
        names = ("n1", "n2", "n3")
        ports = free_ports(3 * len(names))
        clients, routes, gateways = ports[:3], ports[3:6], ports[6:]
        self.ports = gateways
        self.port = gateways[0]
        self.nodes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True)
        kept = f", stream_replicas: {replicas}" if replicas else ""
        peers = ", ".join(f"nats://{HOST}:{port}" for port in routes)
        for name, client, route, gateway in zip(names, clients, routes, gateways, strict=True):
            (folder / f"{name}.conf").write_text(
                f"server_name: {name}\nlisten: {HOST}:{client}\n"
                f'jetstream {{ store_dir: "{folder / name}" }}\n'
                f"cluster {{ name: vigil, listen: {HOST}:{route}, routes: [{peers}] }}\n"
                f"mqtt {{ listen: {HOST}:{gateway}{kept} }}\n"
            )

    def start(self) -> None:
        """Start all nodes and wait until the gateway takes connections."""
        assert NATS is not None
        for configuration in sorted(self.folder.glob("*.conf")):
            with configuration.with_suffix(".log").open("wb") as log:
                command = [NATS, "-c", str(configuration)]
                self.nodes.append(subprocess.Popen(command, stderr=log))
        try:
            wait_open(self.port)
        except BaseException:  # pytest.fail among them
            self.stop()
            raise

    def kill_one(self) -> None:
        """End the last node with SIGKILL."""
        node = self.nodes.pop()
        node.kill()
        node.wait(10)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()
            node.wait(10)


class RabbitBroker:
    """One RabbitMQ node with the MQTT plugin, apart from any other on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._amqp, self._distribution = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {HOST}:{self._amqp}\nmqtt.listeners.tcp.1 = {HOST}:{self.port}\n"
            "mqtt.allow_anonymous = true\n"
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert RABBITMQ is not None
        settings = {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"vigil{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }
        with (self.folder / "output").open("wb") as log:
            self._process = subprocess.Popen(
                [RABBITMQ], env={**os.environ, **settings}, stdout=log, stderr=log
            )
        wait_open(self.port)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()


def wait_open(port: int) -> None:
    """Wait until something accepts an MQTT 3.1.1 CONNECT: a cluster listens before it has elected its leaders."""
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x1e\x00\x02me"
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection((HOST, port), timeout=5) as peer:
                peer.sendall(connect)
                if peer.recv(4) == b"\x20\x02\x00\x00":
                    return
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"nothing speaks MQTT on port {port}")
