"""`vigil`, and `python -m agent`."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C while it still loads ends it as quietly as later."""
    try:
        from agent.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
