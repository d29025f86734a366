"""One agent for each state folder, and a worker's group beside the agent's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import InUseError, StorageError
from agent.host.alone import LOCK, Alone
from agent.host.cgroup import confine_worker, settle, was_over_limit


def test_the_second_is_told_who_is_the_first(tmp_path: Path) -> None:
    first = Alone(tmp_path)
    with pytest.raises(InUseError, match=f"process {os.getpid()}") as caught:
        Alone(tmp_path)
    assert caught.value.code == "state.in_use"
    first.close()
    Alone(tmp_path).close()


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    script = "import os, pathlib, sys\nfrom agent.host.alone import Alone\nlock = Alone(pathlib.Path(sys.argv[1]))\nos.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / LOCK).exists()
    Alone(tmp_path).close()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Alone(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


class Tree:
    """A folder that looks like cgroup v2 with this process in `vigil.service`; the kernel's rules are not there."""

    def __init__(self, folder: Path, inside: str) -> None:
        self.root = folder / "cgroup"
        self.unit = self.root / "system.slice/vigil.service"
        self.unit.mkdir(parents=True)
        (self.root / "cgroup.controllers").write_text("memory pids\n")
        (self.unit / "cgroup.procs").write_text(inside)
        self.own = folder / "own"
        self.enter("system.slice/vigil.service")

    def enter(self, group: str) -> None:
        self.own.write_text(f"1:name=systemd:/x\n0::/{group}\n")


def test_the_agent_moves_aside_and_workers_get_a_limit(tmp_path: Path) -> None:
    tree = Tree(tmp_path, f"{os.getpid()}\n")
    assert settle(tree.root, tree.own)
    assert (tree.unit / "agent/cgroup.procs").read_text() == str(os.getpid())
    assert (tree.unit / "cgroup.subtree_control").read_text() == "+memory"
    tree.enter("system.slice/vigil.service/agent")
    assert confine_worker(77, 512, tree.root, tree.own)
    assert (tree.unit / "worker-77/memory.max").read_text() == str(512 * 2**20)
    assert (tree.unit / "worker-77/cgroup.procs").read_text() == "77"


def test_a_worker_killed_for_its_limit_is_told_from_others(tmp_path: Path) -> None:
    tree = Tree(tmp_path, f"{os.getpid()}\n")
    assert settle(tree.root, tree.own)
    tree.enter("system.slice/vigil.service/agent")
    assert confine_worker(77, 512, tree.root, tree.own)
    assert not was_over_limit(77, tree.root, tree.own)
    events = tree.unit / "worker-77/memory.events"
    events.write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    assert not was_over_limit(77, tree.root, tree.own)
    events.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert was_over_limit(77, tree.root, tree.own)
    assert not was_over_limit(78, tree.root, tree.own)


def test_a_group_that_others_share_is_left_alone(tmp_path: Path) -> None:
    tree = Tree(tmp_path, f"{os.getpid()}\n1\n")
    assert not settle(tree.root, tree.own)
    assert not (tree.unit / "agent").exists()
    assert not confine_worker(77, 512, tree.root, tree.own)
    assert not (tree.unit / "worker-77").exists()


def test_without_version_two_nothing_happens(tmp_path: Path) -> None:
    tree = Tree(tmp_path, f"{os.getpid()}\n")
    (tree.root / "cgroup.controllers").unlink()
    assert not settle(tree.root, tree.own)
    assert not settle(tree.root, tmp_path / "missing")
