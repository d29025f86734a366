"""`vigil release build`: a release's files, sealed; from a draft, or from a recipe that makes the draft first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.output import AsJson, mention, tell, writable
from agent.errors import ConfigError, VigilError


def build(  # noqa: PLR0913, PLR0917 - one option each
    out: Annotated[Path, typer.Option("--out", callback=writable, help="Folder to make.")],
    draft: Annotated[Path | None, typer.Argument(help="Draft of the release (YAML).")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe (YAML) that makes the draft and all it names.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="What a recipe made is kept here; beside it unless given."),
    ] = None,
    key_out: Annotated[
        Path | None,
        typer.Option(
            "--key-out",
            dir_okay=False,
            callback=writable,
            help="File for the release's new key.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Seal with this key again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Seal a release's files; give the key's file to the controller only.

    With a recipe, export, quantise, judge, obfuscate and look at the golden pictures first; what was made is kept, so that a
    second run makes only what changed. The same models, draft and key give the same bytes.
    """
    from agent.host.disk import REAL_DISK
    from agent.release.build import DEK_BYTES, build_release, read_key
    from agent.release.draft_file import load_draft

    if (draft is None) == (recipe is None):
        raise typer.BadParameter("expected a draft or a --recipe", param_hint="DRAFT")
    if (key is None) == (key_out is None):
        raise typer.BadParameter("expected --key-out FILE or --key FILE", param_hint="--key-out")
    if out.exists():
        raise ConfigError(f"{out}: is there already", hint="choose another name")
    if key_out is not None and key_out.exists():
        hint = f"choose another name, or go on with this key where a build was cut off: --key {key_out}"
        raise ConfigError(f"{key_out}: is there already", hint=hint)
    if recipe is not None:
        from agent.cli.recipe import make_draft

        draft = make_draft(recipe, work)
        mention(f"{draft}: written", as_json=as_json)
    if draft is not None:
        loaded = load_draft(draft)
        dek = os.urandom(DEK_BYTES) if key is None else read_key(key)
        if key_out is not None:
            # The key first: sealed files whose key was lost are worth nothing.
            REAL_DISK.write_atomic(key_out, dek)
        try:
            manifest = build_release(out, loaded, dek)
        except VigilError:
            if key_out is not None:
                REAL_DISK.remove(key_out)
            raise
        tell(
            {
                "release": loaded.release_id,
                "folder": str(manifest.parent),
                "key": str(key_out or key),
            },
            f"{loaded.release_id}: {manifest.parent}, key in {key_out or key}",
            as_json=as_json,
        )


def recipe_schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from agent.release.recipe import recipe_schema as schema_of

    typer.echo(schema_of().decode(), nl=False)
