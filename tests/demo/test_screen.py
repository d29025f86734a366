"""The demonstration's screen, rendered to text as a terminal or a pipe would get it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from agent.demo.screen import (
    PLAIN_INTERVAL_S,
    Chapter,
    ChapterStatus,
    DemoView,
    Screen,
    picture,
    settled,
    summary,
)
from agent.schema.messages import Phase, Progress, StageMs

CHAPTERS = (
    Chapter(
        "Provision the device", ChapterStatus.DONE, "enrolled", "certificate of the demo's own CA"
    ),
    Chapter("A tampered update", ChapterStatus.DONE, "refused", "digest differs [trust.digest]"),
    Chapter("A model that fails on probation", ChapterStatus.RUNNING, "downloading"),
    Chapter("An old release again"),
)
VIEW = DemoView(
    elapsed_s=102.4,
    device="line-3",
    console_url="http://127.0.0.1:40123/",
    chapters=CHAPTERS,
    fps=24.94,
    stages={"infer": StageMs(p50=11.02, p95=15.4, p99=20.0)},
    release="parts 1.0.0",
    variant="onnx-fp32-320",
    phase=Phase.DOWNLOADING,
    progress=Progress(file="f", done=5, total=10),
    control_pss_mb=48.4,
    worker_pss_mb=121.0,
    detections=3121,
    log=tuple(f"line {number} of the log" for number in range(40)),
)


def rendered(view: DemoView, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(picture(view, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50)])
def test_the_picture_shows_every_fact_and_fits_the_terminal(width: int, height: int) -> None:
    lines = rendered(VIEW, width, height)
    text = "\n".join(lines)
    for fact in (
        "line-3",
        "1:42",
        "parts 1.0.0",
        "onnx-fp32-320",
        "24.9 fps",
        "11.02",
        "15.40",
        "48 + 121 MB",
        "3121 detections",
        "http://127.0.0.1:40123/",
        "downloading",
        "✔ Provision the device",
        "refused: digest differs [trust.digest]",
        "▶ A model that fails on probation",
        "○ An old release again",
        "line 39 of the log",
    ):
        assert fact in text, fact
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_low_terminal_loses_the_log_before_anything_else() -> None:
    text = "\n".join(rendered(VIEW, 80, 18))
    assert "of the log" not in text
    assert "An old release again" in text


def test_before_anything_is_known_the_picture_says_so() -> None:
    bare = DemoView(elapsed_s=0.0, device="d", console_url="", chapters=CHAPTERS)
    text = "\n".join(rendered(bare, 80, 24))
    assert "none yet" in text
    assert "0.0 fps" in text


def test_the_summary_tells_each_chapters_outcome_and_why() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(summary(VIEW))
    text = console.export_text()
    for fact in ("enrolled", "refused", "[trust.digest]", "24.9 fps", "11.0 ms, p95 15.4"):
        assert fact in text, fact
    assert "2 of 4 chapters went as they should" in text


def test_without_a_terminal_a_chapter_is_told_once_and_the_device_at_intervals() -> None:
    output = io.StringIO()
    with Screen(Console(file=output, width=40)) as screen:
        screen.show(VIEW)
        screen.show(replace(VIEW, elapsed_s=103.0))
        ended = replace(CHAPTERS[2], status=ChapterStatus.DONE, outcome="rolled back")
        screen.show(replace(VIEW, elapsed_s=104.0, chapters=(*CHAPTERS[:2], ended, CHAPTERS[3])))
        screen.show(replace(VIEW, elapsed_s=102.4 + PLAIN_INTERVAL_S, chapters=CHAPTERS[:2]))
    lines = output.getvalue().splitlines()
    assert lines[:3] == [
        "[1:42] 1/4 done: Provision the device - enrolled: certificate of the demo's own CA",
        "[1:42] 2/4 done: A tampered update - refused: digest differs [trust.digest]",
        "[1:42] 3/4 running: A model that fails on probation - downloading",
    ]
    assert lines[3].startswith("[1:42] model parts 1.0.0, variant onnx-fp32-320, speed 24.9 fps")
    assert lines[4] == "[1:44] 3/4 done: A model that fails on probation - rolled back"
    assert lines[5].startswith("[1:47] model parts 1.0.0")
    assert len(lines) == 6


def test_on_a_terminal_the_picture_is_drawn_in_place_and_taken_away_again() -> None:
    output = io.StringIO()
    console = Console(file=output, width=80, height=24, force_terminal=True)
    with Screen(console) as screen:
        screen.show(VIEW)
    drawn = output.getvalue()
    assert "A tampered update" in drawn
    assert "\x1b[?25l" in drawn  # hides the cursor
    assert drawn.rstrip().endswith("\x1b[2K")  # and leaves no line behind
    assert "\x1b[?25h" in drawn


def test_a_story_that_ends_during_a_swap_tells_the_last_speed_with_frames() -> None:
    resting = replace(VIEW, elapsed_s=110.0, fps=0.0, stages={}, worker_pss_mb=0.0)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(summary(settled(resting, VIEW)))
    text = console.export_text()
    assert "24.9 fps" in text
    assert "11.0 ms, p95 15.4" in text
    assert "48 + 121 MB" in text
    assert settled(resting, VIEW).elapsed_s == 110.0
    assert settled(resting, None) is resting
