"""Identity and state files: who may read and write them. `judge` is pure, `look_at_files` reads modes and owners."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.doctor.findings import good, problem, unseen, warning
from agent.doctor.patient import Patient
from agent.schema.doctor import Finding
from agent.schema.keystore import FileKeyConfig, Pkcs11KeyConfig, Tpm2KeyConfig, key_config

_READABLE = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class FileSeen:
    """One file.

    Attributes:
        what: What it is, for people.
        is_secret: Whether nobody but its owner may read it.
        mode: Permission bits; None where it is missing.
        owner: Numeric user; `expected_owner` is whose everything here should be.
        hidden: Why it could not be looked at.
    """

    what: str
    path: str
    is_secret: bool
    mode: int | None
    owner: int = 0
    expected_owner: int = 0
    hidden: str = ""


def judge(seen: FileSeen) -> Finding:
    """Say whether a file is there, kept from strangers and readable by the agent."""
    check = f"files.{Path(seen.path).name}"
    if seen.hidden:
        return unseen(check, f"{seen.path}: {seen.hidden}", "sudo -u vigil vigil doctor")
    if seen.mode is None:
        return problem(
            check,
            "files.missing",
            f"{seen.what} {seen.path} is missing",
            "without it the agent does not start or does not connect",
            "enrol the device again, or restore it: vigil enroll --help",
        )
    if seen.owner not in {seen.expected_owner, 0}:
        return problem(
            check,
            "files.owner",
            f"{seen.what} {seen.path} belongs to user {seen.owner}, the state to {seen.expected_owner}",
            "the agent cannot read or replace it, or somebody else can",
            f"sudo chown --reference={Path(seen.path).parent} {seen.path}",
        )
    if seen.is_secret and seen.mode & _READABLE:
        return problem(
            check,
            "files.exposed",
            f"{seen.what} {seen.path} has mode {seen.mode:04o}: others may read it",
            "whoever reads it can act as this device; the agent refuses such a device key",
            f"chmod 600 {seen.path}; if others were on this machine, enrol the device anew",
        )
    if seen.mode & _WRITABLE:
        return warning(
            check,
            "files.writable",
            f"{seen.what} {seen.path} has mode {seen.mode:04o}: others may change it",
            "whoever may write there decides what the agent trusts",
            f"chmod go-w {seen.path}",
        )
    return good(check, f"{seen.what} {seen.path} has mode {seen.mode:04o}")


def look_at_files(patient: Patient) -> Iterator[Finding]:
    """Judge what the configuration names, and the state folder."""
    expected = _owner(patient.folder)
    for what, path, is_secret in _named(patient):
        yield judge(_see(what, Path(path), expected, is_secret=is_secret))
    is_own = patient.folder.exists() and os.geteuid() == expected
    if is_own and not os.access(patient.folder, os.W_OK):
        yield problem(
            "files.state",
            "files.state_not_writable",
            f"{patient.folder} cannot be written by its own user",
            "the agent does not start, or keeps nothing",
            f"chmod u+rwx {patient.folder}",
        )


def _named(patient: Patient) -> Iterator[tuple[str, str, bool]]:
    config = patient.config
    yield "state folder", config.state_dir, False
    yield "trust root", config.trust_root, False
    key = key_config(config.key)
    if isinstance(key, FileKeyConfig):
        yield "device key", key.path, True
    elif isinstance(key, Tpm2KeyConfig):
        yield "wrapped device key", key.blob, True
    elif isinstance(key, Pkcs11KeyConfig) and "/" in key.pin_file:
        yield "token PIN", key.pin_file, True
    if config.broker.tls is not None:
        yield "broker's authority", config.broker.tls.ca, False
        yield "certificate", config.broker.tls.cert, False
        yield "TLS key", config.broker.tls.key, True
    if config.console.token_file:
        yield "console's secret", config.console.token_file, True


def _see(what: str, path: Path, expected: int, *, is_secret: bool) -> FileSeen:
    try:
        found = path.stat()
    except FileNotFoundError:
        return FileSeen(what, str(path), is_secret, None)
    except OSError as error:
        return FileSeen(what, str(path), is_secret, 0, hidden=error.strerror or "not readable")
    mode = stat.S_IMODE(found.st_mode)
    return FileSeen(what, str(path), is_secret, mode, found.st_uid, expected)


def _owner(folder: Path) -> int:
    try:
        return folder.stat().st_uid
    except OSError:
        return os.geteuid()
