"""`vigil audit`: the record of what was commanded, refused and done, exported and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, tell, writable
from agent.config import DEFAULT_PATH

app = typer.Typer(name="audit", help="Export and verify the audit record.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]


@app.command()
def export(
    config: Config = DEFAULT_PATH,
    out: Annotated[
        Path, typer.Option(dir_okay=False, callback=writable, help="File to write; - prints.")
    ] = Path("-"),
) -> None:
    """Write the whole record as JSON lines, its head signed with the device's TLS key."""
    from agent.app.diagnostics import LEDGER
    from agent.cli.output import STDOUT, write_file
    from agent.config import load_config
    from agent.trust.audit import export as exported
    from agent.trust.audit import read_trail
    from agent.trust.keys import load_private

    found = load_config(config)
    trail = read_trail(Path(found.state_dir) / LEDGER)
    tls = found.broker.tls
    data = exported(trail, found.device.id, load_private(Path(tls.key)) if tls else None)
    if out == STDOUT:
        typer.echo(data.decode(), nl=False)
        return
    write_file(out, data)
    typer.echo(f"{out}: {len(trail.rows)} rows, head {trail.head}")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An export; without, this device's own.")
    ] = None,
    config: Config = DEFAULT_PATH,
    head: Annotated[str, typer.Option(help="Head that you kept, from the device's state.")] = "",
    certificate: Annotated[
        Path | None, typer.Option(help="The device's certificate, to check the head's signature.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every row and name the first bad one; with --head, that the record is still the one you knew."""
    from agent.app.diagnostics import LEDGER
    from agent.config import load_config
    from agent.errors import ConfigError
    from agent.host.disk import REAL_DISK
    from agent.trust.audit import (
        MAX_EXPORT_BYTES,
        check_chain,
        check_signature,
        find_head,
        read_export,
        read_trail,
    )

    found: dict[str, str | int] = {}
    lines: list[str] = []
    if file is None:
        if certificate is not None:
            raise ConfigError("--certificate needs an export: only that is signed")
        trail = read_trail(Path(load_config(config).state_dir) / LEDGER)
    else:
        about, trail = read_export(REAL_DISK.read(file, MAX_EXPORT_BYTES), str(file))
        if certificate is not None:
            pem = REAL_DISK.read(certificate, 1 << 20)
            check_signature(pem, about.device, about.head, about.signature)
            found["signed_by"] = about.device
            lines.append(f"the head is signed by {about.device}")
    check_chain(trail)
    rows = len(trail.rows)
    found |= {"rows": rows, "head": trail.head}
    lines.append(f"{rows} rows, none changed; head {trail.head}")
    if head:
        number = find_head(trail, head)
        found |= {"kept_head_row": number, "rows_after_it": rows - number}
        lines.append(f"the head you kept is row {number}; {rows - number} came after it")
    tell(found, *lines, as_json=as_json)
