"""The whole road on the command line: keys, repository, release, fleet, a device that joins."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from agent.config import load_config
from agent.errors import ConfigError, KeyUnavailableError, TrustError
from agent.fleet.home import open_home
from agent.fleet.registry import GrantRecord
from agent.host.ports import free_port
from agent.release.repository import Repository
from tests.fleet.answering import BUNDLE, answer_with_a_file, start_late
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.fleet.rotating_device import rotate_when_told
from tests.fleet.workshop import Vigil
from tests.parts.processes import served


def test_a_release_is_made_signed_and_published_by_commands(vigil: Vigil, repo: Path) -> None:
    shown = vigil("release inspect repo")
    assert "models/gate/people/1.0/manifest.json" in shown
    assert "nothing is staged" in shown
    assert Path("release.key").stat().st_mode & 0o777 == 0o600
    assert "timestamp version 2" in vigil("release refresh repo")


def test_approvals_are_counted_and_too_few_publish_nothing(vigil: Vigil, repo: Path) -> None:
    vigil("release stage repo --renew gate")
    assert "1 of 2" in vigil("release approve repo gate --key keys/release/linus.key")
    with pytest.raises(TrustError):
        vigil("release publish repo")
    with pytest.raises(KeyUnavailableError):
        vigil("release approve repo gate --key keys/release/nobody.key")


def test_publishing_what_nobody_staged_is_not_called_published(vigil: Vigil, repo: Path) -> None:
    before = Repository(repo).timestamp_version
    said = vigil("release publish repo")
    assert "published" not in said
    assert "nothing was staged, only snapshot and timestamp were renewed" in said
    assert f"timestamp version {before + 1}" in said
    assert json.loads(vigil("release publish repo --json")) == {
        "timestamp": before + 2,
        "published": [],
    }


def test_a_carried_copy_brings_its_approval(vigil: Vigil, repo: Path) -> None:
    vigil("release stage repo --renew gate")
    staged = repo / "staged/gate.json"
    clean = staged.read_bytes()
    vigil("release approve repo gate --key keys/release/grace.key")
    Path("carried.json").write_bytes(staged.read_bytes())
    staged.write_bytes(clean)
    assert "1 of 2" in vigil("release approve repo gate --carried carried.json")


def test_a_key_file_is_never_overwritten(vigil: Vigil, repo: Path) -> None:
    before = Path("release.key").read_bytes()
    with pytest.raises(ConfigError):
        vigil("release build draft/release.yaml --out again --key-out release.key")
    assert Path("release.key").read_bytes() == before


def test_a_device_joins_by_commands(vigil: Vigil, repo: Path) -> None:
    vigil("fleet init home --repository repo --host 127.0.0.1")
    vigil("fleet add-key home gate/people/1.0 release.key")
    vigil("fleet enrol-token home cam-1 --class gate --group north --out stick")
    assert "fleet admit" in vigil("enroll --bundle stick --folder device --key-store file")
    vigil("fleet admit home stick")
    told = vigil("enroll --bundle stick --folder device --key-store file --json")
    assert json.loads(told.splitlines()[-1]) == {
        "bundle": "stick",
        "configuration": "device/vigil.yaml",
    }
    assert "ready" in vigil("enroll --bundle stick --folder device --key-store file")
    config = load_config(Path("device/vigil.yaml"))
    assert (config.device.id, config.broker.port) == ("cam-1", 8883)
    assert Path(config.trust_root).read_bytes() == Repository(repo).root_bytes
    assert "north" in vigil("fleet devices home")
    assert "user cam-1" in Path("home/broker/acl").read_text()
    vigil("fleet revoke home cam-1")
    listed = json.loads(vigil("fleet devices home --json"))
    assert [(one["device"], one["groups"], one["revoked"]) for one in listed] == [
        ("cam-1", ["north"], True)
    ]
    assert "revoked" in vigil("fleet devices home")
    home = open_home(Path("home"))
    assert home.registry.release_key("gate/people/1.0") == Path("release.key").read_bytes()
    home.registry.close()


def test_revoking_who_was_only_invited_voids_the_invitation_and_says_so(
    vigil: Vigil, repo: Path
) -> None:
    vigil("fleet init home --repository repo --host 127.0.0.1")
    vigil("fleet enrol-token home cam-1 --class gate --out stick")
    vigil("enroll --bundle stick --folder device --key-store file")
    assert "cam-1: not registered yet; its invitation is void" in vigil("fleet revoke home cam-1")
    with pytest.raises(TrustError, match="unknown"):
        vigil("fleet admit home stick")
    vigil("fleet enrol-token home cam-1 --class gate --out again")
    told = json.loads(vigil("fleet revoke home cam-1 --json"))
    assert told == {"device": "cam-1", "revoked": False, "broker_told": False}
    with pytest.raises(ConfigError, match="cam-1: not registered"):
        vigil("fleet revoke home cam-1")


def test_a_device_may_choose_where_its_key_lives(vigil: Vigil, repo: Path) -> None:
    vigil("fleet init home --repository repo --host 127.0.0.1")
    vigil("fleet enrol-token home cam-1 --class gate --out stick")
    told = "enroll --bundle stick --folder device --key-store file --key-option kem=x-wing"
    assert "lives in: file" in vigil(told)
    vigil("fleet admit home stick")
    vigil("enroll --bundle stick --folder device")
    assert "kem: x-wing" in Path("device/vigil.yaml").read_text()
    home = open_home(Path("home"))
    home.registry.log_grant(GrantRecord(0, "cam-1", "gate/people/1.0", 403, "this one is revoked"))
    home.registry.close()
    assert "this one is revoked" in vigil("fleet grants home cam-1")
    assert json.loads(vigil("fleet grants home cam-1 --json"))[0]["status"] == 403


def test_a_second_broker_for_transfers_reaches_every_devices_configuration(
    vigil: Vigil, repo: Path
) -> None:
    vigil("fleet init home --repository repo --host 127.0.0.1 --bulk-port 8884")
    vigil("fleet enrol-token home cam-1 --class gate --out stick")
    vigil("enroll --bundle stick --folder device --key-store file")
    vigil("fleet admit home stick")
    vigil("enroll --bundle stick --folder device --key-store file")
    bulk = load_config(Path("device/vigil.yaml")).broker.bulk
    assert bulk is not None
    assert bulk.port == 8884
    assert "listener 8884" in Path("home/broker/mosquitto-bulk.conf").read_text()
    home = open_home(Path("home"))
    controllers = home.bulk_broker()
    assert controllers is not None
    assert controllers.port == 8884
    home.registry.close()


def test_a_served_fleet_relays_a_signed_command_to_a_device_that_is_just_starting(
    vigil: Vigil, repo: Path
) -> None:
    port = free_port()
    vigil(f"fleet init home --repository repo --host 127.0.0.1 --port {port}")
    vigil("fleet enrol-token home cam-1 --class gate --out stick")
    vigil("enroll --bundle stick --folder device --key-store file")
    vigil("fleet admit home stick")
    vigil("enroll --bundle stick --folder device --key-store file")
    with served(Path("home"), "--embedded-broker"):
        tls = load_config(Path("device/vigil.yaml")).broker.tls
        assert tls is not None
        device = Device(port, tls)
        assert device.accepted()
        answering = threading.Thread(target=start_late, args=(device,))
        answering.start()
        options = "--as ada --key keys/people/ada.key --counters counters.json"
        assert "cam-1: stop succeeded" in vigil(f"fleet send home d/cam-1 stop {options}")
        answering.join(WAIT_S)
        relay_what_two_people_signed(vigil, device, options)
        rotated(vigil, device)
        device.close()


def relay_what_two_people_signed(vigil: Vigil, device: Device, options: str) -> None:
    """Carry a command from person to person as a file; its answer brings a file back in parts."""
    vigil(f"fleet sign d/cam-1 diagnostics {options} --out order.json")
    vigil("fleet approve order.json --key keys/people/grace.key --yes")
    relayed: list[bytes] = []
    answering = threading.Thread(target=answer_with_a_file, args=(device, relayed))
    answering.start()
    said = vigil("fleet relay home order.json --save files --json")
    answering.join(WAIT_S)
    told = json.loads(said.splitlines()[-1])
    assert (told["device"], told["cmd"], told["status"]) == ("cam-1", "diagnostics", "succeeded")
    assert told["file"] == "files/cam-1-bundle.bin"
    assert relayed == [Path("order.json").read_bytes()]
    assert Path("files/cam-1-bundle.bin").read_bytes() == BUNDLE


def rotated(vigil: Vigil, device: Device) -> None:
    """Let a device with its real key store get a new key by one command."""
    config = load_config(Path("device/vigil.yaml"))
    made = list[bytes]()
    answering = threading.Thread(target=rotate_when_told, args=(device, config.key, made))
    answering.start()
    options = "--as ada --key keys/people/ada.key --key keys/people/grace.key"
    output = vigil(f"fleet rotate-keys home cam-1 {options} --counters counters.json")
    answering.join(WAIT_S)
    assert "cam-1: rotate-keys succeeded" in output
    registry = open_home(Path("home")).registry
    record = registry.device("cam-1")
    registry.close()
    assert record is not None
    assert [record.public_key] == made
