"""A fleet's folder as `vigil fleet init` makes it, with its own mosquitto running."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.fleet.home import BROKER, FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.host.ports import free_port
from agent.schema.config import TlsConfig
from tests.fleet.conftest import wait_for_port

LOG = "mosquitto.log"


@contextlib.contextmanager
def fleet_site(
    folder: Path,
    repository: str = "../public",
    *,
    database: str = "",
    enrol_port: int = 0,
    host: str = "127.0.0.1",
    verbose: bool = False,
) -> Iterator[FleetHome]:
    """Make a fleet in `folder/controller` and run its broker, which logs to `folder/mosquitto.log`."""
    config = FleetConfig(
        schema=FLEET_SCHEMA,
        broker_host=host,
        broker_port=free_port(),
        repository=repository,
        database=database,
        enrol_port=enrol_port,
    )
    home = create_home(folder / "controller", config)
    with broker_of(home, folder / LOG, verbose=verbose):
        try:
            yield home
        finally:
            home.registry.close()


@contextlib.contextmanager
def broker_of(home: FleetHome, log: Path, *, verbose: bool = False) -> Iterator[None]:
    """Run a fleet's mosquitto until the block ends, or somebody kills it."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    settings, config = home.folder / BROKER / "mosquitto.conf", home.config
    command = [program, *(["-v"] if verbose else []), "-c", str(settings)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for_port(config.broker_port, process, log, config.broker_host)
        yield
    finally:
        process.terminate()
        process.wait(30)


def sent(log: Path, leaf: str) -> Counter[str]:
    """Return how many messages on topics that end so the broker had from each controller with a number."""
    pattern = rf"Received PUBLISH from (controller-\d) .*'vigil/1/d/[^']*/{leaf}'"
    return Counter(re.findall(pattern, log.read_text()))


def tls_of(home: FleetHome, name: str) -> TlsConfig:
    """Return the certificate of a device, which is made where it has none."""
    folder = home.folder / "devices"
    if not (folder / f"{name}.crt").exists():
        home.authority.client_certificate(name).write(folder, name)
    ca = str(home.folder / "ca/ca.crt")
    return TlsConfig(ca=ca, cert=str(folder / f"{name}.crt"), key=str(folder / f"{name}.key"))
