"""`vigil fleet watch`, `show`, `audit`, `export`: what people see of a fleet on a real mosquitto."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.cli.fleet_pace import read_paces
from agent.errors import ConfigError
from agent.fleet.access import instance_name
from agent.fleet.controller import Controller
from agent.fleet.registry import DeviceRecord
from agent.schema.document import to_json
from agent.schema.messages import State
from tests.console.scripted import telemetry
from tests.fleet.look_site import EVIL, Site, site_in


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp("look")) as made:
        yield made


def vigil(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["fleet", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_watching_shows_sums_and_who_is_in_trouble_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = json.loads(
        vigil("watch", site.home.folder, "--seconds", "3", "--json").splitlines()[-1]
    )
    assert (looked["devices"], looked["rollouts"]) == (4, [])
    assert (looked["conditions"]["trouble"], looked["conditions"]["unheard"]) == (1, 3)
    monkeypatch.setenv("COLUMNS", "200")
    screen = vigil("watch", site.home.folder, "--seconds", "3")
    assert "1 trouble, 3 unheard" in screen
    assert "=1+1[red]?[2J" in screen
    assert "\x1b[2J" not in screen


def test_one_device_is_shown_with_all_that_is_known(site: Site) -> None:
    shown = vigil("show", site.home.folder, "cam-1")
    assert "state release" in shown, "a line for each fact"
    assert "…" not in shown
    told = json.loads(vigil("show", site.home.folder, "cam-1", "--json"))
    assert (told["condition"], told["state"]["release"]) == ("trouble", "people 1.0")
    assert told["grants"][0]["status"] == 200
    silent = json.loads(vigil("show", site.home.folder, "cam-2", "--listen", "0.1", "--json"))
    assert silent == {"condition": "unheard", "groups": ["north"]}
    for words in (("show", "cam-9"), ("grants", "cam-9"), ("audit", "--device", "cam-9")):
        with pytest.raises(ConfigError, match="cam-9: not registered") as refused:
            vigil(words[0], site.home.folder, *words[1:])
        assert "fleet devices" in refused.value.hint


def test_what_happened_is_told_in_order_and_for_one_device(site: Site) -> None:
    story = json.loads(vigil("audit", site.home.folder, "--json"))
    assert [(one["device"], one["what"]) for one in story] == [("cam-1", "key asked")]
    assert json.loads(vigil("audit", site.home.folder, "--device", "cam-2", "--json")) == []


def test_tables_are_written_for_other_programs(site: Site, tmp_path: Path) -> None:
    vigil("export", site.home.folder, "--out", tmp_path, "--listen", "3")
    [state] = csv.DictReader((tmp_path / "states.csv").open())
    # A spreadsheet would calculate what begins with an equals sign.
    assert (state["device"], state["problem"]) == ("cam-1", f"'{EVIL}")
    # What was retained came at once: it is written, and once.
    [measured] = csv.DictReader((tmp_path / "telemetry.csv").open())
    assert (measured["device"], measured["fps"]) == ("cam-1", "49.8")
    with pytest.raises(ConfigError, match="expected one of csv, parquet"):
        vigil("export", site.home.folder, "--out", tmp_path, "--format", "xls")


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


def test_medians_of_devices_that_are_alike_are_told_for_their_own_use(
    site: Site, tmp_path: Path
) -> None:
    names = [f"pi-{number}" for number in range(3)]
    site.home.registry.put_devices([DeviceRecord(one, "gate", (), b"", "0") for one in names])
    for name in names:
        device = site.device(name)
        assert device.accepted()
        state = State(
            v=1, device=name, online=True, profile="pi-5", release="people", variant="int8"
        )
        for leaf, said in (("state", state), ("telemetry", telemetry(device=name))):
            device.publish(f"vigil/1/d/{name}/{leaf}", to_json(said), retain=True)
        device.close()
    shown = vigil("pace", site.home.folder, "--listen", "3", "--json")
    (tmp_path / "paces.json").write_text(shown)
    [found] = read_paces(tmp_path / "paces.json").paces
    assert (found.profile, found.variant, found.devices) == ("pi-5", "int8", 3)
    assert found.stages_ms["infer"] == 11.0
    assert "11.0" in vigil("pace", site.home.folder, "--listen", "3")
