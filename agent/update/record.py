"""The update's record, and how each happening changes it: pure functions from record to record.

`current` changes only here, always in the same value as the phase, so that one atomic write of the record
moves the device from the old release to the new or back.
"""

from __future__ import annotations

import msgspec

from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Phase, UpdateReport
from agent.schema.values import Counter, Sha256, Struct
from agent.update.ports import Offer, Strain
from agent.update.states import MAX_TRIES, RECOVERIES, Happening, Recovery, next_phase

MAX_BAD = 64


class UpdateRecord(Struct, omit_defaults=True):
    """Everything a restarted agent must know about releases.

    Attributes:
        current: Release that serves, or is to serve.
        previous: Release to go back to; kept on disk until the next commit.
        candidate: Release that is being installed; None in a resting phase.
        variant: Variant of the candidate once it was chosen.
        tries: Loads of the candidate that were begun, in the trial or on probation.
        before: What the board bore just before the candidate's trial; None when that is not known.
        bad: Manifest digests of releases that failed here, oldest first, with the reason.
        command_id: Command that asked for the candidate.
        below_floor: Whether that command lets the candidate be below the rollback floor.
        last: How the last release ended.
    """

    phase: Phase = Phase.IDLE
    current: ReleaseRef | None = None
    previous: ReleaseRef | None = None
    candidate: ReleaseRef | None = None
    variant: str = ""
    tries: Counter = 0
    before: Strain | None = None
    bad: dict[Sha256, str] = msgspec.field(default_factory=dict)
    command_id: str = ""
    below_floor: bool = False
    last: UpdateReport | None = None


def moved(record: UpdateRecord, happening: Happening) -> UpdateRecord:
    """Return the record after a happening that changes nothing but the phase."""
    return msgspec.structs.replace(record, phase=next_phase(record.phase, happening))


def offered(record: UpdateRecord, offer: Offer) -> UpdateRecord:
    """Return the record with a new candidate; a reason it was bad before is forgotten."""
    return msgspec.structs.replace(
        moved(record, Happening.OFFERED),
        candidate=offer.ref,
        variant="",
        tries=0,
        command_id=offer.command_id,
        below_floor=offer.below_floor,
        bad={digest: why for digest, why in record.bad.items() if digest != offer.ref.sha256},
    )


def fetched(record: UpdateRecord, ref: ReleaseRef, variant: str) -> UpdateRecord:
    """Return the record with what the candidate's signed manifest says of itself."""
    record = moved(record, Happening.FETCHED)
    return msgspec.structs.replace(record, candidate=ref, variant=variant)


def trying(record: UpdateRecord, before: Strain) -> UpdateRecord:
    """Return the record with one more try counted, before the load that may kill us."""
    return msgspec.structs.replace(
        moved(record, Happening.TRYING), tries=record.tries + 1, before=before
    )


def on_probation(record: UpdateRecord) -> UpdateRecord:
    """Return the record with the candidate as current and the way back in `previous`."""
    is_same = record.current is not None and record.current == record.candidate
    return msgspec.structs.replace(
        moved(record, Happening.PASSED),
        current=record.candidate,
        previous=record.previous if is_same else record.current,
        tries=1,
    )


def committed(record: UpdateRecord, report: UpdateReport) -> UpdateRecord:
    """Return the record of a release that is kept."""
    return _ended(moved(record, Happening.HEALTHY), report)


def declined(record: UpdateRecord, report: UpdateReport, *, is_bad: bool) -> UpdateRecord:
    """Return the record of a candidate that never served; a bad one is not tried again unasked."""
    return _ended(moved(record, Happening.DECLINED), report, is_bad=is_bad)


def failed(record: UpdateRecord, report: UpdateReport) -> UpdateRecord:
    """Return the record of an update that may be tried again; from probation it goes back."""
    if record.phase is Phase.PROBATION:
        record = without_current(record)
    return _ended(moved(record, Happening.FAILED), report)


def rolled_back(record: UpdateRecord, report: UpdateReport) -> UpdateRecord:
    """Return the record with the previous release current again."""
    return _ended(without_current(moved(record, Happening.SICK)), report, is_bad=True)


def without_current(record: UpdateRecord) -> UpdateRecord:
    """Return the record with the way back taken: the previous release, if any, is current."""
    return msgspec.structs.replace(record, current=record.previous, previous=None)


def resume(record: UpdateRecord) -> tuple[UpdateRecord, Recovery, str]:
    """Decide what a restart makes of the record it finds.

    Returns:
        The record to write first, what to do then, and why the candidate must be given up (empty: it must
        not). The caller ends a given-up candidate as declined or rolled back.
    """
    action = RECOVERIES[record.phase]
    problem = _reason_to_give_up(record, action)
    record = moved(record, Happening.RESTARTED)
    if action is Recovery.WATCH and not problem:
        record = msgspec.structs.replace(record, tries=record.tries + 1)
    return record, action, problem


def _reason_to_give_up(record: UpdateRecord, action: Recovery) -> str:
    if action is not Recovery.SERVE and record.tries >= MAX_TRIES:
        return f"the agent stopped {record.tries} times while it ran this release"
    if action is Recovery.CONTINUE and record.candidate and record.candidate.sha256 in record.bad:
        return record.bad[record.candidate.sha256]
    return ""


def _ended(record: UpdateRecord, report: UpdateReport, *, is_bad: bool = False) -> UpdateRecord:
    bad = dict(record.bad)
    if is_bad and record.candidate:
        bad[record.candidate.sha256] = report.reason
    kept = dict(list(bad.items())[-MAX_BAD:])
    return msgspec.structs.replace(
        record, candidate=None, variant="", tries=0, before=None, bad=kept, last=report
    )
