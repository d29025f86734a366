"""The update's state machine: one table of transitions, and what a crash in each phase means.

    idle -> downloading -> staged -> verified -> trial -> probation -> committed
                 |           |          |         |           |
                 +-----------+----------+---------+           +-> rolled_back
                 v
              rejected (a decision) or idle (the road's or the disk's fault)

Everything here is pure.
"""

from __future__ import annotations

import enum

from agent.schema.messages import Phase


class Happening(enum.Enum):
    """What can happen to an update."""

    OFFERED = "a release was asked for"
    FETCHED = "all its files are here"
    OPENED = "its key came and every sealed chunk is authentic"
    TRYING = "the model is about to be loaded"
    PASSED = "the golden set passed; it is about to serve"
    HEALTHY = "it bore the first minutes on live frames"
    DECLINED = "it is not trusted, does not suit or does not work"
    FAILED = "the road, the key store or the disk failed"
    SICK = "it misbehaved after the swap"
    RESTARTED = "the agent started again"


class Recovery(enum.Enum):
    """What a restarted agent does about the phase it finds."""

    SERVE = "nothing was going on: serve the current release"
    CONTINUE = "serve the current release and fetch the candidate again, keeping its good blocks"
    WATCH = "serve the candidate, which is current, and start its probation again"


S, H = Phase, Happening

TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    # phase         happening       next phase
    (S.IDLE,        H.OFFERED):     S.DOWNLOADING,
    (S.COMMITTED,   H.OFFERED):     S.DOWNLOADING,
    (S.REJECTED,    H.OFFERED):     S.DOWNLOADING,
    (S.ROLLED_BACK, H.OFFERED):     S.DOWNLOADING,

    (S.DOWNLOADING, H.FETCHED):     S.STAGED,
    (S.DOWNLOADING, H.DECLINED):    S.REJECTED,
    (S.DOWNLOADING, H.FAILED):      S.IDLE,
    (S.DOWNLOADING, H.RESTARTED):   S.DOWNLOADING,

    (S.STAGED,      H.OPENED):      S.VERIFIED,
    (S.STAGED,      H.DECLINED):    S.REJECTED,
    (S.STAGED,      H.FAILED):      S.IDLE,
    (S.STAGED,      H.RESTARTED):   S.DOWNLOADING,

    (S.VERIFIED,    H.TRYING):      S.TRIAL,
    (S.VERIFIED,    H.DECLINED):    S.REJECTED,
    (S.VERIFIED,    H.FAILED):      S.IDLE,
    (S.VERIFIED,    H.RESTARTED):   S.DOWNLOADING,    # plaintext is only in memory

    (S.TRIAL,       H.PASSED):      S.PROBATION,
    (S.TRIAL,       H.DECLINED):    S.REJECTED,
    (S.TRIAL,       H.FAILED):      S.IDLE,
    (S.TRIAL,       H.RESTARTED):   S.DOWNLOADING,    # tries were counted before the load

    (S.PROBATION,   H.HEALTHY):     S.COMMITTED,
    (S.PROBATION,   H.SICK):        S.ROLLED_BACK,
    (S.PROBATION,   H.FAILED):      S.ROLLED_BACK,    # the disk cannot keep the decision: undo it
    (S.PROBATION,   H.RESTARTED):   S.PROBATION,

    (S.IDLE,        H.RESTARTED):   S.IDLE,
    (S.COMMITTED,   H.RESTARTED):   S.COMMITTED,
    (S.REJECTED,    H.RESTARTED):   S.REJECTED,
    (S.ROLLED_BACK, H.RESTARTED):   S.ROLLED_BACK,
}  # fmt: skip

RECOVERIES: dict[Phase, Recovery] = {
    S.IDLE:        Recovery.SERVE,
    S.DOWNLOADING: Recovery.CONTINUE,
    S.STAGED:      Recovery.CONTINUE,
    S.VERIFIED:    Recovery.CONTINUE,
    S.TRIAL:       Recovery.CONTINUE,
    S.PROBATION:   Recovery.WATCH,
    S.COMMITTED:   Recovery.SERVE,
    S.REJECTED:    Recovery.SERVE,
    S.ROLLED_BACK: Recovery.SERVE,
}  # fmt: skip

RESTING = frozenset({Phase.IDLE, Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})
MAX_TRIES = 3  # loads of one candidate, per stage: the trial, and serving on probation


def next_phase(phase: Phase, happening: Happening) -> Phase:
    """Return the phase that follows.

    Raises:
        ValueError: The table has no such edge; a fault of the program, never of its input.
    """
    try:
        return TRANSITIONS[phase, happening]
    except KeyError:
        raise ValueError(f"no transition from {phase.value} when {happening.value}") from None
