"""What the demonstration shows in the terminal: one live picture of device, speed and story.

A `Screen` is given plain data and decides nothing. On a terminal it redraws in place; elsewhere (a pipe, a
log of a CI job) it prints a line whenever a chapter changes and a summary of the device now and then.

Example:
    with Screen(Console()) as screen:
        screen.show(view)
    Console().print(summary(view))
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from agent.schema.messages import Phase, Progress, StageMs

PLAIN_INTERVAL_S = 5.0
REDRAWS_PER_S = 4
STAGES = ("capture", "queue", "pre", "infer", "post", "publish")
_BAR_CELLS = 12
_TITLE_CELLS = 36
_FIXED_LINES = 15  # header, the two panels side by side, frames of story and log


class ChapterStatus(enum.Enum):
    """Where a chapter of the story is; the value is its mark and the mark's style."""

    PENDING = ("○", "dim")
    RUNNING = ("▶", "bold blue")
    DONE = ("✔", "bold green")
    FAILED = ("✘", "bold red")


_WORTH_A_LINE = frozenset(ChapterStatus) - {ChapterStatus.PENDING}


@dataclass(frozen=True)
class Chapter:
    """One chapter: `outcome` in a word or two (`swapped`, `refused`), `reason` in a line."""

    title: str
    status: ChapterStatus = ChapterStatus.PENDING
    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True)
class DemoView:
    """The demonstration at one moment.

    Attributes:
        elapsed_s: Seconds since it began.
        fps: Processed frames a second; 0 before the first.
        stages: Milliseconds per stage of a frame.
        release: Name and version of the running model; empty while there is none.
        control_pss_mb: Memory of the control process, MB (PSS); 0 while unknown.
        worker_pss_mb: The same of the vision process.
        detections: Boxes found so far.
        log: Last lines of the log, oldest first; as many as fit are shown.
    """

    elapsed_s: float
    device: str
    console_url: str
    chapters: tuple[Chapter, ...]
    fps: float = 0.0
    stages: Mapping[str, StageMs] | None = None
    release: str = ""
    variant: str = ""
    phase: Phase = Phase.IDLE
    progress: Progress | None = None
    control_pss_mb: float = 0.0
    worker_pss_mb: float = 0.0
    detections: int = 0
    log: tuple[str, ...] = ()


class Screen:
    """Shows one `DemoView` after the other; use it as a context manager.

    Args:
        console: Where to. A terminal gets the live picture, anything else plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=REDRAWS_PER_S, transient=True)
        self._last: DemoView | None = None
        self._last_line_s = float("-inf")

    def __enter__(self) -> Self:
        """Take the terminal, if it is one."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back as it was."""
        self._live.stop()

    def show(self, view: DemoView) -> None:
        """Show `view` now."""
        if self._console.is_terminal:
            self._live.update(picture(view, self._console.height))
            return
        for line in self._news(view):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _news(self, view: DemoView) -> list[str]:
        """Return what is worth a line: chapters that changed, and the device at intervals."""
        clock = f"[{_clock(view.elapsed_s)}]"
        before = self._last.chapters if self._last else ()
        self._last = view
        lines = [
            f"{clock} {number}/{len(view.chapters)} {_told(chapter)}"
            for number, chapter in enumerate(view.chapters, 1)
            if before[number - 1 : number] != (chapter,) and chapter.status in _WORTH_A_LINE
        ]
        if view.elapsed_s - self._last_line_s >= PLAIN_INTERVAL_S:
            self._last_line_s = view.elapsed_s
            lines.append(f"{clock} {', '.join(f'{k} {v}' for k, v in _facts(view))}")
        return lines


def picture(view: DemoView, height: int) -> RenderableType:
    """Return the live picture for a terminal of `height` lines."""
    header = Table.grid(expand=True)
    header.add_column(no_wrap=True)
    header.add_column(justify="right", no_wrap=True)
    header.add_row(Text(f"Vigil · {view.device}", "bold"), Text(_clock(view.elapsed_s), "bold"))
    device = Table.grid(expand=True, padding=(0, 1))
    device.add_column(ratio=1)
    device.add_column(ratio=1)
    device.add_row(_device_panel(view), _stages_panel(view))
    parts: list[RenderableType] = [header, device, _story_panel(view)]
    room = height - _FIXED_LINES - len(view.chapters)
    if room > 0 and view.log:
        log = Text("\n".join(view.log[-room:]), "dim", no_wrap=True, overflow="ellipsis")
        parts.append(Panel(log, title="log", title_align="left", border_style="dim"))
    return Group(*parts)


