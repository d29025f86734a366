import subprocess
import sys

# A signal at every line that is run until the wait ends, in the thread that waits.
AT_EVERY_LINE = """
import signal, sys
from agent.host.ending import Ending

def interrupted(at):
    ending, lines = Ending(), 0
    signal.signal(signal.SIGTERM, lambda *_: ending.ask())

    def trace(frame, event, _):
        nonlocal lines
        if event == "line" and frame.f_code.co_name not in {"<lambda>", "ask"}:
            lines += 1
            if lines == at:
                signal.raise_signal(signal.SIGTERM)
        return trace

    signal.setitimer(signal.ITIMER_REAL, 0.3)  # for when there are no more lines
    sys.settrace(trace)
    ended = ending.wait(600)
    sys.settrace(None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert ended
    return lines >= at

signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
at = 1
while interrupted(at):
    at += 1
print(at - 1)
"""


def test_a_signal_may_come_at_any_line_of_the_wait() -> None:
    told = subprocess.run(
        [sys.executable, "-c", AT_EVERY_LINE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 3
