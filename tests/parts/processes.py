"""Processes as tests look at them: the `vigil` command, children, life and death."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest


def vigil(
    *arguments: str, under: Sequence[str] = (), timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `vigil` to its end, `under` another command that becomes it, where given."""
    return subprocess.run(
        [*under, sys.executable, "-m", "agent", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@contextmanager
def served(
    home: Path,
    *options: str,
    ready: str = "serving on",
    log: Path | None = None,
    may_end_with: int = 0,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `vigil fleet serve` in a process of its own; gives it, and what it printed until it had said `ready`.

    Its status at the end is 0 or `may_end_with`, unless the test killed it.
    """
    command = [sys.executable, "-m", "agent", "fleet", "serve", str(home), *options]
    with nullcontext() if log is None else log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    said: list[str] = []
    try:
        while ready not in "".join(said[-1:]):
            said.append(process.stdout.readline())
            assert said[-1], f"it never said {ready!r}, but {said}"
        yield process, "".join(said)
    finally:
        process.terminate()
        assert process.wait(60) in {0, -signal.SIGKILL, may_end_with}
        process.stdout.close()


def until(
    condition: Callable[[], object], timeout_s: float, what: str, every_s: float = 0.02
) -> None:
    """Wait until something is so; fail when it does not become so."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"expected within {timeout_s:.0f} s: {what}")
        time.sleep(every_s)


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal and may be continued."""
    try:
        return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
