"""The command line: one file per command; every expected fault ends in one clear message."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from agent import __version__
from agent.cli import (
    asyncapi,
    audit,
    bench,
    demo,
    detect,
    diagnostics,
    doctor,
    enroll,
    eval,  # noqa: A004 - the command's name
    fleet,
    profile,
    provision,
    release,
    report,
    run,
    status,
)
from agent.errors import VigilError

app = typer.Typer(
    name="vigil",
    help="Vigil, the edge vision agent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("detect")(detect.detect)
app.command("eval")(eval.evaluate)
app.command("bench")(bench.bench)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("report")(report.report)
app.command("asyncapi")(asyncapi.asyncapi)
app.command("enroll")(enroll.enroll)
app.add_typer(profile.app)
app.add_typer(provision.app)
app.add_typer(release.app)
app.add_typer(fleet.app)
app.add_typer(audit.app)
app.command("diagnostics")(diagnostics.diagnostics)


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
    """Run the command line; a fault of the error tree is printed and becomes the exit status."""
    try:
        app()
    except VigilError as error:
        message = f"vigil: {error.diagnostics()}"
        # Unwrapped: a path that was broken into lines can neither be copied nor searched for.
        Console(stderr=True).print(
            message, style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
