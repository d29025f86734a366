"""The guide's release by three people on three machines, to the agent that runs it: docs/releases.md, command by command."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.demo.fleet import DEVICE_CLASS
from agent.demo.releases import VIDEO
from agent.demo.scene import CLASSES
from agent.errors import VigilError
from agent.fleet.blocks import BlockServer
from agent.release.repository import Repository
from agent.schema.messages import ReplyStatus
from tests.parts.guides import ROOT
from tests.parts.site import MODEL, Site

GUIDE = ROOT / "docs/releases.md"
HEADING = "## Two of three, on three machines\n"
PEOPLE = ("ada", "grace", "linus")
RELEASE = f"{DEVICE_CLASS}/parts/1.0.0"
# Bash expands loops and variables and writes files; the commands themselves are run below, in their order.
EXPAND = 'say() { printf "%q " "$@" >&3; echo >&3; }\n' + "\n".join(
    f'{name}() {{ say {name} "$@"; }}' for name in ("vigil", "cp", "mkdir")
)


@dataclass(frozen=True)
class Told:
    """What one command said, and the code of its error."""

    command: list[str]
    output: str
    code: str = ""


def commands(folder: Path) -> list[list[str]]:
    section = GUIDE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    blocks = [part.partition("```")[0] for part in section.split("```sh\n")[1:]]
    script = "\n".join(blocks).replace("CLASS=gate", f"CLASS={DEVICE_CLASS}")
    said = folder / "commands"
    subprocess.run(["bash", "-euc", f"exec 3>{said}\n{EXPAND}\n{script}"], cwd=folder, check=True)
    return [shlex.split(line) for line in said.read_text().splitlines()]


def write_draft(folder: Path) -> None:
    (folder / "draft.yaml").write_text(f"""\
schema: 1
name: parts
version: 1.0.0
class: {DEVICE_CLASS}
counter: 1
labels: [{", ".join(CLASSES)}]
variants:
  - {{id: onnx-fp32-320, model: {MODEL}, backend: onnxruntime, precision: fp32, family: ultralytics,
     input: {{width: 320, height: 320}}, accuracy: 0.6, memory_mb: 256}}
golden: {{images: [1.jpg, 2.jpg], expected: boxes.json, confidence: 0.25, iou: 0.6}}
""")
    run(["vigil", "release", "golden", str(folder / "draft.yaml"), "--clip", str(VIDEO)])


def run(command: list[str]) -> Told:
    program, *arguments = command
    if program != "vigil":
        subprocess.run(command, check=True)
        return Told(command, "")
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, VigilError):
        return Told(command, result.output, result.exception.code)
    assert result.exit_code == 0, result.output
    return Told(command, result.output)


def private_keys(folder: Path) -> set[str]:
    return {path.stem for path in folder.rglob("*.key")}


def test_a_release_that_two_of_three_approved_on_their_machines_runs_on_a_device(
    own_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_draft(tmp_path)
    told = [run(command) for command in commands(tmp_path)]

    refused = [one for one in told if one.code]
    assert [(one.command[2], one.code) for one in refused] == [("publish", "trust.threshold")]
    assert told[-1].command[2] == "publish"
    # No machine ever had another person's key, and the workstation had none.
    for person in PEOPLE:
        assert private_keys(tmp_path / person) == {person}
    assert not private_keys(tmp_path / "public")
    assert not private_keys(tmp_path / "repository")
    # Both saw before they signed what it was, and both saw the same.
    reviews = [
        one.output.partition("\nstaged")[0].splitlines()
        for one in told
        if one.command[2] == "approve" and DEVICE_CLASS in one.command and "--key" in one.command
    ]
    ada, grace = (lines[: lines.index(next(x for x in lines if "┏" in x))] for lines in reviews)
    assert ada == grace
    assert f"{DEVICE_CLASS} version 1" in ada[0]
    assert any(f"release {RELEASE}, counter 1" in line for line in ada)
    assert any("onnx-fp32-320: onnxruntime fp32 320x320, mAP50-95 0.6000" in line for line in ada)

    fleet = own_site.fleet
    fleet.repository = Repository(tmp_path / "repository")
    fleet.road.elsewhere = BlockServer(fleet.repository.public)
    fleet.keys = tmp_path / "operators"
    (fleet.keys / "people").mkdir(parents=True)
    for person in PEOPLE[:2]:
        shutil.copy(tmp_path / f"{person}/keys/people/{person}.key", fleet.keys / "people")
    fleet.registry.put_release_key(RELEASE, (tmp_path / "release-1.key").read_bytes())
    (release,) = fleet.repository.releases(DEVICE_CLASS)
    device = own_site.device("agreed")
    device.start()
    own_site.wait(device, lambda state: state.online and state.policy_ver > 0, 60)
    assert own_site.install(device, release, 60).status is ReplyStatus.SUCCEEDED
    assert own_site.wait(device, lambda state: state.release is not None, 60).release == RELEASE
