"""An operator's wish to stay on one rung, for a while."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import CommandError
from agent.governor.ladder import Ladder, place_of
from agent.schema.governor import AUTOMATIC, PinRungArgs


class Pinning:
    """Holds the wish until it runs out; set by the commander's thread, read by the governor's."""

    def __init__(self, ladder: Callable[[], Ladder], now_ns: Callable[[], int]) -> None:
        self._ladder = ladder
        self._now_ns = now_ns
        self._wish = ("", 0)

    def pin(self, asked: PinRungArgs) -> None:
        """Take a wish, or forget the last one (`auto`).

        Raises:
            CommandError: There is no such rung (`governor.unknown_rung`).
        """
        if asked.rung == AUTOMATIC:
            self.forget()
            return
        ladder = self._ladder()
        if place_of(asked.rung, ladder) is None:
            known = ", ".join(rung.name for rung in ladder) or "none while nothing serves"
            message = f"pin-rung: expected {AUTOMATIC} or one of {known}, found {asked.rung!r}"
            raise CommandError(message, code="governor.unknown_rung")
        self._wish = (asked.rung, self._now_ns() + int(asked.minutes * 60e9))

    def forget(self) -> None:
        """Drop the wish: it cannot be carried out."""
        self._wish = ("", 0)

    @property
    def rung(self) -> str:
        """The rung that is wanted now; empty when none is."""
        name, until_ns = self._wish
        return name if self._now_ns() < until_ns else ""
