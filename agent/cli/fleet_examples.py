"""`vigil fleet examples-key` and `export-examples`: pictures from devices, for labelling and re-training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, tell
from agent.host.words import counted


def examples_key(
    file: Annotated[Path, typer.Argument(help="File to write the private key to.")],
    as_json: AsJson = False,
) -> None:
    """Make the key that devices seal examples to; prints its public half for their configuration."""
    import base64

    from agent.errors import ConfigError
    from agent.trust.keys import FileKey

    if file.exists():
        raise ConfigError(f"{file}: is there already", hint="name a new file")
    key = FileKey.create(file)
    public = base64.b64encode(key.public_bytes).decode()
    tell(
        {"private": str(file), "public": public},
        f"{file}: keep it from everybody who may not see the pictures; on the devices:",
        f"examples: {{key: {public}}}",
        as_json=as_json,
    )


def export_examples(
    folder: Annotated[Path, typer.Argument(help="Where `vigil fleet send --save` put them.")],
    key: Annotated[Path, typer.Option(help="Private key that `examples-key` made.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    release: Annotated[str, typer.Option(help="Only what this release looked at.")] = "",
    as_json: AsJson = False,
) -> None:
    """Open examples and write them as a dataset, COCO and YOLO; its labels are the model's own."""
    from collections import Counter

    from agent.errors import ConfigError
    from agent.fleet.examples import read_examples
    from agent.fleet.labelling import write_dataset
    from agent.trust.keys import load_private

    found = read_examples(folder, load_private(key))
    chosen = [one for one in found if release in {"", one.release}]
    if not chosen:
        releases = ", ".join(sorted({one.release for one in found}))
        raise ConfigError(f"{release}: no examples of it", hint=f"there are some of {releases}")
    write_dataset(chosen, out)
    reasons = Counter(one.reason.value for one in chosen)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    tell(
        {"folder": str(out), "pictures": len(chosen), "reasons": dict(reasons)},
        f"{out}: {counted(len(chosen), 'picture')} ({told}); correct the labels before you train",
        as_json=as_json,
    )


def add_to(app: typer.Typer) -> None:
    """Add these commands to `vigil fleet`."""
    for command in (examples_key, export_examples):
        app.command()(command)
