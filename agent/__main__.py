"""`vigil`, and `python -m agent`.

Whatever is loaded is loaded in `main`: until a command is there (`agent.cli.on_demand`) Ctrl-C ends the process at once, as it
does a program that never heard of it. Python's own answer, an exception, would show where it was, or get lost in an import.
"""

from __future__ import annotations

import io
import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run a command; a fault of the error tree is printed and becomes the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # What the locale cannot say is escaped: a degree sign must not end a command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may want it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agent.errors import VigilError

    try:
        _run(sys.argv[1:])
    except VigilError as error:
        _print(error.diagnostics())
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run(arguments: list[str]) -> None:
    from pathlib import Path

    match arguments:
        # As services start the agent: without the tree of commands, which would stay in memory for good.
        case ["run"] | ["run", "--config" | "-c", _]:
            from agent.app.service import serve

            sys.exit(serve(Path(arguments[-1])) if arguments[1:] else serve())
        case _:
            from agent.cli import main as command_line

            command_line()


def _print(problem: str) -> None:
    from rich.console import Console

    # Unwrapped: a path that was broken into lines can neither be copied nor searched for.
    Console(stderr=True).print(
        f"vigil: {problem}",
        style="red",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
