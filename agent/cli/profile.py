"""`vigil profile`: which board this is, what suits it, and how fast it really is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from agent.cli.output import AsJson, print_json, tell
from agent.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from agent.models.lint import Fault
    from agent.schema.manifest import Manifest
    from agent.schema.profile import BoardFacts, Choice, DeviceProfile

app = typer.Typer(
    name="profile",
    help="Recognise this board, choose a variant for it, measure.",
    no_args_is_help=True,
)

Root = Annotated[
    Path, typer.Option(exists=True, file_okay=False, help="Folder of a recorded board.")
]
ManifestFile = Annotated[
    Path, typer.Option(exists=True, dir_okay=False, help="A release's manifest.json.")
]
Named = Annotated[str, typer.Option(help="Profile by name, or `auto` to recognise the board.")]
State = Annotated[Path, typer.Option(file_okay=False, help="State folder with measurements.json.")]
REAL_ROOT = Path("/")
STATE = Path("/var/lib/vigil")


@app.command()
def detect(root: Root = REAL_ROOT, as_json: AsJson = False) -> None:
    """Show what is known of this board, its profile, and versions that do not go together."""
    from agent.cli import profile_tables
    from agent.host.board import read_facts
    from agent.models.profiles import examine, load_profiles
    from agent.models.skew import find_skew

    facts = read_facts(root)
    skew = find_skew(facts)
    try:
        found = examine(facts, load_profiles())
    except ConfigError:
        # The facts are what a person needs in order to write the missing profile.
        profile_tables.print_facts(facts)
        profile_tables.print_findings([], skew, facts)
        raise
    if as_json:
        typer.echo(profile_tables.detected_json(facts, found, skew))
        return
    profile_tables.print_facts(facts, found.profile)
    profile_tables.print_findings(found.warnings, skew, facts)


@app.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """List the profiles that this agent knows, the site's own among them."""
    from agent.cli import profile_tables
    from agent.models.profiles import load_profiles

    profiles = load_profiles()
    if as_json:
        print_json({"profiles": msgspec.to_builtins(profiles)})
        return
    profile_tables.print_profiles(profiles)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Profile by name.")], as_json: AsJson = False
) -> None:
    """Show one profile."""
    from agent.cli import profile_tables
    from agent.models.profiles import load_profiles, named
    from agent.schema.document import to_json

    profile = named(name, load_profiles())
    if as_json:
        typer.echo(to_json(profile).decode())
        return
    profile_tables.print_profile(profile)


@app.command()
def choose(
    manifest: ManifestFile,
    profile: Named = "auto",
    root: Root = REAL_ROOT,
    state: State = STATE,
    as_json: AsJson = False,
) -> None:
    """Rank the variants of a release for this board, with the reason for every verdict.

    Exit status 1: no variant fits.
    """
    from agent.cli import profile_tables
    from agent.host.board import read_facts
    from agent.schema.document import to_json

    release, facts = read_manifest(manifest), read_facts(root)
    board = find_profile(profile, facts)
    choice = choose_here(board, release, facts, state)
    if as_json:
        typer.echo(to_json(choice).decode())
    else:
        profile_tables.print_choice(release, choice)
    if choice.variant is None:
        sys.exit(1)


@app.command()
def measure(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    manifest: ManifestFile,
    models: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of model files.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A model file; repeatable."),
    ] = None,
    profile: Named = "auto",
    seconds: Annotated[float, typer.Option(min=1.0, help="Time for all variants together.")] = 60.0,
    max_temperature: Annotated[
        float | None, typer.Option(help="Degrees Celsius above which it waits; else the profile's.")
    ] = None,
    again: Annotated[bool, typer.Option(help="Measure also what was measured before.")] = False,
    state: State = STATE,
    as_json: AsJson = False,
) -> None:
    """Measure the variants that could run here, keep the results and choose again.

    Exit status 1: no variant fits.
    """
    from agent.cli import profile_measure
    from agent.host.board import read_facts

    facts = read_facts()
    board = find_profile(profile, facts)
    limit_c = board.limits.temperature_c if max_temperature is None else max_temperature
    files = [*(model or ()), *(sorted(path for path in models.iterdir()) if models else ())]
    session = profile_measure.Session(
        board, read_manifest(manifest), facts, [path for path in files if path.is_file()], state
    )
    fits = session.run(seconds, limit_c, again=again, as_json=as_json)
    if not fits:
        sys.exit(1)


@app.command()
def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Profiles; default: all that are read."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check profiles: every fault with file, line, place, expected and found.

    Exit status 78: at least one is wrong.
    """
    from agent.models.lint import lint as check
    from agent.models.profiles import default_folders

    known = [path for folder in default_folders() for path in sorted(folder.glob("*.yaml"))]
    paths = files or known
    faults: list[Fault] = check(paths)
    tell(
        {"profiles": len(paths), "faults": msgspec.to_builtins(faults)},
        *([str(fault) for fault in faults] or [f"{len(paths)} profiles, no fault"]),
        as_json=as_json,
    )
    if faults:
        sys.exit(ConfigError.exit_status)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors."""
    from agent.models.profiles import profile_schema

    typer.echo(profile_schema().decode(), nl=False)


def read_manifest(path: Path) -> Manifest:
    """Read a release's manifest that lies on this machine.

    Raises:
        ConfigError: It cannot be read or is no manifest.
    """
    from agent.schema.document import Malformed, parse_json
    from agent.schema.manifest import Manifest

    try:
        return parse_json(path.read_bytes(), Manifest)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except Malformed as error:
        raise ConfigError(f"{path}: {error}", hint="give a release's manifest.json") from error


def find_profile(name: str, facts: BoardFacts) -> DeviceProfile:
    """Return the named or the recognised profile; doubts are printed to standard error."""
    from agent.models.profiles import examine, load_profiles, named

    profiles = load_profiles()
    if name != "auto":
        return named(name, profiles)
    found = examine(facts, profiles)
    for warning in found.warnings:
        _warn(warning)
    return found.profile


def choose_here(
    profile: DeviceProfile, manifest: Manifest, facts: BoardFacts, state: Path
) -> Choice:
    """Return the choice by what was measured on this device; with a warning without, where that cannot be read."""
    from agent.models import choose as choosing
    from agent.models.measurements import Measurements

    try:
        return Measurements(state).choose(profile, manifest, facts)
    except StorageError as error:
        _warn(f"choosing without measurements: {error}")
        return choosing.choose(profile, manifest, facts)


def _warn(text: str) -> None:
    Console(stderr=True).print(f"warning: {text}", style="yellow", markup=False)
