"""The command line: one file per command; what a command cannot do is an error of the tree (see `agent.__main__`)."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from agent import __version__
from agent.cli.on_demand import OnDemand
from agent.errors import StorageError
from agent.vision.process import keep_quiet

# Of what is behind `>`: a full disk, a limit, a fault. Files that a command reads and writes have errors of the tree.
_OUTPUT_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="vigil",
    cls=OnDemand,
    help="Vigil, the edge vision agent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Vigil, the edge vision agent."""


def main() -> None:
    """Run the command line.

    Raises:
        VigilError: What a command could not do, or could not print.
    """
    keep_quiet()
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OUTPUT_FAULTS or error.filename:
            raise
        message = f"standard output: {error.strerror}"
        raise StorageError(message, hint="make room, or send the output elsewhere") from error
