"""Where a device's private key lives, as the operator's file says it (`key:`).

A plain string is the path of a key file. Otherwise `store` names the kind:

```yaml
key: {store: file, path: identity/device.key, kem: x-wing}
key: {store: credential, name: vigil-device-key}
key: {store: pkcs11, module: /usr/lib/libckteec.so.0, token: vigil, pin_file: identity/pin}
key: {store: tpm2, blob: identity/device.tpm}
```
Relative paths are relative to the file they stand in. `pin_file` may be `credential:<name>`, a systemd credential.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import replace

from agent.schema.values import Struct

CREDENTIAL_PREFIX = "credential:"
_PATHS = ("path", "encrypted", "pin_file", "blob")
# Owner indices, TCG "Registry of Reserved TPM 2.0 Handles and Localities", section 2.2; two are used.
FloorIndex = Annotated[int, msgspec.Meta(ge=0x01500000, le=0x017FFFFE)]
CredentialName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$(?!\n)")]
Label = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,32}$(?!\n)")]
Place = Annotated[str, msgspec.Meta(min_length=1)]


class Kem(str, enum.Enum):
    """How model keys are wrapped to the device key.

    X-Wing adds ML-KEM-768 (FIPS 203) to X25519, so that grants recorded today stay closed to a later quantum computer; only
    software keys can be of this kind.
    """

    P256 = "p256"
    X_WING = "x-wing"


class FileKeyConfig(Struct, tag="file", tag_field="store"):
    """A PEM file that only its owner may read."""

    path: Place = "identity/device.key"
    kem: Kem = Kem.P256


class CredentialKeyConfig(Struct, tag="credential", tag_field="store"):
    """A systemd credential of the unit; `encrypted` is the file that `LoadCredentialEncrypted=` names."""

    name: CredentialName = "vigil-device-key"
    encrypted: Place = "/etc/credstore.encrypted/vigil-device-key"
    kem: Kem = Kem.P256


class Pkcs11KeyConfig(Struct, tag="pkcs11", tag_field="store"):
    """A key pair in a PKCS#11 token: vendor library, token label, key label, file with the PIN.

    Attributes:
        pin_file: Empty where a person is asked at a terminal, which only a signer's key allows.
    """

    module: Place
    token: Label
    pin_file: str = ""
    key: Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,24}$(?!\n)")] = "vigil-device-key"


class Tpm2KeyConfig(Struct, tag="tpm2", tag_field="store"):
    """A key that only this board's TPM 2.0 can load.

    Attributes:
        blob: The key, wrapped by the TPM; worthless anywhere else.
        tcti: How the TPM is reached, as tpm2-tss writes it.
        pin_file: The key's own secret; empty for none.
        floor_index: NV index of the rollback floor's counter, the next one belongs to it too; null for none.
    """

    blob: Place = "identity/device.tpm"
    tcti: Place = "device:/dev/tpmrm0"
    pin_file: str = ""
    floor_index: FloorIndex | None = 0x01500016


class PluginKeyConfig(Struct, tag="plugin", tag_field="store"):
    """A third party's store: `name` is its entry point in the group `vigil.key_stores`."""

    name: str
    options: dict[str, Any] = {}


TokenConfig = Pkcs11KeyConfig | Tpm2KeyConfig
KeyConfig = FileKeyConfig | CredentialKeyConfig | Pkcs11KeyConfig | Tpm2KeyConfig | PluginKeyConfig
_Located = TypeVar("_Located", bound=KeyConfig)


def key_config(value: str | KeyConfig) -> KeyConfig:
    """Return the store that `key:` means; a string is the path of a key file."""
    return FileKeyConfig(path=value) if isinstance(value, str) else value


def store_name(config: KeyConfig) -> str:
    """Return the name of the store, as in `store:`; a plug-in's own name."""
    return config.name if isinstance(config, PluginKeyConfig) else str(config.__struct_config__.tag)


def located(config: _Located, folder: Path) -> _Located:
    """Return `config` with every path absolute, relative ones taken from `folder`."""
    found = {name: getattr(config, name, "") for name in _PATHS}
    changed = {
        name: str(folder / path)
        for name, path in found.items()
        if path and not path.startswith(CREDENTIAL_PREFIX)
    }
    return replace(config, **changed)
