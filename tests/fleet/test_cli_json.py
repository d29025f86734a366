"""What `vigil fleet` prints with `--json`: one object on standard output, whatever else there is to read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from tests.fleet.test_cli import run, workshop

__all__ = ["workshop"]
ALICE = "--as alice --key keys/policy/alice.key --counters counters.json"
BOB = "--key keys/policy/bob.key --yes"
PLAN = """
schema: 1
name: people-1
release: gate/people/1.0
waves: [{percent: 100}]
"""
STANDING = {"pause": "paused", "resume": "running", "abort": "aborted"}

# In the order in which people do it.
STORY: dict[str, dict[str, Any]] = {
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
    f"fleet sign d/cam-1 stop {ALICE} --out order.json": {"file": "order.json"},
    f"fleet approve order.json {BOB}": {"file": "order.json"},
    f"fleet rollout sign home plan.yaml {ALICE} --out orders": {
        "commands": "orders",
        "devices": ["cam-1"],
    },
    f"fleet rollout approve orders {BOB}": {"commands": "orders", "signed": 1},
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
