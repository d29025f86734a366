"""Guides for people (Markdown) as tests see them: their shell blocks, run in order in one shell.

What happens to a guide's commands
- All ```sh blocks of a guide are one bash script (`set -eu`), run in a folder that looks like a checkout, with a
  home folder of its own. `vigil` is this checkout's.
- Lines whose first words are in `NOT_RUN` are left out; the table says why and what checks them instead.
- An assignment to a name in `settings` takes the test's value: a free port, as a person would choose one.
- After a line that ends in `&` the script waits until that program is ready, see `READY`; all are stopped at the end.
- Before `vigil status` two seconds pass, as they would for a person: it shows what the agent writes every second.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HERE = re.compile(r"<<-?'?(\w+)'?")

# First words of a line -> why it is not run here, and what checks it instead.
NOT_RUN = {
    "git clone": "needs the network; whoever runs the tests has done it",
    "scripts/demo": "sets up an environment of its own; tests/e2e/test_demo.py runs it",
    "scripts/test": "it runs these tests",
    "sudo": "changes the machine; its `vigil` lines are checked against the command line, its units by systemd-analyze",
    "ssh": "needs a second machine; what it runs there is checked like a `sudo` line",
    "scp": "needs a second machine; the folders are on one here",
}
READY = {
    "mosquitto": ': >"/dev/tcp/127.0.0.1/$PORT"',
    "vigil fleet serve": "grep -q 'serving on' serve.log",
    "vigil run": "vigil status --config device/vigil.yaml --json | grep -q '\"policy_ver\":[1-9]'",
}
_PRELUDE = """\
set -euo pipefail
# The trap stops what the guide left running, whatever happened.
trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null || true; wait' EXIT
ready() {
  for _ in $(seq 200); do
    if (eval "$1") 2>/dev/null; then return; fi
    kill -0 "$!" || return 1
    sleep 0.2
  done
  echo "not ready: $1" >&2
  return 1
}
set -x
"""


@dataclass(frozen=True)
class Line:
    """One command line of a guide; a here-document belongs to its line."""

    text: str

    @property
    def skipped(self) -> str:
        """Why it is not run, empty when it is."""
        return next((why for start, why in NOT_RUN.items() if self._begins(start)), "")

    @property
    def missing_program(self) -> str:
        """The mosquitto program that it starts and this machine lacks."""
        name = self.text.split()[0]
        path = f"{os.environ['PATH']}:/usr/sbin"
        wanted = name.startswith("mosquitto") and shutil.which(name, path=path) is None
        return name if wanted else ""

    def script(self, settings: Mapping[str, str]) -> str:
        """The line as it is run."""
        name, equals, _ = self.text.partition("=")
        if equals and name in settings:
            return f"{name}={settings[name]}"
        if not self.text.endswith(" &"):
            return f"sleep 2; {self.text}" if self._begins("vigil status") else self.text
        program = next(start for start in READY if self._begins(start))
        log = f"{program.split()[-1]}.log"
        return f"{self.text[:-2]} >{log} 2>&1 &\nready {_quoted(READY[program])}"

    def _begins(self, start: str) -> bool:
        return f"{self.text} ".startswith(f"{start} ")


def blocks(guide: Path) -> list[str]:
    """The shell blocks of a guide, in order."""
    return _BLOCK.findall(guide.read_text())


def lines(guide: Path) -> Iterator[Line]:
    """The command lines of a guide's shell blocks, in order."""
    rest = iter("\n".join(blocks(guide)).splitlines())
    for first in rest:
        text, here = first, _HERE.search(first)
        while here is None and text.endswith("\\"):
            text += "\n" + next(rest)
        if here is not None:
            for inner in rest:
                text += "\n" + inner
                if inner == here.group(1):
                    break
        if text.strip():
            yield Line(text)


def run_guide(guide: Path, folder: Path, settings: Mapping[str, str], timeout_s: float) -> str:
    """Run a guide's commands in `folder`; return what they printed.

    Raises:
        AssertionError: A command failed; the message has all output, each command before what it printed.
        subprocess.TimeoutExpired: It took too long.
    """
    script = _PRELUDE + "\n".join(
        line.script(settings) for line in lines(guide) if not line.skipped
    )
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=_checkout(folder / "checkout"),
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    logs = "".join(f"\n== {log}\n{log.read_text()}" for log in folder.glob("home/**/*.log"))
    assert process.returncode == 0, f"{guide.name}: {output}{logs}"
    return output


def _checkout(folder: Path) -> Path:
    """A folder with this checkout's files and without its environments."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    programs = folder / "bin"
    programs.mkdir()
    _program(programs / "vigil", f'exec {sys.executable} -m agent "$@"')
    home = folder / "home"
    home.mkdir()
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    return os.environ | {
        "PATH": path,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!{shutil.which('sh')}\n{body}\n")
    path.chmod(0o755)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
