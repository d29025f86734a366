"""`vigil fleet database`: which version the controller's tables are of, and the way to the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, tell


def database(
    home: Annotated[Path, typer.Argument(help="The controller's folder.")],
    bring_up: Annotated[
        bool,
        typer.Option(
            "--upgrade", help="Bring older tables to this version; a file is copied before."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say of which version the controller's tables are, and upgrade older ones; `serve` does that by itself."""
    from agent.fleet.database_place import name_of
    from agent.fleet.database_upgrade import look, upgrade
    from agent.fleet.home import place_of
    from agent.fleet.tables import SCHEMA

    place = place_of(home)
    found = upgrade(place) if bring_up else look(place)
    now = SCHEMA if bring_up else found.found
    lines = [f"{name_of(place)}: tables of version {now or 'none'}, this Vigil's are {SCHEMA}"]
    if bring_up and found.outdated:
        lines.append(f"upgraded from {found.found}")
    if found.backup:
        lines.append(
            f"{found.backup}: as it was; it has the model keys in it, delete it when all is well"
        )
    backup = str(found.backup) if found.backup else None
    document = {
        "database": name_of(place),
        "found": found.found,
        "version": now,
        "wanted": SCHEMA,
        "backup": backup,
    }
    tell(document, *lines, as_json=as_json)
