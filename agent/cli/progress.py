"""Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
_LINE_EVERY_S = 10.0


def with_progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, of which there are `total`, and show how far it is."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, what, total, console=console)
        return
    told_s = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if number == total or time.monotonic() - told_s >= _LINE_EVERY_S:
            told_s = time.monotonic()
            console.print(f"{what}: {number} of {total}", markup=False, highlight=False)
