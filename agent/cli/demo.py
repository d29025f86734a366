"""`vigil demo`: the whole story on this machine, in a folder that is gone afterwards."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agent.cli.output import writable

if TYPE_CHECKING:
    from agent.demo.performance import Performance

_TURN_S = 0.25
_INTERRUPTED = 130


def demo(
    seconds: Annotated[
        float, typer.Option(help="End after so many seconds at the latest; 0 for never.", min=0)
    ] = 0.0,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", dir_okay=False, callback=writable, help="Write the facts to this file."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the device's page.")] = True,
    port: Annotated[
        int, typer.Option(help="Port of the device's page; 0 for a free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Tell the whole story: provision, detect, update, refuse, reject, roll back.

    On a terminal the device runs on when the story is over, until Ctrl-C or --seconds.
    """
    from agent.demo.performance import write_facts
    from agent.demo.screen import summary

    console = Console()
    _take_term_as_interrupt()
    try:
        with tempfile.TemporaryDirectory(prefix="vigil-demo-") as folder:
            performance = _perform(console, Path(folder), seconds, browser=browser, port=port)
    except KeyboardInterrupt:
        console.print("stopped before it began")
        sys.exit(_INTERRUPTED)
    ending = performance.ending()
    console.print(summary(performance.last_view))
    if json_file is not None:
        write_facts(json_file, ending.facts)
    if ending.facts["problem"]:
        problem = f"vigil: {ending.facts['problem']}"
        console.print(problem, style="red", markup=False, soft_wrap=True)
    sys.exit(ending.exit_status)


def _perform(
    console: Console, folder: Path, seconds: float, *, browser: bool, port: int
) -> Performance:
    from agent.cli.live_page import open_page
    from agent.demo.performance import Performance
    from agent.demo.screen import Screen

    console.print("Making a throw-away fleet: keys, repository, authority, broker, releases …")
    performance = Performance(folder, port)
    with performance, Screen(console) as screen:
        console.print(f"The device's page: {performance.device.console_url}")
        if browser:
            open_page(performance.device.console_url)
        with contextlib.suppress(KeyboardInterrupt):
            while not _is_over(performance, seconds, stays=console.is_terminal and not seconds):
                screen.show(performance.view())
                time.sleep(_TURN_S)
        performance.curtain()
    return performance


def _is_over(performance: Performance, seconds: float, *, stays: bool) -> bool:
    if performance.problem or (seconds and performance.elapsed_s >= seconds):
        return True
    return performance.story.is_over and not seconds and not stays


def _take_term_as_interrupt() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
