"""What `vigil release` says of a repository: what is published, what waits, and what a signature would agree to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from agent.cli.output import mention, print_json
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.release.documents import Standing
    from agent.release.repository import Repository
    from agent.release.review import Review

_console = Console(highlight=False, markup=False)


def open_repository(folder: Path) -> Repository:
    """Return the repository in `folder`.

    Raises:
        ConfigError: There is none.
    """
    from agent.release.repository import Repository

    repository = Repository(folder)
    if not repository.public.is_dir() and not repository.staged.is_dir():
        hint = "name a repository's folder, or make one: vigil release init"
        raise ConfigError(f"{folder}: no repository", hint=hint)
    return repository


def tell_staged(repository: Repository, *lines: str, as_json: bool, **facts: Any) -> None:
    """Say what a command did, as lines for people or facts for programs, and what waits for approval now."""
    standings = repository.standings()
    if as_json:
        print_json({**facts, "staged": [_told(one, repository) for one in standings]})
        return
    for line in lines:
        mention(line, as_json=False)
    if not standings:
        _console.print("nothing is staged")
        return
    table = Table("staged", "version", "approvals", "expires")
    for one in standings:
        approvals = f"{len(one.signed)} of {one.threshold}"
        table.add_row(one.role, str(one.version), approvals, f"{one.expires:%Y-%m-%d}")
    _console.print(table)


def _told(one: Standing, repository: Repository) -> dict[str, Any]:
    found = repository.review(one.role)
    return {
        "role": one.role,
        "version": one.version,
        "signed": one.signed,
        "unsigned": one.unsigned,
        "threshold": one.threshold,
        "expires": f"{one.expires:%Y-%m-%dT%H:%M:%SZ}",
        "digest": found.sha256,
        "changes": found.changes,
    }


def show_review(found: Review, *, as_json: bool) -> None:
    """Show what an approval agrees to; unwrapped, so that two people can compare and search."""
    mention(
        f"{found.role} version {found.version}, until {found.expires:%Y-%m-%d}, digest {found.sha256}",
        as_json=as_json,
    )
    for change in found.changes:
        mention(f"  {change}", as_json=as_json)


def published(repository: Repository) -> list[dict[str, Any]]:
    """Return the published releases of every class, by rising counter."""
    return [
        {
            "class": name,
            "name": ref.name,
            "version": ref.version,
            "counter": ref.counter,
            "manifest": ref.path,
            "sha256": ref.sha256,
        }
        for name in repository.roles()
        for ref in repository.releases(name)
    ]


def show_published(releases: list[dict[str, Any]]) -> None:
    """Show them as a table; paths and digests are whole, over several lines where it is narrow."""
    if not releases:
        _console.print("no release is published")
        return
    table = Table("class", "release", "counter")
    for column in ("manifest", "sha256"):
        table.add_column(column, overflow="fold")
    for one in releases:
        release = f"{one['name']} {one['version']}"
        table.add_row(one["class"], release, str(one["counter"]), one["manifest"], one["sha256"])
    _console.print(table)
