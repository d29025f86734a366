"""The state table has no dead end and no forgotten failure; a restart in every phase has one meaning."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.errors import (
    KeyUnavailableError,
    ModelError,
    PackageError,
    StorageError,
    TransferError,
    TrustError,
    VigilError,
)
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Outcome, Phase, UpdateReport
from agent.update import record as records
from agent.update.endings import end_of
from agent.update.ports import Strain
from agent.update.record import UpdateRecord, resume
from agent.update.states import (
    MAX_TRIES,
    RECOVERIES,
    RESTING,
    TRANSITIONS,
    Happening,
    Recovery,
    next_phase,
)

WORKING = set(Phase) - RESTING
OLD = ReleaseRef(path="models/pi5/a/1/manifest.json", sha256="a" * 64, counter=1)
NEW = ReleaseRef(path="models/pi5/a/2/manifest.json", sha256="b" * 64, counter=2)
BEFORE = Strain(temperature_c=60.0)
REPORT = UpdateReport(release="a 2", path=NEW.path, outcome=Outcome.REJECTED, reason="why")


def at(phase: Phase, **changes: Any) -> UpdateRecord:
    """A record as the device has it in `phase` of the update from OLD to NEW."""
    fields: dict[str, Any] = {"phase": phase, "current": OLD}
    if phase in WORKING:
        fields["candidate"] = NEW
    if phase is Phase.TRIAL:
        fields["tries"] = 1
    if phase is Phase.PROBATION:
        fields |= {"current": NEW, "previous": OLD, "tries": 1}
    return UpdateRecord(**(fields | changes))


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_entered_and_left_and_knows_what_a_restart_means(phase: Phase) -> None:
    assert phase in RECOVERIES
    assert (phase, Happening.RESTARTED) in TRANSITIONS
    if phase is not Phase.IDLE:
        assert any(after is phase for (before, _), after in TRANSITIONS.items() if before != phase)
    assert any(after is not phase for (before, _), after in TRANSITIONS.items() if before is phase)


@pytest.mark.parametrize("phase", sorted(WORKING))
def test_every_working_phase_has_all_failure_edges(phase: Phase) -> None:
    failure = Happening.SICK if phase is Phase.PROBATION else Happening.DECLINED
    assert next_phase(phase, failure) in {Phase.REJECTED, Phase.ROLLED_BACK}
    assert next_phase(phase, Happening.FAILED) in {Phase.IDLE, Phase.ROLLED_BACK}


@pytest.mark.parametrize("phase", Phase)
def test_rest_is_reached_from_everywhere(phase: Phase) -> None:
    reached = {phase}
    while not reached & RESTING:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached & RESTING


@pytest.mark.parametrize("phase", sorted(WORKING))
def test_an_offer_is_only_taken_at_rest(phase: Phase) -> None:
    with pytest.raises(ValueError, match="no transition"):
        next_phase(phase, Happening.OFFERED)


def test_only_probation_and_its_end_change_the_current_release() -> None:
    record = at(Phase.TRIAL, previous=None)
    assert (record.current, record.previous) == (OLD, None)
    record = records.on_probation(record)
    assert (record.phase, record.current, record.previous, record.tries) == (
        Phase.PROBATION, NEW, OLD, 1,
    )  # fmt: skip
    assert records.committed(record, REPORT).current == NEW
    back = records.rolled_back(record, REPORT)
    assert (back.phase, back.current, back.bad) == (Phase.ROLLED_BACK, OLD, {NEW.sha256: "why"})


def test_the_list_of_bad_releases_is_bounded_and_keeps_the_newest() -> None:
    record = at(Phase.TRIAL, bad={f"{n:064x}": "old" for n in range(records.MAX_BAD)})
    record = records.declined(record, REPORT, is_bad=True)
    assert len(record.bad) == records.MAX_BAD
    assert f"{0:064x}" not in record.bad
    assert NEW.sha256 in record.bad


@pytest.mark.parametrize("phase", Phase)
def test_a_restart(phase: Phase) -> None:
    before = at(phase)
    record, action, problem = resume(before)
    assert not problem
    if phase in RESTING:
        assert (record, action) == (before, Recovery.SERVE)
    elif phase is Phase.PROBATION:
        assert action is Recovery.WATCH
        assert record == msgspec.structs.replace(before, tries=2)
    else:
        assert action is Recovery.CONTINUE
        assert record == msgspec.structs.replace(before, phase=Phase.DOWNLOADING)


@pytest.mark.parametrize("phase", [Phase.TRIAL, Phase.PROBATION])
def test_a_release_that_kills_the_agent_is_given_up_after_three_tries(phase: Phase) -> None:
    record, restarts = at(phase), 0
    while True:
        record, _, problem = resume(record)
        if problem:
            break
        if phase is Phase.TRIAL:
            record = records.trying(msgspec.structs.replace(record, phase=Phase.VERIFIED), BEFORE)
        restarts += 1
    assert restarts == MAX_TRIES - 1
    error = ModelError(problem)
    ended = end_of(record.phase, error).apply(record, REPORT)
    assert ended.current == OLD
    assert ended.phase in {Phase.REJECTED, Phase.ROLLED_BACK}
    assert NEW.sha256 in ended.bad


def test_a_candidate_known_to_be_bad_is_not_continued() -> None:
    _, _, problem = resume(at(Phase.DOWNLOADING, bad={NEW.sha256: "golden set"}))
    assert problem == "golden set"


@pytest.mark.parametrize("phase", sorted(WORKING))
@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (TrustError("x"), Outcome.REFUSED, Outcome.ROLLED_BACK),
        (PackageError("x"), Outcome.REJECTED, Outcome.ROLLED_BACK),
        (ModelError("x"), Outcome.REJECTED, Outcome.ROLLED_BACK),
        (TransferError("x"), Outcome.FAILED, Outcome.ROLLED_BACK),
        (KeyUnavailableError("x"), Outcome.FAILED, Outcome.ROLLED_BACK),
        (StorageError("x"), Outcome.FAILED, Outcome.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, VigilError) else None,
)
def test_every_error_ends_every_phase_with_the_old_release_current(
    phase: Phase, error: VigilError, before: Outcome, after: Outcome
) -> None:
    ending = end_of(phase, error)
    record = ending.apply(at(phase), REPORT)
    assert ending.outcome is (after if phase is Phase.PROBATION else before)
    assert record.phase in RESTING
    assert record.current == OLD
    assert record.candidate is None
    is_judged = ending.outcome in {Outcome.REJECTED, Outcome.ROLLED_BACK}
    assert (NEW.sha256 in record.bad) is is_judged
