"""A controller's process is killed with SIGKILL at every moment of a roll-out, and the next one ends it as if nothing had been.

One roll-out that nothing disturbs tells its moments; then there is another for each of them. All of them are run, each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.fleet.rollout_rules import Standing
from tests.fleet.crash_site import WAVES, CrashSite, Story, crash_site
from tests.fleet.dock import ROLLED_BACK
from tests.fleet.mortal_controller import STATE
from tests.parts.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
UNAPPROVED = "trust.approvals"
_AGAIN = 16  # moments of a recovery, at least
FIRST = {device for device, wave in WAVES.items() if wave == 0}


@pytest.fixture
def site(tmp_path: Path, workshop: Path) -> Iterator[CrashSite]:
    with crash_site(tmp_path, workshop / "repo") as made:
        yield made


def test_a_good_release_reaches_every_device_once_whenever_the_controller_dies(
    site: CrashSite,
) -> None:
    whole, moments = told(site)
    assert whole.standing is Standing.DONE
    assert whole.obeyed == dict.fromkeys(WAVES, 1)
    assert whole.rows == {device: (wave, "committed", "") for device, wave in WAVES.items()}
    assert whole.happened == {
        "roll-out begun": 1,
        "roll-out asked": 3,
        "roll-out committed": 3,
        "roll-out done": 1,
    }
    # Two sides of 15 commits, three of 3 commands and a hint, 6 replies that are heard.
    assert len(moments) == 48
    die_at_each(site, moments, whole)


def test_a_bad_release_halts_with_the_first_wave_alone_whenever_the_controller_dies(
    site: CrashSite,
) -> None:
    whole, moments = told(site, good=False)
    assert whole.standing is Standing.HALTED
    assert whole.obeyed == {device: int(device in FIRST) for device in WAVES}
    assert whole.rows == {
        device: (0, "failed", ROLLED_BACK) if device in FIRST else (1, "waiting", "")
        for device in WAVES
    }
    assert whole.happened == {
        "roll-out begun": 1,
        "roll-out asked": 2,
        "roll-out failed": 2,
        "roll-out halted": 1,
    }
    # Two sides of 9 commits, three of 2 commands and a hint, 4 replies that are heard.
    assert len(moments) == 31
    die_at_each(site, moments, whole, good=False)


def test_a_release_that_is_refused_is_known_to_be_whenever_the_controller_dies(
    site: CrashSite,
) -> None:
    # Nothing but a reply tells of a refusal, and a roll-out that has halted asks nobody again.
    whole, moments = told(site, approvers=())
    assert whole.standing is Standing.HALTED
    assert whole.obeyed == dict.fromkeys(WAVES, 0)
    assert whole.rows == {
        device: (0, "failed", UNAPPROVED) if device in FIRST else (1, "waiting", "")
        for device in WAVES
    }
    assert "hearing that cam-2 failed" in moments
    assert "before the commit of rollout_devices cam-2 failed" in moments
    # Two sides of 7 commits, three of 2 commands and a hint, 2 replies that are heard.
    assert len(moments) == 25
    die_at_each(site, moments, whole, approvers=())


@pytest.mark.parametrize("good", [True, False])
def test_a_roll_out_ends_as_if_nothing_had_been_after_any_number_of_deaths(
    site: CrashSite, *, good: bool
) -> None:
    # The first dies at its first moment, the second at its second, and so on until one lives to see the end.
    whole, moments = told(site, good=good)
    story, _ = site.carry_out(good=good, deaths=range(1, len(moments)))
    assert story == whole


def test_what_devices_say_while_no_controller_runs_is_heard_by_the_next(site: CrashSite) -> None:
    # They refuse what one person signed alone: nothing but the reply tells of that.
    plan = site.new_plan()
    with site.served(plan, "the broker has vigil/1/d/cam-2/cmd", approvers=()) as first:
        until(first.is_over, 40.0, "it is dead")
    asked = [device for device in site.dock.devices if device.name in FIRST]
    for device in asked:
        device.live(30.0)
    site.finish(plan)
    rows = {row.device: (row.step.value, row.code) for row in site.store.devices(plan.name)}
    assert rows == {
        device: ("failed", UNAPPROVED) if device in FIRST else ("waiting", "") for device in WAVES
    }
    assert [len(device.claims) for device in asked] == [1, 1], "asked again, though it answered"


def told(site: CrashSite, **release: Any) -> tuple[Story, list[str]]:
    """Carry out a roll-out that nothing disturbs; return how it ends, and the moments to die at."""
    whole, lived = site.carry_out(**release)
    return whole, [one for one in dict.fromkeys(lived) if not one.startswith(STATE)]


def die_at_each(site: CrashSite, moments: list[str], whole: Story, **release: Any) -> None:
    for number, moment in enumerate(moments):
        again = 1 + number % _AGAIN
        story, lived = site.carry_out(**release, deaths=[moment, again])
        assert lived[-1] == moment
        assert story == whole, f"death {moment}, then at moment {again} of the recovery"
