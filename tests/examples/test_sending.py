"""`collect-examples` on a link that costs money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.app.examples import Examples
from agent.control.replies import Replies
from agent.errors import CommandError
from agent.examples.shelf import Shelf
from agent.host.disk import REAL_DISK
from agent.schema.document import parse_json
from agent.schema.messages import CommandBody, Reply, ReplyStatus
from agent.schema.update_config import MeteredConfig
from agent.trust.ledger import Ledger
from agent.update.metered import Meter

DAILY_MB = 0.01


class Office:
    """Asks a device for its examples and hears what it says."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder / "examples", REAL_DISK, 1 << 20)
        self.meter = Meter(MeteredConfig(daily_mb=DAILY_MB), folder / "metered.json")
        self.said: list[bytes] = []
        self._examples = Examples(None, self.shelf, self.meter)
        self._replies = Replies("cam-1", Ledger(folder / "commands.db"), self.said.append)

    def ask(self, **args: Any) -> list[Reply]:
        self.said.clear()
        body = CommandBody(
            v=1,
            id="command-1",
            cmd="collect-examples",
            args=args,
            aud="d/cam-1",
            iss="ada",
            iat=0,
            exp=1,
            ctr=1,
            policy_ver=1,
        )
        self._examples.send(body, self._replies.of(body.id, body.cmd), 96 * 1024)
        return [parse_json(one, Reply) for one in self.said]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    for number in range(2):
        office.shelf.put(f"{number:013d}-door", bytes(6000))
    return office


def test_what_is_sent_counts_and_with_the_days_bytes_used_up_nothing_is_sent(
    office: Office,
) -> None:
    *parts, end = office.ask()
    assert (len(parts), end.status) == (1, ReplyStatus.SUCCEEDED)
    assert office.meter.pause is not None
    with pytest.raises(CommandError) as caught:
        office.ask()
    assert caught.value.code == "command.metered"
    assert office.said == []


def test_an_empty_shelf_needs_no_link_and_what_arrived_is_removed_all_the_same(
    office: Office,
) -> None:
    last = office.ask()[-1].data["last"]
    removed, end = office.ask(arrived=last)
    assert ("removed" in removed.message, end.data["examples"]) == (True, 0)
