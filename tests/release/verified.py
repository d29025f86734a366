"""What `vigil release verify` found."""

from __future__ import annotations

from pathlib import Path

import msgspec
from typer.testing import CliRunner

from agent.cli import app
from agent.errors import PackageError
from agent.release.repository import Repository
from agent.release.verify import Verification


def checked(place: Path, *options: object) -> Verification:
    """Run the command; return what it found. The exit status tells the same."""
    report = place.parent / "verified.json"
    arguments = ["release", "verify", str(place), "--json", str(report), *map(str, options)]
    result = CliRunner().invoke(app, arguments)
    found = msgspec.json.decode(report.read_bytes(), type=Verification)
    if not found.findings:
        assert result.exit_code == 0, result.output
        return found
    error = result.exception
    assert isinstance(error, PackageError)
    assert (error.code, error.exit_status) == ("package.verify", 1)
    assert all(f"{one.place}: {one.problem}" in str(error) for one in found.findings)
    return found


def of_repository(repository: Repository, *options: object) -> Verification:
    root = repository.public.parent / "root.json"
    root.write_bytes(repository.root_bytes)
    return checked(repository.public.parent, "--root", root, *options)


def faults(found: Verification) -> list[tuple[str, str]]:
    return [(one.place, one.code) for one in found.findings]
