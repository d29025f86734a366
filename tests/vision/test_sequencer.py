"""What threads finish out of order goes on in order, and no thread runs away from a slow one."""

import itertools
import threading

from agent.vision.sequencer import Sequencer
from tests.parts.processes import until


def test_results_go_on_in_the_order_of_their_numbers() -> None:
    passed: list[int] = []
    sequencer = Sequencer(passed.append, ahead=99)
    numbers = list(itertools.chain(range(50, 100), range(49, -1, -1)))
    for number in numbers:
        sequencer.put(number, number)
    assert passed == list(range(100))


def test_a_thread_that_is_too_far_ahead_waits_for_the_slow_one() -> None:
    passed: list[int] = []
    sequencer = Sequencer(passed.append, ahead=2)
    done = threading.Semaphore(0)

    def hurry() -> None:
        for number in (1, 2, 3):
            sequencer.put(number, number)
            done.release()

    thread = threading.Thread(target=hurry, daemon=True)
    thread.start()
    assert done.acquire(timeout=30)
    assert done.acquire(timeout=30)
    assert not done.acquire(timeout=0.2)
    assert passed == []
    sequencer.put(0, 0)
    until(lambda: passed == [0, 1, 2, 3], 30, "all have gone on")
    thread.join(30)
    assert not thread.is_alive()
