"""Whether the agent is well with a change: every need, for a while, within its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.trial import STEADY_S, Sight, Watch, needs_of
from agent.errors import ConfigError
from agent.schema.settings import Needs

NEEDS = Needs(link=True, pipeline=True, cameras=["door"], within_s=60.0)
WELL = Sight(
    1.0, connected=True, pipeline="running", cameras={"door": "streaming", "new": "failed"}
)


def at(sight: Sight, at_s: float) -> Sight:
    return replace(sight, at_s=at_s)


def test_a_change_is_kept_after_it_was_well_for_a_while() -> None:
    watch = Watch(NEEDS)
    assert not watch.judge(at(WELL, 1.0))
    assert not watch.judge(at(WELL, 0.9 + STEADY_S))
    assert watch.judge(at(WELL, 1.1 + STEADY_S))


def test_a_break_begins_the_while_anew() -> None:
    watch = Watch(NEEDS)
    watch.judge(at(WELL, 1.0))
    watch.judge(at(replace(WELL, connected=False), 2.0))
    assert not watch.judge(at(WELL, 5.0))
    assert not watch.judge(at(WELL, 4.9 + STEADY_S))
    assert watch.judge(at(WELL, 5.1 + STEADY_S))


@pytest.mark.parametrize(
    ("sick", "code", "named"),
    [
        (replace(WELL, connected=False), "config.no_link", "link"),
        (replace(WELL, pipeline="failed"), "config.unhealthy", "pipeline"),
        (replace(WELL, cameras={"door": "failed"}), "config.unhealthy", "camera door was failed"),
        (replace(WELL, cameras={}), "config.unhealthy", "camera door was missing"),
    ],
)
def test_what_is_missing_when_the_time_is_over_is_named(sick: Sight, code: str, named: str) -> None:
    watch = Watch(NEEDS)
    assert not watch.judge(at(sick, 59.0))
    with pytest.raises(ConfigError) as caught:
        watch.judge(at(sick, 60.5))
    assert caught.value.code == code
    assert named in str(caught.value)


def test_what_did_not_work_before_is_not_asked_for() -> None:
    watch = Watch(Needs())
    dark = Sight(1.0, connected=False, pipeline="failed", cameras={})
    assert not watch.judge(dark)
    assert watch.judge(at(dark, 1.0 + STEADY_S))


def test_what_works_or_starts_now_must_work_with_the_change() -> None:
    now = Sight(0.0, connected=True, pipeline="running", cameras={"a": "streaming", "b": "failed"})
    assert needs_of(now, ["a", "b", "c"], 60.0) == Needs(
        link=True, pipeline=True, cameras=["a", "c"], within_s=60.0
    )
    stopped = replace(now, connected=False, pipeline="stopped")
    assert needs_of(stopped, ["a"], 60.0) == Needs(within_s=60.0)
