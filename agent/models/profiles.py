"""Device profiles: reading them, and finding the one that fits this board.

Folders are searched in order and the first profile of a name wins, so that a site's file in
`/etc/vigil/profiles.d` replaces the packaged one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.errors import ConfigError
from agent.schema.document import config_from_yaml
from agent.schema.profile import PROFILE_SCHEMA, DeviceProfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.schema.profile import BoardFacts

SITE_FOLDER = Path("/etc/vigil/profiles.d")
_PACKAGE = Path(__file__).resolve().parent.parent
_HOW_TO_ADD = (
    "to describe the board, copy the nearest file of device_profiles/ to /etc/vigil/profiles.d,"
    " put the board's names under `match.compatible`, and run `vigil profile lint`"
)


@dataclass(frozen=True)
class Recognition:
    """The profile of a board, and what a person should know about how it was found."""

    profile: DeviceProfile
    warnings: tuple[str, ...]


def default_folders() -> tuple[Path, ...]:
    """Return the site's folder, then the packaged profiles or, in a checkout, the repository's."""
    packaged = _PACKAGE / "device_profiles"
    return SITE_FOLDER, packaged if packaged.is_dir() else _PACKAGE.parent / "device_profiles"


def load_profiles(folders: Sequence[Path] | None = None) -> list[DeviceProfile]:
    """Read every `*.yaml` in `folders` (default: `default_folders()`), sorted by name.

    Raises:
        ConfigError: A file is wrong (naming file, place, expected and found), or two files of one folder
            describe the same board.
    """
    profiles: dict[str, DeviceProfile] = {}
    for folder in default_folders() if folders is None else folders:
        for name, profile in _load_folder(folder).items():
            profiles.setdefault(name, profile)
    return [profiles[name] for name in sorted(profiles)]


def recognise(facts: BoardFacts, profiles: Iterable[DeviceProfile]) -> DeviceProfile:
    """Return the profile that matches this board; the most specific one where several do.

    Raises:
        ConfigError: None matches (`profile.unknown`).
    """
    return examine(facts, profiles).profile


def examine(facts: BoardFacts, profiles: Iterable[DeviceProfile]) -> Recognition:
    """Return the profile that matches this board, with a warning where it is a guess.

    The greatest rank wins, then whoever asks for more kinds of fact, then the last name: the same board
    always gets the same profile.

    Raises:
        ConfigError: None matches (`profile.unknown`).
    """
    matching = sorted((each for each in profiles if _matches(each, facts)), key=_specificity)
    shown = ", ".join(facts.compatible) or facts.model
    if not matching:
        message = f"no device profile fits this board: {facts.architecture}, {shown}"
        raise ConfigError(message, code="profile.unknown", hint=f"name one, or {_HOW_TO_ADD}")
    best = matching[-1]
    return Recognition(best, tuple(_doubts(best, matching[:-1], shown, facts)))


def named(name: str, profiles: Iterable[DeviceProfile]) -> DeviceProfile:
    """Return the profile with this name.

    Raises:
        ConfigError: There is none; the message lists those there are (`profile.unknown`).
    """
    by_name = {profile.name: profile for profile in profiles}
    if name not in by_name:
        known = ", ".join(sorted(by_name)) or "none"
        message = f"device profile: expected one of {known}, found {name!r}"
        raise ConfigError(message, code="profile.unknown", hint="or `auto` to recognise the board")
    return by_name[name]


def profile_schema() -> bytes:
    """Return the JSON Schema of a profile, for editors; `device_profiles/profile.schema.json` is this."""
    schema = msgspec.json.schema(DeviceProfile)
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


def _doubts(
    best: DeviceProfile, others: Sequence[DeviceProfile], shown: str, facts: BoardFacts
) -> list[str]:
    doubts = []
    match = best.match
    if not (match.compatible or match.accelerator) and facts.compatible:
        doubts.append(
            f"no profile knows this board ({shown}): {best.name} is a cautious guess; {_HOW_TO_ADD}"
        )
    equal = [other.name for other in others if other.match.rank == match.rank]
    if equal:
        doubts.append(
            f"{best.name} was chosen, but {', '.join(equal)} of the same rank matches too:"
            " give one of them a greater `match.rank`, or name one in `profile:`"
        )
    return doubts


def _load_folder(folder: Path) -> dict[str, DeviceProfile]:
    result: dict[str, DeviceProfile] = {}
    for path in sorted(folder.glob("*.yaml")):
        profile = _load_file(path)
        if profile.name in result:
            raise ConfigError(f"{path}: expected one file per board, found {profile.name!r} again")
        result[profile.name] = profile
    return result


def _load_file(path: Path) -> DeviceProfile:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    profile = config_from_yaml(text, DeviceProfile, str(path))
    if profile.schema != PROFILE_SCHEMA:
        message = f"{path}: at $.schema: expected {PROFILE_SCHEMA}, found {profile.schema}"
        raise ConfigError(message, hint="use the profile of this agent's version")
    return profile


def _matches(profile: DeviceProfile, facts: BoardFacts) -> bool:
    match = profile.match
    return (
        (not match.compatible or not set(match.compatible).isdisjoint(facts.compatible))
        and (not match.architecture or facts.architecture in match.architecture)
        and (not match.power_mode or facts.power_mode in match.power_mode)
        and all(facts.accelerators.get(name, False) == on for name, on in match.accelerator.items())
    )


def _specificity(profile: DeviceProfile) -> tuple[int, int, str]:
    """Return what ranks matching profiles: their rank, then how many kinds of fact they ask for."""
    match = profile.match
    kinds = (match.compatible, match.architecture, match.accelerator, match.power_mode)
    return match.rank, sum(map(bool, kinds)), profile.name
