"""Reads what the rules of `agent.doctor.machine` judge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from agent.doctor.findings import from_error, good, problem, unseen, warning
from agent.doctor.machine import (
    ClockSeen,
    DiskSeen,
    PowerSeen,
    judge_clock,
    judge_disk,
    judge_power,
)
from agent.doctor.patient import Patient
from agent.errors import StorageError, VigilError
from agent.host.board import read_facts
from agent.host.clock import is_synchronised, wall_ms
from agent.host.sensors import temperature_c
from agent.host.storage_health import storage_health
from agent.host.throttling import throttling
from agent.models.profiles import load_profiles, named, recognise
from agent.models.skew import find_skew
from agent.schema.doctor import Finding
from agent.trust.floor import Floor

_REAL_ROOT = Path("/")


def look_at_disk(patient: Patient) -> Iterator[Finding]:
    """Judge the disk under the state folder."""
    folder = patient.folder
    try:
        figures = os.statvfs(folder)
        health = storage_health(folder, patient.root)
    except OSError as error:
        yield _no_state_folder(folder, error)
        return
    yield from judge_disk(
        DiskSeen(
            folder=str(folder),
            free_mb=figures.f_bavail * figures.f_frsize // 2**20,
            read_only=bool(figures.f_flag & os.ST_RDONLY),
            device=health.device,
            free_files=figures.f_favail if figures.f_files else None,
            life_percent=health.life_percent,
            pre_eol=health.pre_eol,
            errors=health.errors,
        )
    )


def _no_state_folder(folder: Path, error: OSError) -> Finding:
    if isinstance(error, PermissionError):
        return unseen("disk.space", f"{folder}: {error.strerror}", "sudo -u vigil vigil doctor")
    return problem(
        "disk.space",
        "disk.no_folder",
        f"{folder}: {error.strerror}",
        "models, keys and events have no place, so that the agent does not start",
        f"sudo install -d -o vigil -g vigil -m 700 {folder}",
    )


def look_at_clock(patient: Patient) -> Iterator[Finding]:
    """Judge clock, time zone and journal; a damaged rollback floor shows here first."""
    root, floor_s = patient.root, 0
    path = patient.folder / "floor"
    try:
        floor_s = Floor(path).time_s
        yield good("floor", "the rollback floor is whole")
    except StorageError as error:
        why = "without it no update is accepted: an old, broken release could come back"
        yield from_error("floor", error, why, f"restore {path} from a backup, or enrol anew")
    yield from judge_clock(
        ClockSeen(
            now_s=wall_ms() // 1000,
            synchronised=_synchronised(root),
            floor_s=floor_s,
            zone=_zone(root),
            journal_kept=_journal_kept(root),
        )
    )


def _synchronised(root: Path) -> bool | None:
    if (root / "run/systemd/timesync/synchronized").exists():
        return True
    return is_synchronised() if root == _REAL_ROOT else None


def _zone(root: Path) -> str:
    link = root / "etc/localtime"
    named_zone = str(link.readlink()).partition("zoneinfo/")[2] if link.is_symlink() else ""
    return named_zone or ("a zone without a name" if link.exists() else "")


def _journal_kept(root: Path) -> bool | None:
    if (root / "var/log/journal").is_dir():
        return True
    return False if (root / "run/log/journal").is_dir() else None


def look_at_board(patient: Patient) -> Iterator[Finding]:
    """Judge power and heat, and versions that do not go together."""
    facts = read_facts(patient.root)
    limit_c = None
    try:
        profiles, wanted = load_profiles(), patient.config.profile
        profile = recognise(facts, profiles) if wanted == "auto" else named(wanted, profiles)
        limit_c = profile.limits.temperature_c
        yield good("board", f"{facts.model}: profile {profile.name}")
    except VigilError as error:
        yield from_error("board", error, "the agent does not start", "vigil profile list")
    yield from judge_power(
        PowerSeen(throttling(patient.root), temperature_c(patient.root), limit_c)
    )
    if not facts.backends:
        yield problem(
            "software",
            "software.no_runtime",
            "no inference runtime is installed",
            "no model can be loaded",
            "install one into the agent's environment: /opt/vigil/a/bin/pip install onnxruntime",
        )
    skews = find_skew(facts)
    for skew in skews:
        why = "a runtime then fails, or silently runs on the CPU"
        yield warning("software", skew.code, skew.problem, why, skew.fix)
    for sensor in facts.unreadable:
        yield warning(
            "board.sensors",
            "board.unreadable",
            sensor,
            "the governor does not see heat there",
            "look at it: cat /sys/class/thermal/thermal_zone*/temp; a defective board shows it",
        )
    if facts.backends and not skews:
        found = ", ".join(f"{name.value} {version}" for name, version in facts.backends.items())
        yield good("software", f"Python {facts.software.python or 'unknown'}, {found}")
