"""`vigil diagnostics`: one file for whoever helps, without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, tell, writable
from agent.config import DEFAULT_PATH


def diagnostics(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file.")
    ] = DEFAULT_PATH,
    out: Annotated[
        Path, typer.Option(dir_okay=False, callback=writable, help="File to write.")
    ] = Path("vigil-diagnostics.tar.gz"),
    as_json: AsJson = False,
) -> None:
    """Write versions, configuration without secrets, state, log, audit record and board facts to one file."""
    from agent.app.diagnostics import collect, pack, service_log
    from agent.config.settings import Settings
    from agent.host.disk import REAL_DISK

    data = pack(collect(Settings(config), service_log))
    REAL_DISK.make_dirs(out.absolute().parent)
    REAL_DISK.write_atomic(out, data)
    said = (
        f"{out}: {len(data)} bytes; secrets are hidden, but look through it before you pass it on"
    )
    tell({"file": str(out), "bytes": len(data)}, said, as_json=as_json)
