"""Compare what two machines found in the same pictures: python scripts/arm64/compare_boxes.py HERE.jsonl THERE.jsonl.

Every object well above the threshold must be in both lists, with the same label, and box and score close; prints the
largest differences and ends with status 1 when something is missing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MAX_PIXELS = 1.0
MAX_SCORE = 0.01
# `vigil detect` cuts at 0.25; what lies that close to it may be on either side.
CLEAR = 0.25 + MAX_SCORE


def partner(found: dict[str, Any], others: list[dict[str, Any]]) -> tuple[float, float] | None:
    """Return difference of box (pixels) and score to the object of `others` that is the same, or None."""
    differences = [
        (
            max(abs(a - b) for a, b in zip(found["box"], other["box"], strict=True)),
            abs(found["score"] - other["score"]),
        )
        for other in others
        if other["label"] == found["label"]
    ]
    close = [pair for pair in differences if pair[0] <= MAX_PIXELS and pair[1] <= MAX_SCORE]
    return min(close, default=None)


def compare(
    here: list[dict[str, Any]], there: list[dict[str, Any]]
) -> tuple[list[tuple[float, float]], list[str]]:
    """Return the differences of all pairs, and what has no partner."""
    pairs: list[tuple[float, float]] = []
    alone: list[str] = []
    for one, other in zip(here, there, strict=True):
        for mine, theirs in ((one, other), (other, one)):
            for found in mine["objects"]:
                pair = partner(found, theirs["objects"])
                if pair is not None:
                    pairs.append(pair)
                elif found["score"] >= CLEAR:
                    alone.append(f"{mine['source']}: {found}")
    return pairs, alone


def _read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def main(here: str, there: str) -> int:
    """Print the verdict; return the exit status."""
    pairs, alone = compare(_read(here), _read(there))
    for line in alone:
        print("not found on the other machine:", line)
    if not pairs:
        print("nothing was found at all")
        return 1
    pixels, scores = (max(column) for column in zip(*pairs, strict=True))
    print(f"{len(pairs) // 2} objects, largest difference {pixels:.2f} pixels, score {scores:.4f}")
    return 1 if alone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
