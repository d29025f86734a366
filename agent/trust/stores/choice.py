"""Which key store a new device gets: the one it is told, or the best that is there.

TPM 2.0, then a PKCS#11 token that is named, then a systemd credential, then a file. Pure but for `read_facts`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.errors import ConfigError
from agent.schema.document import ready
from agent.schema.keystore import (
    CredentialKeyConfig,
    FileKeyConfig,
    KeyConfig,
    Pkcs11KeyConfig,
    PluginKeyConfig,
    Tpm2KeyConfig,
)

_Config = TypeVar("_Config", bound=KeyConfig)
AUTO = "auto"
_KINDS: dict[str, type[KeyConfig]] = {
    "tpm2": Tpm2KeyConfig,
    "pkcs11": Pkcs11KeyConfig,
    "credential": CredentialKeyConfig,
    "file": FileKeyConfig,
    "plugin": PluginKeyConfig,
}
_TOKEN_OPTIONS = {"module", "token", "pin_file"}


@dataclass(frozen=True)
class StoreFacts:
    """What this machine offers: a TPM, PKCS#11 for Python, credentials that this user can encrypt."""

    tpm: bool = False
    pkcs11: bool = False
    credentials: bool = False


def read_facts(root: Path = Path("/")) -> StoreFacts:
    """Look at the machine whose file system is at `root`."""
    tpm = root / "dev/tpmrm0"
    return StoreFacts(
        tpm=os.access(tpm, os.R_OK | os.W_OK) and _is_installed("tpm2_pytss"),
        pkcs11=_is_installed("pkcs11"),
        credentials=(root / "run/systemd/system").is_dir()
        and os.geteuid() == 0
        and shutil.which("systemd-creds") is not None,
    )


def choose_store(name: str, options: Mapping[str, str], facts: StoreFacts) -> KeyConfig:
    """Return the key store `name`, or the best one for `auto`, with these options.

    Raises:
        ConfigError: No such store, or an option that it does not have.
    """
    if name == AUTO:
        name = _best(options, facts)
        known = _KINDS[name].__struct_fields__
        options = {key: value for key, value in options.items() if key in known}
    if name not in _KINDS:
        expected = ", ".join((AUTO, *_KINDS))
        raise ConfigError(f"key store: expected one of {expected}, found {name!r}")
    return _config(name, _KINDS[name], options)


def signer_token(options: Mapping[str, str]) -> Pkcs11KeyConfig:
    """Return the token of a signer's key.

    Raises:
        ConfigError: An option is missing, unknown or malformed.
    """
    return _config("pkcs11", Pkcs11KeyConfig, options)


def _config(name: str, kind: type[_Config], options: Mapping[str, str]) -> _Config:
    try:
        return msgspec.convert({"store": name, **options}, ready(kind), strict=False)
    except msgspec.ValidationError as error:
        message = f"key store {name}: {error}"
        hint = f"its options are {', '.join(kind.__struct_fields__)}"
        raise ConfigError(message, hint=hint) from error


def _best(options: Mapping[str, str], facts: StoreFacts) -> str:
    if facts.tpm:
        return "tpm2"
    if facts.pkcs11 and options.keys() >= _TOKEN_OPTIONS:
        return "pkcs11"
    return "credential" if facts.credentials else "file"


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
