"""`vigil release verify`: a published repository, or a built release, checked as a device would before one does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.output import writable, write_json
from agent.errors import ConfigError, PackageError

if TYPE_CHECKING:
    from agent.release.verify import Inspector, Verification

console = Console(stderr=True, highlight=False)


def verify(
    place: Annotated[Path, typer.Argument(help="Repository, its published folder, or a release.")],
    root: Annotated[
        Path | None, typer.Option(help="Root that your devices trust; for a repository.")
    ] = None,
    key: Annotated[list[Path], typer.Option("--key", help="A release's key; repeatable.")] = [],  # noqa: B006
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            callback=writable,
            help="Write the findings to this file; - prints them.",
        ),
    ] = None,
) -> None:
    """Say of a repository or a release folder what a device or an auditor would refuse, and where.

    Of a repository: signatures, thresholds and expiry from the given root on, keys listed twice, digests of every listed
    file, and the signatures for OpenSSF's model-signing. Of every release: its manifest against its sealed files. With its key, what is sealed in them, too.
    """
    from agent.release.build import read_key
    from agent.release.verify import Inspector

    inspector = Inspector({str(path): read_key(path) for path in key})
    _inspect(place, root, inspector)
    found = inspector.result(str(place))
    if json_file is not None:
        write_json(found, json_file)
    _report(found)


def _inspect(place: Path, root: Path | None, inspector: Inspector) -> None:
    from agent.host.disk import REAL_DISK
    from agent.release.shelf import DOCUMENT_LIMIT
    from agent.schema.manifest import MANIFEST_FILE

    if (place / MANIFEST_FILE).exists():
        if root is not None:
            raise ConfigError(f"{place}: a release folder has no signatures to check from --root")
        inspector.folder(place)
        return
    public = place / "public" if (place / "public").is_dir() else place
    if not (public / "metadata").is_dir():
        message = f"{place}: expected a repository or a release folder, found neither"
        raise ConfigError(message, hint=f"one has metadata/, the other has {MANIFEST_FILE}")
    if root is None:
        hint = "give the root.json that you provision devices with, from a place of its own"
        raise ConfigError(f"{place}: expected --root FILE for a repository", hint=hint)
    from agent.cli.verify_repository import inspect_repository

    inspect_repository(public, REAL_DISK.read(root, DOCUMENT_LIMIT), inspector)


def _report(found: Verification) -> None:
    """Show what was found.

    Raises:
        PackageError: `package.verify` when anything is wrong.
    """
    table = Table("release", "sealed files", "opened", "model-signing", "manifest sha256")
    for one in found.releases:
        counts = (str(count) for count in (one.files, one.opened, one.bundles))
        table.add_row(one.release, *counts, one.sha256)
    console.print(table)
    if found.findings:
        told = "\n".join(f"  {one.place}: {one.problem} [{one.code}]" for one in found.findings)
        message = f"{found.subject}: {len(found.findings)} found that devices or auditors would refuse\n{told}"
        raise PackageError(message, code="package.verify", hint="publish nothing before it is well")
    console.print(f"{found.subject}: nothing wrong")
