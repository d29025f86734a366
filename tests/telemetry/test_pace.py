"""Slower than in this device's own past: which stage, what is responsible, and what is kept over restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.host.processes import busy_s
from agent.schema.ipc import FrameResult
from agent.schema.pace import PaceReport
from agent.telemetry.meters import Meters
from agent.telemetry.pace import FIRST, LOOKS, Look, PaceJudge
from agent.telemetry.pace_keeper import FILE, OthersWork, PaceKeeper, Ports
from tests.parts import boards

USUAL = Look(
    stages_ms={"capture": 4.0, "queue": 1.0, "pre": 1.0, "infer": 20.0, "post": 0.5},
    clock_mhz=1800,
    others=0.1,
    memory_pressure=0.0,
    power_mode="MAXN",
)


def look(infer: float = 20.0, **changes: Any) -> Look:
    known = {name: getattr(USUAL, name) for name in USUAL.__struct_fields__}
    return Look(**{**known, "stages_ms": {**USUAL.stages_ms, "infer": infer}, **changes})


def judge() -> PaceJudge:
    made = PaceJudge()
    show(made, USUAL, FIRST)
    assert made.report.state == "usual"
    return made


def show(made: PaceJudge, shown: Look, times: int = 2 * LOOKS) -> list[PaceReport]:
    """Show a look so many times; return the reports that were news."""
    return [made.report for _ in range(times) if made.take(shown)]


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({"throttled": ("under-voltage",)}, "throttled", "under-voltage"),
        ({"power_mode": "15W"}, "power mode", "15W, usually MAXN"),
        ({"clock_mhz": 600.0}, "clock", "600 MHz, usually at 1800"),
        ({"memory_pressure": 35.0}, "memory", "35 % of the time"),
        ({"others": 1.6}, "other work", "1.6 cores, usually 0.1"),
        ({}, "stage", "the model's thread and those of the runtime"),
        ({"throttled": ("throttled",), "clock_mhz": 600.0}, "throttled", "slows itself down"),
    ],
)
def test_what_is_responsible_is_named_with_its_figures(
    changes: dict[str, Any], cause: str, words: str
) -> None:
    made = judge()
    news = show(made, look(43.0, **changes))
    assert [(one.state, one.stage, one.cause) for one in news] == [("slow", "infer", cause)]
    assert made.report.reason.startswith("infer 43.0 ms, 2.1 times the 20.0 ms of this device's")
    assert words in made.report.reason


def test_the_stage_that_is_slow_names_its_thread() -> None:
    made = judge()
    show(made, look(stages_ms={**USUAL.stages_ms, "capture": 30.0}))
    assert made.report.stage == "capture"
    assert "a camera's thread" in made.report.reason


def test_a_minute_is_needed_to_begin_and_one_to_end() -> None:
    made = judge()
    assert not show(made, look(43.0), LOOKS - 1)
    assert not show(made, USUAL, 2 * LOOKS)
    show(made, look(43.0))
    # Between the two limits nothing changes: neither does it begin at 1.4 times, nor end.
    assert not show(made, look(28.0), 5 * LOOKS)
    assert made.report.state == "slow"
    assert [one.state for one in show(made, USUAL)] == ["usual"]
    assert made.report.reason == ""
    assert not show(made, look(28.0), 5 * LOOKS)


def test_little_and_what_is_always_so_are_no_news() -> None:
    made = judge()
    stages = {**USUAL.stages_ms, "post": 2.0, "queue": 90.0}
    assert not show(made, look(stages_ms=stages), 5 * LOOKS)
    slow_board = look(clock_mhz=600.0, throttled=("throttled",), others=1.5)
    always = PaceJudge()
    show(always, slow_board, FIRST)
    assert not show(always, slow_board, 10 * LOOKS)


def test_slowness_never_becomes_the_past() -> None:
    made = judge()
    show(made, look(43.0), 2000)
    assert made.report.state == "slow"
    assert [one.stages_ms["infer"] for one in made.past] == [20.0]


def test_a_cause_that_lasts_is_not_exchanged_for_another_one() -> None:
    made = judge()
    show(made, look(43.0, clock_mhz=900.0))
    assert not show(made, look(43.0, clock_mhz=900.0, throttled=("throttled",)), 3 * LOOKS)
    assert made.report.cause == "clock"
    assert [one.cause for one in show(made, look(43.0), 3 * LOOKS)] == ["stage"]


class Belt:
    """A keeper on a board that is a folder, with frames of a set duration."""

    def __init__(self, folder: Path) -> None:
        self.now_ns, self.setting, self.news = 10**12, "r1/int8", list[PaceReport]()
        self.meters = Meters(lambda: self.now_ns)
        ports = Ports(lambda: self.setting, lambda: 0, self.news.append)
        self.keeper = PaceKeeper(folder, self.meters, ports, root=folder / "root")

    def look(self, infer: float, times: int) -> None:
        for _ in range(times):
            self.now_ns += 11 * 10**9
            for _ in range(6):
                self.meters.frame(frame(infer))
            self.keeper.look()


def frame(infer: float) -> FrameResult:
    return FrameResult(
        camera="belt", frame=1, captured_ns=0, captured_ms=0, finished_ns=1, width=1, height=1,
        boxes=[], stages_ms={"capture": 2.0, "infer": infer},
    )  # fmt: skip


def test_the_past_outlives_the_agent_and_belongs_to_one_setting(tmp_path: Path) -> None:
    first = Belt(tmp_path)
    first.look(20.0, FIRST)
    assert first.news == [], "that there is a past now is no news"
    again = Belt(tmp_path)
    again.look(50.0, 2 * LOOKS)
    assert [(one.stage, one.cause) for one in again.news] == [("infer", "stage")]
    assert again.keeper.slow == again.news[0].reason
    again.setting = "r2/int8"
    again.look(50.0, FIRST)
    assert (again.keeper.slow, again.keeper.report) == ("", PaceReport(state="usual"))
    # What was kept of the release before is not carried along for ever.
    assert "r1" not in (tmp_path / FILE).read_text()


def test_nothing_is_said_while_nothing_serves_or_is_on_trial(tmp_path: Path) -> None:
    belt = Belt(tmp_path)
    belt.setting = ""
    belt.look(20.0, 3)
    assert belt.keeper.report is None


def test_a_damaged_past_is_learned_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    belt = Belt(tmp_path)
    belt.look(20.0, FIRST)
    assert belt.keeper.report == PaceReport(state="usual")


def test_cores_of_others_are_those_that_we_do_not_use(tmp_path: Path) -> None:
    assert busy_s(tmp_path) is None
    boards.put(tmp_path, "proc/stat", "cpu  100 20 30 9000 40 5 5 40 0 0\ncpu0 1 1 1 1\n")
    assert busy_s(tmp_path) == 2.0
    work = OthersWork(tmp_path)
    assert work.cores(7) is None
    boards.put(tmp_path, "proc/stat", "cpu  900100 20 30 9000 40 5 5 40 0 0\n")
    assert (work.cores(7) or 0) > 0
    assert work.cores(8) is None
