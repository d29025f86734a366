"""What a person mistypes or forgets at the controller: said before anything is made, sent or waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.errors import CommandError, ConfigError, TransferError, VigilError
from agent.fleet.home import open_home
from agent.fleet.registry import DeviceRecord
from tests.fleet.workshop import Vigil

INIT = "fleet init home --repository repo --host 127.0.0.1 --port 1"
KEYS = "--as ada --key keys/people/ada.key --counters counters.json"


@pytest.fixture
def home(vigil: Vigil, repo: Path) -> Path:
    """A fleet with the device `cam-1` in the group `north`, and no broker."""
    vigil(INIT)
    opened = open_home(Path("home"))
    opened.registry.put_device(DeviceRecord("cam-1", "gate", ("north",), b"", "1f"))
    opened.registry.close()
    return opened.folder


def fault(vigil: Vigil, line: str) -> str:
    """What a command says when it refuses."""
    with pytest.raises(VigilError) as refused:
        vigil(line)
    return refused.value.diagnostics()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--host bad_host/x", "broker's host"),
        ("--host kamera-ä", "punycode"),
        ("--host " + "a" * 65, "at most 64"),
        ("--database postgresql+psycopg://127.0.0.1:1/fleet", "127.0.0.1:1"),
    ],
)
def test_a_fleet_that_cannot_be_made_leaves_nothing_behind(
    vigil: Vigil, repo: Path, change: str, words: str
) -> None:
    assert words in fault(vigil, f"{INIT} {change}")
    assert not Path("home").exists()
    vigil(INIT)


@pytest.mark.parametrize(
    "change",
    [
        "--repository elsewhere",
        "--repository release.key",
        "--port 0",
        "--port 65536",
        "--enrol-port -1",
        "--certificate-days 99999999",
    ],
)
def test_a_value_that_no_fleet_can_have_is_a_usage_error(
    vigil: Vigil, repo: Path, change: str
) -> None:
    assert CliRunner().invoke(app, f"{INIT} {change}".split()).exit_code == 2
    assert not Path("home").exists()


def test_who_is_invited_wrongly_hears_of_it_before_the_bundle_is_carried(
    vigil: Vigil, home: Path
) -> None:
    assert "it has gate" in fault(vigil, "fleet enrol-token home cam-2 --class gaet --out stick")
    for wrong in ("cam_2 --group no/rth", "Cam-2"):
        told = fault(vigil, f"fleet enrol-token home {wrong} --class gate --out stick")
        assert "small letters" in told
    assert not Path("stick").exists()
    vigil("fleet enrol-token home cam-2 --class gate --out stick")
    before = Path("stick/invitation.json").read_bytes()
    again = "fleet enrol-token home cam-3 --class gate --out stick"
    assert "earlier invitation" in fault(vigil, again)
    assert Path("stick/invitation.json").read_bytes() == before
    for hours in ("inf", "1e12", "-1"):
        line = f"fleet enrol-token home cam-3 --class gate --out other --hours {hours}"
        assert CliRunner().invoke(app, line.split()).exit_code == 2


def test_a_folder_that_is_no_bundle_is_said_to_be_none_with_what_to_do(
    vigil: Vigil, home: Path
) -> None:
    told = fault(vigil, "enroll --bundle keys --folder device")
    assert "no invitation.json" in told
    assert "enrol-token" in told
    assert not Path("device").exists()
    told = fault(vigil, "fleet admit home keys")
    assert "no request.json" in told
    assert "vigil enroll --bundle" in told


def test_a_key_is_kept_only_for_what_can_be_a_release(vigil: Vigil, home: Path) -> None:
    assert "<class>/<name>/<version>" in fault(vigil, "fleet add-key home people release.key")
    assert "it has gate" in fault(vigil, "fleet add-key home gaet/people/1.0 release.key")
    wrong = "fleet add-key home gate/people/1.0 keys/people/ada.key"
    assert "a release's key" in fault(vigil, wrong)
    assert "not published yet" in vigil("fleet add-key home gate/people/2.0 release.key")
    assert "not published" not in vigil("fleet add-key home gate/people/1.0 release.key")


@pytest.mark.parametrize("audience", ["d/cam-9", "g/south", "g/cam-1"])
def test_nobody_waits_for_a_device_that_is_not_of_the_fleet(
    vigil: Vigil, home: Path, audience: str
) -> None:
    for line in (f"deploy home {audience} gate/people/1.0", f"send home {audience} status"):
        assert "fleet.unknown_device" in fault(vigil, f"fleet {line} {KEYS}")


def test_a_command_for_nobody_is_not_even_signed(vigil: Vigil, home: Path) -> None:
    with pytest.raises(CommandError, match="d/<device>") as refused:
        vigil(f"fleet sign cam-1 status {KEYS} --out order.json")
    assert refused.value.hint == "for one device write d/cam-1"
    assert not Path("order.json").exists()


def test_what_cannot_be_sent_is_said(vigil: Vigil, home: Path) -> None:
    unpublished = f"fleet deploy home d/cam-1 gate/people/9.9 {KEYS}"
    assert "people 1.0" in fault(vigil, unpublished)
    for audience in ("d/cam-1", "g/north"):
        with pytest.raises(TransferError, match=r"127\.0\.0\.1:1"):
            vigil(f"fleet deploy home {audience} gate/people/1.0 {KEYS}")
    with pytest.raises(ConfigError, match="fleet is there already"):
        vigil(INIT)
    with pytest.raises(ConfigError, match="not there"):
        vigil("fleet devices elsewhere")
