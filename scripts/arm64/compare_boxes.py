"""Compare what two machines found in the same pictures.

python scripts/arm64/compare_boxes.py HERE.jsonl THERE.jsonl PIXELS SCORE

Every object well above the threshold must be in both lists, with the same label, its box within PIXELS and its score
within SCORE; prints the largest differences and ends with status 1 when something is missing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

THRESHOLD = 0.25  # where `vigil detect` cuts; what is closer to it than SCORE may be on either side


@dataclass(frozen=True)
class Bounds:
    """How far apart two findings of the same object may be."""

    pixels: float
    score: float


def partner(
    found: dict[str, Any], others: list[dict[str, Any]], bounds: Bounds
) -> tuple[float, float] | None:
    """Return difference of box (pixels) and score to the object of `others` that is the same, or None."""
    differences = [
        (
            max(abs(a - b) for a, b in zip(found["box"], other["box"], strict=True)),
            abs(found["score"] - other["score"]),
        )
        for other in others
        if other["label"] == found["label"]
    ]
    close = [pair for pair in differences if pair[0] <= bounds.pixels and pair[1] <= bounds.score]
    return min(close, default=None)


def compare(
    here: list[dict[str, Any]], there: list[dict[str, Any]], bounds: Bounds
) -> tuple[list[tuple[float, float]], list[str]]:
    """Return the differences of all pairs, and what has no partner."""
    pairs: list[tuple[float, float]] = []
    alone: list[str] = []
    for one, other in zip(here, there, strict=True):
        for mine, theirs in ((one, other), (other, one)):
            for found in mine["objects"]:
                pair = partner(found, theirs["objects"], bounds)
                if pair is not None:
                    pairs.append(pair)
                elif found["score"] >= THRESHOLD + bounds.score:
                    alone.append(f"{mine['source']}: {found}")
    return pairs, alone


def _read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def main(here: str, there: str, pixels_bound: str, score_bound: str) -> int:
    """Print the verdict; return the exit status."""
    pairs, alone = compare(
        _read(here), _read(there), Bounds(float(pixels_bound), float(score_bound))
    )
    for line in alone:
        print("not found on the other machine:", line)
    if not pairs:
        print("nothing was found at all")
        return 1
    pixels, scores = (max(column) for column in zip(*pairs, strict=True))
    print(f"{len(pairs) // 2} objects, largest difference {pixels:.2f} pixels, score {scores:.4f}")
    return 1 if alone else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
