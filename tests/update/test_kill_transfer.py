"""kill -9 in the middle of a transfer over a real broker: of the agent's process, and of the broker."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.schema.blocks import BLOCK_BYTES, WINDOW
from agent.schema.document import to_json
from tests.parts.block_desk import Desk, published
from tests.parts.broker import Broker

BLOCKS = 96
DATA = os.urandom(BLOCKS * BLOCK_BYTES - 777)


@dataclasses.dataclass
class Stand:
    """A broker, a desk, and processes that fetch one file."""

    broker: Broker
    desk: Desk
    folder: Path

    def pull(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.parts.puller", str(self.broker.port)]
        files = [str(self.folder / "target.json"), str(self.folder)]
        return subprocess.Popen([*command, *files], stdout=subprocess.PIPE, text=True)

    @property
    def blob(self) -> bytes:
        return (self.folder / "blob").read_bytes()


@pytest.fixture
def stand(mosquitto: Broker, tmp_path: Path) -> Iterator[Stand]:
    public = tmp_path / "public"
    target = published(public, DATA)
    (tmp_path / "target.json").write_bytes(to_json(dataclasses.asdict(target)))
    desk = Desk(mosquitto.port, public)
    yield Stand(mosquitto, desk, tmp_path)
    desk.close()


def reach(process: subprocess.Popen[str], position: int) -> int:
    """Read what the process says until it has come so far; return how far it is."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= position:
            return int(line)
    pytest.fail("the transfer ended before")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_35_an_agent_that_is_killed_fetches_at_most_one_window_again(
    stand: Stand, share: float
) -> None:
    # However late the kill comes, the transfer has not ended.
    stand.desk.ends_at = (int(BLOCKS * share) + WINDOW + 1) * BLOCK_BYTES
    first = stand.pull()
    reach(first, int(len(DATA) * share))
    first.kill()
    first.wait(10)
    stand.desk.ends_at = sys.maxsize
    before = len(stand.desk.served)
    second = stand.pull()
    start = reach(second, 0)
    assert start >= int(len(DATA) * share)
    second.communicate(timeout=60)
    assert (second.returncode, stand.blob == DATA) == (0, True)
    again = stand.desk.served[before:]
    assert min(again) == start
    refetched = set(stand.desk.served[:before]) & set(again)
    # What was on its way when the process died, and nothing more.
    assert len(refetched) <= WINDOW


def test_35_a_broker_that_is_killed_twice_costs_only_what_was_on_its_way(stand: Stand) -> None:
    process = stand.pull()
    for share in (0.2, 0.6):
        reach(process, int(len(DATA) * share))
        stand.broker.kill()
        stand.broker.start()
    process.communicate(timeout=90)
    assert (process.returncode, stand.blob == DATA) == (0, True)
    assert len(stand.desk.served) <= BLOCKS + 2 * 2 * WINDOW
