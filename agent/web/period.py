"""Charts over days that end today: what a device's report and a fleet's have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from agent.host.clock import utc
from agent.web.report import COLOURS, Curve, lines

_DAY_S = 86_400.0
Figure = Callable[[date], "float | None"]


@dataclass(frozen=True)
class Period:
    """The `length` days, UTC, until Unix milliseconds `now_ms`, today among them."""

    now_ms: int
    length: int

    @property
    def dates(self) -> list[date]:
        """Every day of it."""
        last = utc(self.now_ms).date()
        return [last - timedelta(days=back) for back in range(self.length - 1, -1, -1)]

    @property
    def title(self) -> str:
        """The first and the last day."""
        return f"{self.dates[0]} to {self.dates[-1]}"

    def seconds(self, day: date) -> float:
        """Return how long a day was so far."""
        passed = self.now_ms / 1000 % _DAY_S
        return max(1.0, passed) if day == utc(self.now_ms).date() else _DAY_S

    def covers(self, at_ms: int) -> bool:
        """Return whether a time, Unix milliseconds, lies in it."""
        dates = self.dates
        return dates[0] <= utc(at_ms).date() <= dates[-1]

    def chart(self, caption: str, figures: Mapping[str, Figure], most: float | None = None) -> str:
        """Return curves over its days, one for each name; where a figure is None, its curve is interrupted.

        Args:
            caption: What is drawn, with its unit.
            figures: At most as many as there are `COLOURS`; each is asked for every day.
            most: Value at the top; the greatest without.
        """
        dates = self.dates
        curves = [
            Curve(name, [(number, figure(day)) for number, day in enumerate(dates)], colour)
            for (name, figure), colour in zip(figures.items(), COLOURS, strict=False)
        ]
        return lines(caption, curves, (dates[0].isoformat(), dates[-1].isoformat()), most)
