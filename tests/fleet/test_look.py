"""`vigil fleet watch`, `show`, `audit`, `export`: what people see of a fleet on a real mosquitto."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.errors import ConfigError
from agent.fleet.access import WATCH, instance_name
from agent.fleet.controller import Controller
from agent.fleet.export import encode, table
from agent.fleet.home import FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.fleet.registry import DeviceRecord, GrantRecord
from agent.schema.config import TlsConfig
from agent.schema.document import to_json
from agent.schema.messages import State
from tests.console.scripted import telemetry
from tests.fleet.conftest import free_port, wait_for_port
from tests.fleet.mqtt_device import WAIT_S, Device

EVIL = "=1+1[red]\x1b[2J"
PREFIX = "vigil/1/d/cam-1"


@dataclass
class Site:
    """A fleet's folder with its own mosquitto."""

    home: FleetHome
    port: int

    def device(self, name: str) -> Device:
        folder = self.home.folder / "devices"
        if not (folder / f"{name}.crt").exists():
            self.home.authority.client_certificate(name).write(folder, name)
        ca = str(self.home.folder / "ca/ca.crt")
        tls = TlsConfig(ca=ca, cert=str(folder / f"{name}.crt"), key=str(folder / f"{name}.key"))
        return Device(self.port, tls, name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    folder, port = tmp_path_factory.mktemp("look"), free_port()
    config = FleetConfig(
        schema=FLEET_SCHEMA, broker_host="127.0.0.1", broker_port=port, repository="repo"
    )
    home = create_home(folder / "home", config)
    records = [DeviceRecord(name, "gate", ("north",), b"", "0") for name in ("cam-1", "cam-2")]
    home.registry.put_devices(records)
    home.registry.log_grant(GrantRecord(1_000, "cam-1", "gate/people/1.0", 200))
    home.write_access()
    settings = home.folder / "broker/mosquitto.conf"
    settings.write_text(f"user root\n{settings.read_text()}")
    log = (folder / "log").open("wb")
    broker = subprocess.Popen([program, "-c", str(settings)], stdout=log, stderr=log)
    try:
        wait_for_port(port, broker, folder / "log")
        made = Site(home, port)
        device = made.device("cam-1")
        assert device.accepted()
        said = State(v=1, device="cam-1", online=True, release="people 1.0", problem=EVIL)
        device.publish(f"{PREFIX}/state", to_json(said), retain=True)
        device.publish(f"{PREFIX}/telemetry", to_json(telemetry(device="cam-1")), retain=True)
        yield made
        device.close()
    finally:
        broker.terminate()
        broker.wait(30)
        log.close()
        home.registry.close()


def vigil(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["fleet", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_watching_shows_sums_and_who_is_in_trouble_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = json.loads(
        vigil("watch", site.home.folder, "--seconds", "1", "--json").splitlines()[-1]
    )
    assert (looked["devices"], looked["rollouts"]) == (2, [])
    assert (looked["conditions"]["trouble"], looked["conditions"]["unheard"]) == (1, 1)
    monkeypatch.setenv("COLUMNS", "200")
    screen = vigil("watch", site.home.folder, "--seconds", "1")
    assert "1 trouble, 1 unheard" in screen
    assert "=1+1[red]?[2J" in screen
    assert "\x1b[2J" not in screen


def test_one_device_is_shown_with_all_that_is_known(site: Site) -> None:
    told = json.loads(vigil("show", site.home.folder, "cam-1", "--json"))
    assert (told["condition"], told["state"]["release"]) == ("trouble", "people 1.0")
    assert told["grants"][0]["status"] == 200
    silent = json.loads(vigil("show", site.home.folder, "cam-2", "--listen", "0.1", "--json"))
    assert silent == {"condition": "unheard", "groups": ["north"]}
    with pytest.raises(ConfigError, match="cam-9: not registered"):
        vigil("show", site.home.folder, "cam-9")


def test_what_happened_is_told_in_order_and_for_one_device(site: Site) -> None:
    story = json.loads(vigil("audit", site.home.folder, "--json"))
    assert [(one["device"], one["what"]) for one in story] == [("cam-1", "key asked")]
    assert json.loads(vigil("audit", site.home.folder, "--device", "cam-2", "--json")) == []


def test_tables_are_written_for_other_programs(site: Site, tmp_path: Path) -> None:
    vigil("export", site.home.folder, "--out", tmp_path, "--listen", "0.5")
    [state] = csv.DictReader((tmp_path / "states.csv").open())
    # A spreadsheet would calculate what begins with an equals sign.
    assert (state["device"], state["problem"]) == ("cam-1", f"'{EVIL}")
    with pytest.raises(ConfigError, match="expected one of csv, parquet"):
        vigil("export", site.home.folder, "--out", tmp_path, "--format", "xls")


def test_parquet_is_written_or_what_is_missing_named() -> None:
    columns = table([State(v=1, device="cam-1", online=True)], State)
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        from pyarrow import parquet
    except ImportError:
        with pytest.raises(ConfigError, match="pyarrow"):
            encode(columns, "parquet")
        return
    read = parquet.read_table(pa.BufferReader(encode(columns, "parquet")))
    assert read.column("device").to_pylist() == ["cam-1"]


def test_who_watches_may_say_nothing(site: Site) -> None:
    site.home.appoint(WATCH)
    watcher = Controller(site.home.broker(WATCH), None, name=WATCH)
    witness = site.device("cam-2")
    watcher.start()
    witness.subscribe("vigil/1/d/cam-2/cmd")
    watcher._connection.publish("vigil/1/d/cam-2/cmd", b"of the watcher")
    watcher.stop()  # waits until what it said is acknowledged or gone
    desk = Controller(site.home.broker("controller-desk"), None)
    desk.start()
    desk._connection.publish("vigil/1/d/cam-2/cmd", b"of the desk")
    assert witness.inbox.get(timeout=WAIT_S)[1] == b"of the desk"
    desk.stop()
    witness.close()


def test_several_controllers_hear_one_broker(site: Site) -> None:
    names = [instance_name(number) for number in (0, 1, 2)]
    for name in names:
        site.home.appoint(name)
    several = [
        Controller(site.home.broker(name), None, session=site.home.session(name), name=name)
        for name in names
    ]
    for controller in several:
        controller.start()
    for controller in several:
        controller.inbox.wait_state("cam-1", lambda state: state.online, 30.0)
        assert controller.connected
    for controller in several:
        controller.stop()
