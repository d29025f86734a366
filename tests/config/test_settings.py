"""Changes of settings: checked, tried, kept or undone; the operator's file is never touched."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent.config.settings import FILE, MAX_TRIES, Origin, Settings
from agent.errors import CommandError, ConfigError, StorageError
from agent.schema.settings import Needs
from tests.parts.power_cut_disk import PowerCutDisk, PowerCutError

TEXT = """\
schema: 1
device: {id: cam-1, class: shop}
broker: {host: broker.example, tls: {ca: ca.crt, cert: cam.crt, key: cam.key}}
state_dir: state
cameras:
  - {name: door, source: door.mp4, fps: 5}
detect: {confidence: 0.5}
"""
CHANGE = {"cameras": {"door": {"fps": 9}}, "detect": {"iou": 0.3}}
ASKED = Origin("cmd-00000001", "set-config")
ADMIN = Origin("cmd-00000001", "set-config-protected", may_change_protected=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    path = tmp_path / "vigil.yaml"
    path.write_text(TEXT)
    return path


def fps(settings: Settings) -> float | None:
    return settings.config.cameras[0].fps


def test_without_changes_the_operator_s_file_is_in_force(path: Path) -> None:
    settings = Settings(path)
    assert settings.begin() == settings.config
    assert (fps(settings), settings.config.detect.confidence) == (5, 0.5)
    assert not (path.parent / "state" / FILE).exists()


def test_a_change_is_in_force_on_trial_and_after_it_is_kept(path: Path) -> None:
    first = Settings(path)
    assert first.propose(CHANGE, Needs(cameras=["door", "gone"]), ASKED)
    assert fps(first) == 5, "a proposal alone changes nothing"
    second = Settings(path)
    assert fps(second) == 5, "nor does it for whoever only reads"
    second.begin()
    assert (fps(second), second.config.detect.iou, second.config.detect.confidence) == (9, 0.3, 0.5)
    trial = second.trial
    assert trial is not None
    assert (trial.command, trial.tries, trial.needs.cameras) == ("cmd-00000001", 1, ["door"])
    second.keep()
    third = Settings(path)
    third.begin()
    assert (fps(third), third.trial, third.changes) == (9, None, CHANGE)
    assert third.last is not None
    assert third.last.kept
    assert path.read_text() == TEXT


def test_what_is_given_up_is_undone_and_its_reason_remembered(path: Path) -> None:
    Settings(path).propose(CHANGE, Needs(), ASKED)
    settings = Settings(path)
    settings.begin()
    settings.give_up(ConfigError("no link", code="config.no_link"))
    assert (fps(settings), fps(Settings(path)), settings.trial) == (5, 5, None)
    assert settings.last is not None
    assert (settings.last.kept, settings.last.code) == (False, "config.no_link")


def test_a_change_that_the_agent_does_not_survive_is_undone(path: Path) -> None:
    Settings(path).propose(CHANGE, Needs(), ASKED)
    for _ in range(MAX_TRIES):
        settings = Settings(path)
        settings.begin()
        assert fps(settings) == 9
    settings = Settings(path)
    settings.begin()
    assert fps(settings) == 5
    assert settings.last is not None
    assert settings.last.code == "config.crash_loop"


def test_a_file_edited_meanwhile_so_that_the_change_no_longer_fits_undoes_it(path: Path) -> None:
    Settings(path).propose({"cameras": {"door": {"fps": 9}}}, Needs(), ASKED)
    path.write_text(TEXT.replace("{name: door, source: door.mp4, fps: 5}", "{name: x, source: y}"))
    settings = Settings(path)
    settings.begin()
    assert [camera.name for camera in settings.config.cameras] == ["x"]
    assert settings.last is not None
    assert settings.last.code == "config.invalid"


BAD: dict[str, tuple[dict[str, Any], Origin, str, str]] = {
    "wrong type": ({"detect": {"iou": "much"}}, ASKED, "config.invalid", "$.detect.iou"),
    "out of range": ({"detect": {"iou": 3}}, ASKED, "config.invalid", "$.detect.iou"),
    "unknown field": ({"detect": {"io": 0.3}}, ASKED, "config.invalid", "io"),
    "unknown section": ({"detekt": {}}, ASKED, "config.invalid", "detekt"),
    "camera without a source": ({"cameras": {"new": {}}}, ASKED, "config.invalid", "source"),
    "camera that is a number": ({"cameras": {"door": 1}}, ASKED, "config.invalid", "cameras"),
    "second of a name": (
        {"cameras": [{"name": "a", "source": "x"}, {"name": "a", "source": "y"}]},
        ASKED,
        "config.invalid",
        "unique camera names",
    ),
    "broker by an operator": ({"broker": {"port": 1}}, ASKED, "config.protected", "broker"),
    "identity by an operator": ({"device": {"id": "x"}}, ASKED, "config.protected", "device"),
    "a collector by an operator": (
        {"opentelemetry": {"endpoint": "https://x/", "token_file": "identity/device.key"}},
        ASKED,
        "config.protected",
        "opentelemetry",
    ),
    "key by an operator": ({"key": "other.key"}, ASKED, "config.protected", "key"),
    "trust root by an operator": ({"trust_root": "r"}, ASKED, "config.protected", "trust_root"),
    "console by an operator": ({"console": None}, ASKED, "config.protected", "console"),
    "password file by an operator": (
        {"cameras": {"door": {"password_file": "identity/device.key"}}},
        ASKED,
        "config.protected",
        "password_file",
    ),
    "pipeline by an operator": (
        {"cameras": [{"name": "door", "source": "gst:filesrc location=device.key"}]},
        ASKED,
        "config.protected",
        "source",
    ),
    "state folder by anybody": ({"state_dir": "/tmp"}, ADMIN, "config.fixed", "state_dir"),
    "schema by anybody": ({"schema": 2}, ADMIN, "config.fixed", "schema"),
    "too much": ({"telemetry": {"x": "y" * 70_000}}, ASKED, "config.too_large", "bytes"),
}


@pytest.mark.parametrize(("changes", "origin", "code", "named"), BAD.values(), ids=BAD)
def test_a_wrong_change_is_named_and_changes_nothing(
    path: Path, changes: dict[str, Any], origin: Origin, code: str, named: str
) -> None:
    settings = Settings(path)
    with pytest.raises(ConfigError) as caught:
        settings.propose(changes, Needs(), origin)
    assert caught.value.code == code
    assert named in str(caught.value)
    assert settings.trial is None
    assert not (path.parent / "state" / FILE).exists()


def test_who_may_change_what_is_protected_can(path: Path) -> None:
    settings = Settings(path)
    assert settings.propose({"broker": {"port": 8884}}, Needs(), ADMIN)
    again = Settings(path)
    again.begin()
    assert again.config.broker.port == 8884
    assert again.config.broker.host == "broker.example"


def test_a_second_change_waits_for_the_first(path: Path) -> None:
    settings = Settings(path)
    settings.propose(CHANGE, Needs(), ASKED)
    with pytest.raises(CommandError) as caught:
        settings.propose({"detect": {"iou": 0.9}}, Needs(), ASKED)
    assert caught.value.code == "command.busy"
    with pytest.raises(CommandError):
        settings.amend({"detect": {"iou": 0.9}})


def test_what_is_so_already_writes_nothing(path: Path) -> None:
    settings = Settings(path)
    assert not settings.propose({"cameras": {"door": {"fps": 5}}}, Needs(), ASKED)
    assert not (path.parent / "state" / FILE).exists()


def test_a_small_change_can_be_kept_at_once_and_set_back(path: Path) -> None:
    settings = Settings(path)
    assert settings.amend({"cameras": {"door": {"loop": False}}}).cameras[0].loop is False
    assert Settings(path).config.cameras[0].loop is False
    settings.amend({"cameras": {"door": {"loop": None}}})
    assert settings.config.cameras[0].loop is True
    assert settings.changes == {}


def test_a_disk_that_takes_nothing_lets_nothing_change(path: Path, tmp_path: Path) -> None:
    settings = Settings(path)
    (tmp_path / "state").rmdir()
    with pytest.raises(StorageError):
        settings.propose(CHANGE, Needs(), ASKED)
    assert settings.trial is None


@pytest.mark.parametrize("data", [b"", b"{}", b'{"schema": 1, "kept": 5}', b"\xff"])
def test_a_damaged_file_is_named_with_its_remedy(path: Path, data: bytes) -> None:
    (path.parent / "state" / FILE).write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        Settings(path)
    assert caught.value.code == "config.damaged"
    assert FILE in str(caught.value)
    assert "remove it" in caught.value.hint


def _live(path: Path, disk: PowerCutDisk, *, well: bool) -> None:
    """One change from proposal to its end, each step a life of its own."""
    Settings(path, disk).propose(CHANGE, Needs(), ASKED)
    settings = Settings(path, disk)
    settings.begin()
    if well:
        settings.keep()
    else:
        settings.give_up(ConfigError("no link", code="config.no_link"))


@pytest.mark.parametrize("well", [True, False])
def test_a_power_cut_at_any_step_leaves_the_old_or_the_new_settings_and_the_next_change_works(
    tmp_path: Path, *, well: bool
) -> None:
    seen = set()
    for cut in range(20):
        folder = tmp_path / str(cut)
        folder.mkdir()
        path = folder / "vigil.yaml"
        path.write_text(TEXT)
        for seed in range(3):
            disk = PowerCutDisk(folder)
            disk.make_dirs(folder / "state")
            disk.cut_after(cut)
            try:
                _live(path, disk, well=well)
            except PowerCutError:
                disk = disk.after_cut(random.Random(seed))  # noqa: S311 - repeatable on purpose
            disk.cut_after(None)
            seen.add(_recover(path, disk))
            disk.remove(folder / "state" / FILE)
    assert seen == ({5, 9} if well else {5})


def _recover(path: Path, disk: PowerCutDisk) -> float | None:
    """The agent starts until nothing is on trial any more; what it then has."""
    for _ in range(MAX_TRIES + 1):
        settings = Settings(path, disk)
        settings.begin()
        assert fps(settings) in {5, 9}
    assert settings.trial is None
    assert settings.propose({"detect": {"confidence": 0.9}}, Needs(), ASKED)
    after = Settings(path, disk)
    after.begin()
    assert after.config.detect.confidence == 0.9
    assert fps(after) == fps(settings)
    return fps(settings)
