"""`python -m agent.vision --socket-fd N [--memory-mb M] [--nice N]`: start one worker on an inherited socket."""

from __future__ import annotations

import argparse
import os
import socket
import sys

from agent.host.logs import set_up_logs
from agent.host.sandbox import confine
from agent.host.seqpacket import Wire
from agent.vision.process import set_up_process


def main() -> int:
    """Confine this process, then serve; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent.vision")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args()
    set_up_logs("info", "vigil-worker")
    if options.memory_mb is not None:
        confine(options.memory_mb)
    os.nice(options.nice)
    set_up_process()
    from agent.vision.worker import Worker

    return Worker(Wire(socket.socket(fileno=options.socket_fd))).run()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads inside a hung runtime or driver must not keep the process.
    os._exit(status)
