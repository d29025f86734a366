"""How a metric says which fields of a `Snapshot` it comes from, and how its samples are read from one (pure).

A source is a dotted path. `*` stands for each entry of a mapping, of a list of things with a `name`, or of a
list of names, and gives the sample one label. What is not known (null, an empty mapping) gives no sample.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.schema.snapshot import Snapshot

EACH = "*"
_UCUM = {
    "_seconds": "s",
    "_bytes": "By",
    "_bytes_per_day": "By/d",
    "_celsius": "Cel",
    "_celsius_per_minute": "Cel/min",
    "_watts": "W",
}
Sample = tuple[tuple[str, ...], float]
Convert = Callable[[Any], float]


class Kind(str, enum.Enum):
    """Whether a value may fall."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True)
class Series:
    """One source of a metric's samples.

    Attributes:
        path: Where the value is in a `Snapshot`.
        last: The labels that follow those of the path's stars.
        convert: Makes a number in the metric's unit of what is there.
    """

    path: str
    last: tuple[str, ...] = ()
    convert: Convert = float


@dataclass(frozen=True)
class Metric:
    """One metric; the name of a counter ends with `_total`."""

    name: str
    text: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def kind(self) -> Kind:
        """A counter only rises, until what counts starts anew."""
        return Kind.COUNTER if self.name.endswith("_total") else Kind.GAUGE

    @property
    def unit(self) -> str:
        """The unit of its name, in UCUM; `1` for what has none."""
        plain = self.name.removesuffix("_total")
        return next((ucum for end, ucum in _UCUM.items() if plain.endswith(end)), "1")

    def samples(self, snapshot: Snapshot) -> list[Sample]:
        """Return labels and value of each series that is known."""
        return [
            ((*labels, *one.last), one.convert(found))
            for one in self.series
            for labels, found in walk(snapshot, one.path)
        ]


def metric(
    name: str,
    text: str,
    source: str | Mapping[str, str],
    labels: str = "",
    convert: Convert = float,
) -> Metric:
    """Return a metric from one path, or from several that its last label tells apart."""
    paths = {(): source} if isinstance(source, str) else {(k,): v for k, v in source.items()}
    series = tuple(Series(path, last, convert) for last, path in paths.items())
    return Metric(name, text, tuple(labels.split()), series)


def among(*words: str) -> Convert:
    """Return a conversion to 1 for one of `words`, else 0."""
    return lambda found: float(found in words)


def present(_: Any) -> float:
    """Return 1: that it is there says all."""
    return 1.0


def milli(found: float) -> float:
    """Return base units of thousandths."""
    return found / 1000


def mib(found: float) -> float:
    """Return bytes of MiB."""
    return found * 2**20


def percent(found: float) -> float:
    """Return a ratio of percent."""
    return found / 100


def walk(snapshot: Snapshot, path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what is at `path`, each with the names of the entries on the way."""
    return _walk(snapshot, path.split("."))


def _walk(at: Any, path: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if at is None:
        return
    if not path:
        yield (), at
    elif path[0] == EACH:
        for name, entry in _entries(at):
            for labels, found in _walk(entry, path[1:]):
                yield (name, *labels), found
    else:
        yield from _walk(getattr(at, path[0]), path[1:])


def _entries(at: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(at, Mapping):
        return at.items()
    return ((one if isinstance(one, str) else one.name, one) for one in at)
