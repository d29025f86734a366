"""The guides keep their word: their commands run in order, and every command and option they name exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from agent import __version__
from agent.cli import app
from agent.host.ports import free_port
from tests.parts.broker import needs_mosquitto
from tests.parts.conveyor import labels_of_first_frames
from tests.parts.guides import ROOT, blocks, lines, run_guide

GUIDES = [ROOT / "README.md", ROOT / "docs/first-device.md"]
TEXTS = [ROOT / "README.md", ROOT / "device_profiles/README.md", *sorted(ROOT.glob("docs/**/*.md"))]
COMMAND: Any = get_command(app)
ARCHITECTURE = ROOT / "docs/architecture.md"
UNITS = sorted(ROOT.glob("systemd/vigil*.*[!d]"))
DROP_INS = sorted(ROOT.glob("systemd/*.d/*.conf"))
_CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_VIGIL = re.compile(r"(?:^|[\s(/])vigil ((?:\\\n|[^\n;|&)])+)", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@needs_mosquitto
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_a_guide_leads_to_a_device_that_runs_the_new_model(guide: Path, tmp_path: Path) -> None:
    labels = labels_of_first_frames(tmp_path / "labels.json")
    settings = {"PORT": str(free_port()), "PAGE": str(free_port()), "LABELS": str(labels)}
    missing = {program for line in lines(guide) if (program := line.missing_program)}
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    output = run_guide(guide, tmp_path, settings, timeout_s=280)
    status = output[output.rindex("+ vigil status") :]
    assert "deploy succeeded" in output
    for fact in ("gate/parts/1.0.0", "committed", "connected", "belt"):
        assert fact in status, status


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_command_and_option_that_is_named_exists(text: Path) -> None:
    wrong = {call: problem for call in calls(text) if (problem := fault(call))}
    assert not wrong


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_link_leads_somewhere(text: Path) -> None:
    dead = []
    for path, anchor in _LINK.findall(text.read_text()):
        target = text.parent / path if path else text
        if not target.exists() or (anchor and anchor[1:] not in anchors(target)):
            dead.append(path + anchor)
    assert not dead


@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_systemd_accepts_the_units_that_the_guides_install(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # Verifying wants the programs to be there, which are elsewhere on this machine, and the units beside it.
    for one in [*UNITS, *DROP_INS]:
        copy = tmp_path / one.relative_to(ROOT / "systemd")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(re.sub(r"(?m)^(Exec\w+=)(\S+)", r"\1/bin/true", one.read_text()))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_units_start_commands_that_exist() -> None:
    for unit in [*UNITS, *DROP_INS]:
        for call in re.findall(r"(?m)^Exec\w+=/\S*/(?:vigil|launch) (.*)$", unit.read_text()):
            assert fault(call) == "", f"{unit.name}: {call}"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_install_lines_give_a_vigil_command(tmp_path: Path) -> None:
    install = [line.text for line in lines(GUIDES[1]) if "/opt/vigil" in line.text]
    install = [text for text in install if "-m venv" in text or "pip install" in text]
    assert len(install) == 3
    first = next(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    wanted = first.split(";")[0].strip(" \\")
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "-q",
        "-d",
        str(tmp_path),
        wanted,
    ]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no package index can be reached")
    script = "\n".join(["set -e", *install, "/opt/vigil/bin/vigil --version"])
    script = script.replace("sudo ", "").replace("/opt/vigil", str(tmp_path / "vigil"))
    script = script.replace("python3 ", f"{sys.executable} ")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_COMPILE": "1"},  # it takes half of the time
        check=False,
    )
    shutil.rmtree(tmp_path / "vigil", ignore_errors=True)  # half a gigabyte
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == __version__


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_what_a_guide_installs_lies_in_the_checkout(guide: Path) -> None:
    words = [word for line in lines(guide) if line.skipped for word in line.text.split()]
    files = [word for word in words if word.startswith(("systemd/", "scripts/", "agent/"))]
    assert [file for file in files if not list(ROOT.glob(file))] == []


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_the_shell_can_read_every_block(guide: Path) -> None:
    for block in blocks(guide):
        read = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stderr


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    documents = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    documents -= {"README.md", "decisions/0000-template.md"}
    assert [document for document in sorted(documents) if f"({document})" not in index] == []


def test_the_architecture_names_the_rooms_that_there_are() -> None:
    named = re.findall(r"^\| `(\w+)/?` \|[^|]*\|$", ARCHITECTURE.read_text(), re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("agent/*/__init__.py")}
    assert sorted(named) == sorted({*packages, "errors"})


def test_the_contracts_name_only_files_that_exist() -> None:
    named = re.findall(r"\b((?:\w+/)+\w+\.py)\b", ARCHITECTURE.read_text())
    assert named
    assert [name for name in named if not (ROOT / "agent" / name).exists()] == []


def calls(text: Path) -> list[str]:
    """Everything that a text says after `vigil `, in its shell blocks and code spans."""
    plain = text.read_text()
    code = [*blocks(text), *_CODE_SPAN.findall(plain)]
    return [call.strip() for piece in code for call in _VIGIL.findall(piece)]


def fault(call: str) -> str:
    """What is wrong with the arguments `call`, empty when nothing is; `…` stands for anything."""
    command = COMMAND
    words = shlex.split(call.replace("\\\n", " "), comments=True)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") and words and re.match("[a-z]", words[0]):
        return f"no command {words[0]}"
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    given = [word.split("=")[0] for word in words if re.match("--?[a-z]", word)]
    unknown = [option for option in given if option not in {*known, "--help", "-h"}]
    return f"no option {', '.join(unknown)}" if unknown else ""


def anchors(text: Path) -> set[str]:
    """The anchors of a text's headings."""
    headings = re.findall(r"^#+ (.+)$", text.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }
