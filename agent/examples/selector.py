"""Which frames are worth a label. Pure but for its memory of when a camera's frame was last chosen.

A frame is chosen for one reason, the first that holds:

control    drawn at random, whatever it shows: what a model is sure of and wrong about is found by nothing else
drift      its camera shows something else than the model was made for
uncertain  an object in it is reported, but with a score that is barely enough

A frame in which two models differ is told of by who compares them (`is_due`).

Frames of one camera that follow each other are alike, so that for each reason a camera's next frame must be `gap_s` away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.schema.examples import ExamplesConfig, Reason
from agent.schema.values import Box


class Selector:
    """Chooses for all cameras of one device.

    Args:
        config: The rules.
        draw: A random number in [0, 1), as `random.random` gives it.
    """

    def __init__(self, config: ExamplesConfig, draw: Callable[[], float]) -> None:
        self._config, self._draw = config, draw
        self._chosen_ns: dict[tuple[str, Reason], int] = {}

    def choose(
        self, camera: str, at_ns: int, boxes: Iterable[Box], *, drifted: bool
    ) -> Reason | None:
        """Return why a frame is worth a label, None for most; `at_ns` is its monotonic time."""
        reason = self._reason(boxes, drifted=drifted)
        return reason if reason is not None and self.is_due(camera, reason, at_ns) else None

    def is_due(self, camera: str, reason: Reason, at_ns: int) -> bool:
        """Take a frame for `reason` unless the camera's last one for it is too near; say whether it was taken."""
        last_ns = self._chosen_ns.get((camera, reason))
        if last_ns is not None and at_ns - last_ns < self._config.gap_s * 1e9:
            return False
        self._chosen_ns[camera, reason] = at_ns
        return True

    def is_uncertain(self, boxes: Iterable[Box]) -> bool:
        """Say whether an object has a score that is barely enough."""
        return any(box.score < self._config.uncertain_below for box in boxes)

    def _reason(self, boxes: Iterable[Box], *, drifted: bool) -> Reason | None:
        if self._draw() * self._config.control_every < 1 <= self._config.control_every:
            return Reason.CONTROL
        if drifted:
            return Reason.DRIFT
        return Reason.UNCERTAIN if self.is_uncertain(boxes) else None
