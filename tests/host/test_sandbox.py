"""What a confined process can no longer do, shown on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.parts.processes import until

CONFINED = "from agent.host.sandbox import confine; confine(300)\n"


def _run(script: str) -> str:
    command = [sys.executable, "-c", CONFINED + script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_confined_process_gains_no_privileges_and_dumps_no_core() -> None:
    script = (
        "import ctypes, resource\n"
        "libc = ctypes.CDLL(None)\n"
        "print(libc.prctl(39, 0, 0, 0, 0), libc.prctl(3, 0, 0, 0, 0),"
        "resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert _run(script) == "1 0 (0, 0)"


def test_memory_over_the_limit_fails_in_the_process_itself() -> None:
    script = (
        "kept = bytearray(100 * 2**20)\n"
        "try:\n"
        "    bytearray(400 * 2**20)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    assert _run(script) == "refused"


def test_it_can_still_open_a_memfd_by_path() -> None:
    script = (
        "from agent.host.memfd import memfd_of\n"
        "fd = memfd_of(b'weights', 'm')\n"
        "print(open(f'/proc/self/fd/{fd}', 'rb').read())"
    )
    assert _run(script) == "b'weights'"


def test_it_dies_with_the_process_that_started_it() -> None:
    child = CONFINED + "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    until(lambda: not _alive(pid), 30, "it dies, too")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for yet is dead, too.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
