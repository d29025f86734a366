"""From what differs to its likely cause: a table of rules, the first that fits names it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.drift.view import ViewChange
from agent.schema.drift import Change

# A view this unlike is another one.
_ALIKE = 0.6
# Share of the picture that must have lost its detail: in part, or all over.
_IN_PART, _ALL_OVER = 0.08, 0.6
# Red and blue count as exchanged when each is this near to what the other was.
_EXCHANGED = 0.35
# Boxes smaller than this share of the picture's side have no area.
_NO_SIZE = 0.005


@dataclass(frozen=True)
class Signs:
    """What a window shows: changed figures by name, the view, and medians of the baseline by figure."""

    changes: Mapping[str, Change]
    view: ViewChange
    usual: Mapping[str, float]
    found: Mapping[str, float]

    def rose(self, figure: str) -> bool:
        """Whether a figure changed upwards."""
        change = self.changes.get(figure)
        return change is not None and change.found > change.usual

    def fell(self, figure: str) -> bool:
        """Whether a figure changed downwards."""
        change = self.changes.get(figure)
        return change is not None and change.found < change.usual


def cause_of(signs: Signs) -> str:
    """Return the name of the likely cause, empty where nothing differs."""
    return next((name for name, fits in _RULES if fits(signs)), "")


def _covered(signs: Signs) -> bool:
    view = signs.view
    return _IN_PART <= view.lost < _ALL_OVER and view.gained < view.lost / 2


def _moved(signs: Signs) -> bool:
    return signs.view.alike < _ALIKE and signs.view.lost < _ALL_OVER


def _exchanged(signs: Signs) -> bool:
    if not {"red", "blue"} & signs.changes.keys():
        return False
    usual, found = signs.usual, signs.found
    apart = abs(usual["red"] - usual["blue"])
    return max(abs(found["red"] - usual["blue"]), abs(found["blue"] - usual["red"])) < max(
        _EXCHANGED * apart, 0.02
    )


def _faded(signs: Signs) -> bool:
    return signs.fell("scores") or signs.fell("objects") or signs.view.faded


def _is_senseless(signs: Signs) -> bool:
    """Whether the network finds boxes without an area: its input is not what it was trained with."""
    return signs.fell("sizes") and signs.changes["sizes"].found < _NO_SIZE


def _coloured(signs: Signs) -> bool:
    return bool({"red", "blue"} & signs.changes.keys())


# What changes most of a picture comes first: it changes the figures of the other causes as well. So do new classes, which
# score less than those the model was made for.
_RULES: tuple[tuple[str, Callable[[Signs], bool]], ...] = (
    ("darkness", lambda signs: signs.fell("brightness") or signs.rose("dark")),
    ("over-exposure", lambda signs: signs.rose("brightness") or signs.rose("bright")),
    ("colour order", _exchanged),
    ("colour shift", _coloured),
    ("noise", lambda signs: signs.rose("noise")),
    ("dirt or occlusion", _covered),
    ("camera moved", _moved),
    ("blur", lambda signs: signs.fell("sharpness") or signs.view.lost >= _ALL_OVER),
    ("preprocessing", _is_senseless),
    ("new classes", lambda signs: "classes" in signs.changes),
    ("confidence collapse", _faded),
    ("unknown objects", lambda signs: signs.rose("doubts")),
    ("other scene", lambda signs: bool(signs.changes)),
)
CAUSES = tuple(name for name, _ in _RULES)
