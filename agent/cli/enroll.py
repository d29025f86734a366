"""`vigil enroll`: on the device, join a fleet by exchanging a bundle folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH


def enroll(
    bundle: Annotated[Path, typer.Option(help="Folder from `vigil fleet enrol-token`.")],
    folder: Annotated[
        Path, typer.Option(help="Where keys and configuration go.")
    ] = DEFAULT_PATH.parent,
) -> None:
    """Join a fleet: run it once to add the request to the bundle, once more after it was admitted."""
    from agent.fleet.enrolment import has_certificate, join, request

    if has_certificate(bundle):
        path = join(bundle, folder)
        typer.echo(f"{path}: ready; add the cameras and start the agent")
    else:
        terms = request(bundle, folder)
        typer.echo(
            f"{terms.device}: carry {bundle} to the controller, run `vigil fleet admit` there,"
        )
        typer.echo("then bring it back and run this command again")
