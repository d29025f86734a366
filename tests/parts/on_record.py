"""What a refused release leaves of a device: what serves, the rollback floor, and a row of the audit record.

with audited(device, tmp_path) as ledger:
    assert_refused(device, ledger, lambda: device.deploy(bait).code, "trust.unsigned")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.app.announcer import Announcer
from agent.app.standing import UpdateWatch
from agent.trust.ledger import Ledger
from tests.parts.update_device import UpdateDevice

OUTCOMES = {"trust": "refused", "package": "rejected", "transfer": "failed", "key": "failed"}
_ALL_ROWS = 10_000


@contextlib.contextmanager
def audited(device: UpdateDevice, folder: Path) -> Iterator[Ledger]:
    """Connect the updater with a ledger by the agent's own parts."""
    ledger = Ledger(folder / "ledger.db")
    page: Any = SimpleNamespace(updates=SimpleNamespace(add=id))
    streams: Any = None  # ends of updates do not go there
    own: Any = SimpleNamespace(ledger=ledger)
    watch = UpdateWatch(Announcer(streams, own, lambda: page).update)
    watch.observe(device.updater.record, None)
    device.watch = watch.observe
    yield ledger
    ledger.close()


def assert_refused(
    device: UpdateDevice, ledger: Ledger, offer: Callable[[], str], code: str
) -> None:
    """Assert that `offer` ends with `code`, moves nothing, asks no model host, and leaves exactly one row."""
    before, rows = _standing(device), ledger.rows(_ALL_ROWS)
    assert offer() == code
    assert _standing(device) == before
    outcome = OUTCOMES[code.partition(".")[0]]
    added = [(row.kind, row.text) for row in ledger.rows(_ALL_ROWS)[len(rows) :]]
    assert added == [("update", f"{device.last.path} {outcome} {code}")]
    ledger.verify()


def _standing(device: UpdateDevice) -> tuple[object, ...]:
    """The release that serves with its files as they lie on disk, the floor, and what the host was told."""
    release = device.store.load(device.current)
    files = (release.payload_path, release.golden_path, release.grant_path)
    return (
        device.current,
        [file.read_bytes() for file in files],
        device.floor.counter,
        device.host.serving,
        list(device.host.told),
    )