def settled(view: DemoView, moving: DemoView | None) -> DemoView:
    """Return `view` with the figures of `moving`, the last that had frames, where it has none itself.

    The end may fall into a swap, in which nothing is processed and which says nothing of the device's speed.
    """
    if moving is None or view.stages:
        return view
    return replace(
        view,
        fps=moving.fps,
        stages=moving.stages,
        control_pss_mb=moving.control_pss_mb,
        worker_pss_mb=moving.worker_pss_mb,
    )


def summary(view: DemoView) -> RenderableType:
    """Return the table that ends the demonstration: each chapter's outcome and reason, then the measurements."""
    story = Table(title="What happened", title_justify="left", expand=True)
    story.add_column("")
    story.add_column("chapter", ratio=3)
    story.add_column("outcome", ratio=2)
    story.add_column("why", ratio=4)
    for chapter in view.chapters:
        story.add_row(_mark(chapter), *map(Text, (chapter.title, chapter.outcome, chapter.reason)))
    measured = Table.grid(padding=(0, 2))
    for name, value in _facts(view):
        measured.add_row(Text(name, "dim"), Text(value))
    done = sum(chapter.status is ChapterStatus.DONE for chapter in view.chapters)
    good = done == len(view.chapters)
    verdict = f"{done} of {len(view.chapters)} chapters went as they should"
    return Group(story, measured, Text(verdict, "bold green" if good else "bold red"))


def _device_panel(view: DemoView) -> Panel:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for name, value in _facts(view):
        if name != "inference":  # the panel beside it says so in full
            table.add_row(name, Text(value))
    table.add_row("update", _update(view))
    return Panel(table, title="device", title_align="left", border_style="dim")


def _update(view: DemoView) -> RenderableType:
    if view.progress is None:
        return Text(view.phase.value.replace("_", " "))
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, view.progress.total), completed=view.progress.done, width=10)
    row.add_row(Text(view.phase.value), bar)
    return row


def _stages_panel(view: DemoView) -> Panel:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row("stage", "", Text("p50", "dim"), Text("p95 ms", "dim"))
    stages = view.stages or {}
    longest = max((stage.p95 for stage in stages.values()), default=0.0) or 1.0
    for name in STAGES:
        stage = stages.get(name)
        if stage is None:
            table.add_row(name, "", "-", "-")
            continue
        table.add_row(name, _bar(stage, longest), f"{stage.p50:.2f}", f"{stage.p95:.2f}")
    return Panel(table, title="time per frame", title_align="left", border_style="dim")


def _bar(stage: StageMs, longest: float) -> Text:
    """Draw p50 solid and on to p95 thin, `longest` filling the bar."""
    solid = round(_BAR_CELLS * stage.p50 / longest)
    thin = round(_BAR_CELLS * stage.p95 / longest) - solid
    return Text.assemble(("━" * solid, "blue"), ("─" * max(0, thin), "blue"))


def _story_panel(view: DemoView) -> Panel:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(max_width=_TITLE_CELLS, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for chapter in view.chapters:
        pending = chapter.status is ChapterStatus.PENDING
        title = Text(chapter.title, "dim" if pending else "")
        table.add_row(_mark(chapter), title, Text(_happened(chapter)))
    return Panel(table, title="story", title_align="left", border_style="dim")


def _mark(chapter: Chapter) -> Text:
    mark, style = chapter.status.value
    return Text(mark, style)


def _told(chapter: Chapter) -> str:
    told = f"{chapter.status.name.lower()}: {chapter.title}"
    return " - ".join(filter(None, (told, _happened(chapter))))


def _happened(chapter: Chapter) -> str:
    return ": ".join(filter(None, (chapter.outcome, chapter.reason)))


def _facts(view: DemoView) -> list[tuple[str, str]]:
    """Return the device's facts by name, the most wanted first."""
    infer = (view.stages or {}).get("infer")
    return [
        ("model", view.release or "none yet"),
        ("variant", view.variant or "-"),
        ("speed", f"{view.fps:.1f} fps"),
        ("inference", f"{infer.p50:.1f} ms, p95 {infer.p95:.1f}" if infer else "-"),
        ("memory", f"{view.control_pss_mb:.0f} + {view.worker_pss_mb:.0f} MB"),
        ("objects", f"{view.detections} detections"),
        ("page", view.console_url),
    ]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
