"""What `vigil fleet`, `release` and `profile` print with `--json`: one object on standard output, whatever else there is to read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from agent.cli import app
from agent.fleet.tables import SCHEMA
from tests.fleet.workshop import run

ADA = "--as ada --key keys/people/ada.key --counters counters.json"
GRACE = "--key keys/people/grace.key --yes"
PLAN = """
schema: 1
name: people-1
release: gate/people/1.0
waves: [{percent: 100}]
"""
STANDING = {"pause": "paused", "resume": "running", "abort": "aborted"}

# In the order in which people do it.
STORY: dict[str, dict[str, Any]] = {
    "release keygen people mary": {"private": "keys/people/mary.key"},
    "release inspect repo": {"staged": []},
    "release build draft/release.yaml --out again --key-out again.key": {
        "release": "gate/people/1.0",
        "folder": "again",
        "key": "again.key",
    },
    "release stage repo --renew gate": {},
    "release approve repo gate --key keys/release/ada.key --key keys/release/grace.key": {},
    "release publish repo": {"timestamp": 2, "published": ["gate"]},
    "release refresh repo": {"timestamp": 3},
    "fleet examples-key examples.key": {"private": "examples.key"},
    "fleet init home --repository repo --host 127.0.0.1": {
        "home": "home",
        "broker_settings": "home/broker/mosquitto.conf",
    },
    "fleet enrol-token home cam-1 --class gate --out stick": {
        "device": "cam-1",
        "class": "gate",
        "bundle": "stick",
        "ticket": None,
    },
    "fleet admit home stick": {"device": "cam-1", "class": "gate", "broker_told": False},
    "fleet add-key home gate/people/1.0 release.key": {"release": "gate/people/1.0"},
    f"fleet sign d/cam-1 stop {ADA} --out order.json": {"file": "order.json"},
    f"fleet approve order.json {GRACE}": {"file": "order.json"},
    f"fleet rollout sign home plan.yaml {ADA} --out orders": {
        "commands": "orders",
        "devices": ["cam-1"],
    },
    f"fleet rollout approve orders {GRACE}": {"commands": "orders", "signed": 1},
    "fleet rollout start home plan.yaml --commands orders": {
        "name": "people-1",
        "devices": 1,
        "commands": 1,
    },
    "fleet rollout add home people-1 --commands orders": {"name": "people-1", "commands": 1},
    **{
        f"fleet rollout {order} home people-1": {"name": "people-1", "standing": standing}
        for order, standing in STANDING.items()
    },
    "fleet rollout report home people-1 --out page.html": {"name": "people-1", "file": "page.html"},
    "fleet database home": {"found": SCHEMA, "wanted": SCHEMA, "backup": None},
    "fleet revoke home cam-1": {"device": "cam-1", "revoked": True, "broker_told": False},
}


@pytest.fixture(scope="module")
def said(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every command of the story printed on standard output."""
    folder = tmp_path_factory.mktemp("json")
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(workshop, folder, dirs_exist_ok=True)
        Path("plan.yaml").write_text(PLAN)
        for line in STORY:
            if line.startswith("fleet admit"):
                run("enroll --bundle stick --folder device --key-store file")
            result = CliRunner().invoke(app, [*line.split(), "--json"])
            assert result.exception is None, line
            printed[line] = result.stdout
    return printed


@pytest.mark.parametrize("line", STORY)
def test_a_program_can_read_what_a_command_did(said: dict[str, str], line: str) -> None:
    told = json.loads(said[line])
    assert STORY[line].items() <= told.items()


def test_who_signed_and_what_is_published_can_be_read(said: dict[str, str]) -> None:
    staged, approved = (
        json.loads(said[line])["staged"]
        for line in said
        if line.startswith(("release stage", "release approve"))
    )
    assert [(one["role"], len(one["signed"]), one["threshold"]) for one in staged] == [
        ("gate", 0, 2)
    ]
    assert len(approved[0]["signed"]) == 2
    assert approved[0]["digest"] == staged[0]["digest"]
    (release,) = json.loads(said["release inspect repo"])["releases"]
    assert (release["class"], release["name"], release["version"]) == ("gate", "people", "1.0")
    assert len(release["sha256"]) == 64


def test_every_command_of_a_fleet_its_releases_and_its_boards_speaks_json() -> None:
    command: Any = get_command(app)
    silent = {path for path, one in commands(command) if "--json" not in options(one)}
    wanted = {path for path in silent if path.startswith(("fleet ", "release ", "profile "))}
    assert wanted == {
        "fleet serve",  # it says nothing that a program could wait for
        "release schema",  # JSON already
        "profile schema",
    }


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group, by its words."""
    for name in getattr(command, "commands", ()):
        below = command.commands[name]
        if hasattr(below, "commands"):
            yield from commands(below, f"{path}{name} ")
        else:
            yield f"{path}{name}", below


def options(command: Any) -> set[str]:
    return {option for one in command.params for option in one.opts}
