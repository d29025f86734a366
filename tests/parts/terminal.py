"""A person at a terminal: runs a command whose controlling terminal is a real one, and types when it asks.

    status, shown, told = at_terminal([sys.executable, "-m", "agent", ...], "PIN of", "2468")

`shown` is what the terminal shows, echo included; `told` what the command wrote to its standard output and error.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

_DEADLINE_S = 60.0


def at_terminal(command: list[str], question: str, typed: str) -> tuple[int, str, str]:
    """Type `typed` at each `question`; return exit status, what the terminal shows, and what else was told."""
    ours, theirs = pty.openpty()
    # A session leader that opens a terminal gets it as its controlling one; getpass asks there.
    start = ["sh", "-c", f'exec "$@" <{os.ttyname(theirs)}', "sh", *command]
    with subprocess.Popen(
        start,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    ) as process:
        shown, asked = "", 0
        deadline = time.monotonic() + _DEADLINE_S
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            assert time.monotonic() < deadline, (
                f"{command} did not end; the terminal shows {shown!r}"
            )
            if select.select([ours], [], [], 0.05)[0]:
                shown += os.read(ours, 4096).decode()
            if shown.count(question) > asked:
                asked += 1
                os.write(ours, f"{typed}\n".encode())
        told = process.stdout.read() if process.stdout else ""
    os.close(ours)
    os.close(theirs)
    return process.returncode, shown, told


def without_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command that has no controlling terminal; return exit status and what it told."""
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    return run.returncode, run.stdout + run.stderr
