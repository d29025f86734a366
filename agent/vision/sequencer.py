"""Several threads run the model, and results go on in the order in which their frames were taken."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Sequencer(Generic[T]):
    """Puts in order what threads finish out of order.

    A thread that is further ahead than `ahead` waits: what it made would only lie in memory.

    Args:
        pass_on: Gets the results one after the other, by number.
        ahead: How many results may wait for an earlier one.
    """

    def __init__(self, pass_on: Callable[[T], None], ahead: int) -> None:
        self._pass_on = pass_on
        self._ahead = ahead
        self._next = 0
        self._early: dict[int, T] = {}
        self._moved = threading.Condition()

    def put(self, number: int, result: T) -> None:
        """Pass on the result with this number, now or after all earlier ones; numbers begin at 0 and none is left out."""
        with self._moved:
            self._moved.wait_for(lambda: number <= self._next + self._ahead)
            self._early[number] = result
            while self._next in self._early:
                self._pass_on(self._early.pop(self._next))
                self._next += 1
            self._moved.notify_all()
