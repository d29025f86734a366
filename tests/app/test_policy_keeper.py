"""The command policy is kept new; one that is not authentic changes nothing and leaves an audit row."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.app.policy_keeper import PolicyKeeper
from agent.errors import StorageError, TransferError, TrustError, VigilError
from agent.host.disk import REAL_DISK
from agent.schema.document import to_json
from agent.schema.messages import Policy
from tests.parts.commands import POLICY

EXPIRED = TrustError("timestamp expired", code="trust.expired")
ROLLBACK = TrustError("older timestamp", code="trust.rollback")


class Source:
    """Gives a policy, or raises what it was told to."""

    def __init__(self) -> None:
        self.fault: VigilError | None = None

    def policy(self) -> tuple[bytes, Policy]:
        if self.fault:
            raise self.fault
        return to_json(POLICY), POLICY


class Kept:
    """A keeper, its source, and the rows it wrote."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.json"
        self.rows: list[str] = []
        self.source = Source()
        self.row_fault: StorageError | None = None
        self.keeper = PolicyKeeper(self.path, self.source, lambda: True, REAL_DISK, self._refused)

    def _refused(self, code: str, _reason: str) -> None:
        if self.row_fault:
            raise self.row_fault
        self.rows.append(code)

    def look(self, fault: VigilError | None = None) -> None:
        self.source.fault = fault
        self.keeper.hint()
        self.keeper.refresh_if_due()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_policy_that_is_not_authentic_changes_nothing_and_leaves_one_row(kept: Kept) -> None:
    kept.look()
    before = kept.path.read_bytes()
    for fault in (EXPIRED, EXPIRED, ROLLBACK):
        kept.look(fault)
    assert kept.rows == ["trust.expired", "trust.rollback"]
    assert (kept.path.read_bytes(), kept.keeper.version) == (before, POLICY.version)


def test_the_same_fault_is_told_again_after_all_was_well(kept: Kept) -> None:
    for fault in (EXPIRED, None, EXPIRED):
        kept.look(fault)
    assert kept.rows == ["trust.expired"] * 2


def test_a_bad_road_is_no_attack(kept: Kept) -> None:
    kept.look(TransferError("offline"))
    assert kept.rows == []


def test_a_row_that_cannot_be_written_is_tried_again(kept: Kept) -> None:
    kept.row_fault = StorageError("full", code="storage.full")
    kept.look(EXPIRED)
    kept.row_fault = None
    kept.look(EXPIRED)
    assert kept.rows == ["trust.expired"]
