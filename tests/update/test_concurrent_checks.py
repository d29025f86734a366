"""The updater, the policy, a shadow run and the agent's own update look at the repository, each in its thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.trust.floor import Floor
from agent.update.trust_client import TrustClient
from tests.parts.signed_repository import SignedRepository


class Held:
    """A road on which every file waits for `free`."""

    def __init__(self, repository: SignedRepository) -> None:
        self._repository = repository
        self.asked, self.free = threading.Event(), threading.Event()

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Wait, and read."""
        self.asked.set()
        assert self.free.wait(60)
        return self._repository.read(path, start)


def test_a_check_waits_for_another_one_whose_files_it_shares(
    repository: SignedRepository, tmp_path: Path
) -> None:
    (tmp_path / "tuf").mkdir()
    floor, held = Floor(tmp_path / "floor"), Held(repository)
    client = TrustClient(tmp_path / "tuf", repository.root_bytes, floor, "pi5")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.check, held)
        assert held.asked.wait(60)
        repository.asked.clear()
        second = threads.submit(client.check, repository)
        threading.Event().wait(0.2)
        asked_meanwhile = list(repository.asked)
        held.free.set()
        assert first.result(60).roles() == second.result(60).roles()
    assert asked_meanwhile == []


def test_a_floor_that_several_threads_raise_loses_nothing(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor")
    raises = [
        raised for number in range(1, 101) for raised in ({"counter": number}, {"time_s": number})
    ]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda raised: floor.raise_to(**raised), raises))
    kept = Floor(tmp_path / "floor")
    assert (kept.counter, kept.time_s) == (floor.counter, floor.time_s) == (100, 100)
