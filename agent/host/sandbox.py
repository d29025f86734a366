"""What the worker gives up before it touches a model: privileges, memory without end, its parent's death.

RLIMIT_DATA bounds private writable memory. RLIMIT_AS is left alone on purpose: runtimes reserve far more
address space than they use (CUDA tens of GiB, every malloc arena 64 MiB), so a bound on address space is
either useless or kills a healthy worker. Neither counts shared maps; where systemd
delegates a control group, `agent.host.cgroup` bounds those too.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from agent.errors import VigilError

# Numbers of prctl(2), linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_MAX_FILES = 1024


def confine(memory_mb: int) -> None:
    """Confine this process for good; call it first in the worker, in its main thread.

    - it cannot gain privileges (no_new_privs), dump core or be traced by its own user;
    - private memory over `memory_mb` MiB fails with MemoryError or std::bad_alloc;
    - at most 1024 open files;
    - it is killed when the thread that started it ends, so start workers from a thread that stays.

    Raises:
        VigilError: The kernel refuses (code `host.sandbox`).
    """
    parent = os.getppid()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above took effect.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    forbid_dumps()
    _limit(resource.RLIMIT_DATA, memory_mb * 2**20)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)


def forbid_dumps() -> None:
    """Keep keys and plaintext in this process: no core files, and no tracing by the same user.

    Raises:
        VigilError: The kernel refuses (code `host.sandbox`).
    """
    _limit(resource.RLIMIT_CORE, 0)
    _prctl(_PR_SET_DUMPABLE, 0)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise VigilError(f"prctl({option}, {value}): {reason}", code="host.sandbox")
