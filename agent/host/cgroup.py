"""A memory limit of its own for each worker, where systemd delegates a control group (cgroup v2).

`Delegate=` gives the service its part of the tree. The kernel allows limits only for groups whose parent holds no
processes (cgroups(7), "no internal processes"), so the agent moves into `agent` and workers get groups beside it:

    vigil.service/agent            control process and token helper
    vigil.service/worker-<pid>     one worker; memory.max bounds what rlimits do not see: shared maps, page cache
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
_AGENT, _WORKER = "agent", "worker-"
_OWN = Path("/proc/self/cgroup")


def settle(root: Path = ROOT, own: Path = _OWN) -> bool:
    """Make room for workers' groups beside this process; return whether they can have limits.

    Nothing happens unless this process is alone (with its parent) in a group that it may divide.
    """
    unit = _group(root, own)
    if unit is None or unit.name == _AGENT or not os.access(unit / "cgroup.procs", os.W_OK):
        return False
    try:
        inside = {int(pid) for pid in (unit / "cgroup.procs").read_text().split()}
        if not inside <= {os.getpid(), os.getppid()}:
            return False
        (unit / _AGENT).mkdir(exist_ok=True)
        for pid in inside:
            (unit / _AGENT / "cgroup.procs").write_text(str(pid))
        (unit / "cgroup.subtree_control").write_text("+memory")
    except OSError as error:
        log.info("workers have no memory limit of their own: %s", error)
        return False
    log.info("workers get a memory limit of their own below %s", unit.relative_to(root))
    return True


def confine_worker(pid: int, memory_mb: int, root: Path = ROOT, own: Path = _OWN) -> bool:
    """Move a worker into a group of its own with this limit; return whether it has one.

    Groups of workers that are gone are removed.
    """
    agent = _group(root, own)
    if agent is None or agent.name != _AGENT:
        return False
    for old in agent.parent.glob(f"{_WORKER}*"):
        _remove(old)
    group = agent.parent / f"{_WORKER}{pid}"
    try:
        group.mkdir()
        (group / "memory.max").write_text(str(memory_mb * 2**20))
        (group / "memory.oom.group").write_text("1")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        log.warning("worker %d has no memory limit of its own: %s", pid, error)
        return False
    return True


def was_over_limit(pid: int, root: Path = ROOT, own: Path = _OWN) -> bool:
    """Return whether the kernel killed this worker for its limit; known until the next worker is confined."""
    agent = _group(root, own)
    if agent is None:
        return False
    try:
        lines = (agent.parent / f"{_WORKER}{pid}" / "memory.events").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)


def _group(root: Path, own: Path) -> Path | None:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    # Hierarchy 0 is version 2's; there are no controllers in it where version 1 has them.
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None or not (root / "cgroup.controllers").exists():
        return None
    return root / path.lstrip("/")


def _remove(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        return  # its worker still lives
