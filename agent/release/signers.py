"""Signer keys: Ed25519 or P-256 in PEM files, or P-256 in a PKCS#11 token; in a folder per role.

A folder holds `<name>.key` (mode 0600) and `<name>.pub` (public key, PEM). The private file stays with its owner; the public one is
all that others need. It is PKCS#8, or says in which token the key is, as the `key:` of a device does:

    {store: pkcs11, module: /usr/lib/libykcs11.so, token: ada, pin_file: ada.pin, key: release-ada}

Without `pin_file` the PIN is asked for at the terminal.

Role folders have the names of the TUF roles they sign for, see `agent.release.charter`.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from agent.errors import ConfigError, KeyUnavailableError, StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.release.token_signer import TokenSigner
from agent.schema.document import config_from_yaml, to_yaml
from agent.schema.keystore import Pkcs11KeyConfig, located

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_PEM_LIMIT = 16 * 1024
_PEM_START, _PUBLIC_START = b"-----BEGIN", b"-----BEGIN PUBLIC KEY"
# Of a person and of a file: letters of any script, no separators, nothing hidden.
_NAME = re.compile(r"\w[\w.@+-]{0,62}")


def generate(
    folder: Path, name: str, disk: Disk = REAL_DISK, *, p256: bool = False
) -> CryptoSigner:
    """Create the key pair `name` in `folder`, Ed25519 or ECDSA on P-256, and return its signer.

    Raises:
        ConfigError: A key of that name is there already; keys are never overwritten.
        StorageError: The folder cannot be written.
    """
    private_path, public_path = _new_paths(folder, name, disk)
    key = ec.generate_private_key(ec.SECP256R1()) if p256 else Ed25519PrivateKey.generate()
    disk.write_atomic(private_path, _private_pem(key))
    try:
        disk.write_atomic(public_path, public_pem(key.public_key()).encode(), mode=0o644)
    except StorageError:
        disk.remove(private_path)  # half a pair would stand in the way of the next try
        raise
    return CryptoSigner(key)


def generate_in_token(
    folder: Path, name: str, config: Pkcs11KeyConfig, disk: Disk = REAL_DISK
) -> TokenSigner:
    """Create the key pair `name` in a token, or take the one of that label; return its signer.

    Args:
        folder: Where `<name>.key`, which says where the key is, and `<name>.pub` go.
        name: Whose key it is.
        config: The token, with absolute paths.
        disk: Where to write.

    Raises:
        ConfigError: A key of that name is there already, or the PIN's file is exposed.
        KeyUnavailableError: The token cannot be used: not there, wrong PIN, a key of another type.
        StorageError: The folder cannot be written.
    """
    private_path, public_path = _new_paths(folder, name, disk)
    signer = TokenSigner.create(config)
    where = {name: value for name, value in msgspec.to_builtins(config).items() if value}
    disk.write_atomic(private_path, to_yaml(where).encode())
    disk.write_atomic(public_path, public_pem(signer.crypto_key).encode(), mode=0o644)
    return signer


def load_signer(path: Path, disk: Disk = REAL_DISK) -> Signer:
    """Load the private key at `path`, or find the token that it names.

    Raises:
        ConfigError: Others may read the file, or it is neither an Ed25519 or P-256 key nor names a token.
        KeyUnavailableError: The file cannot be read, or the token not be used.
    """
    try:
        data = disk.read(path, _PEM_LIMIT)
        mode = stat.S_IMODE(path.stat().st_mode)
    except (StorageError, OSError) as error:
        raise KeyUnavailableError(f"signer key: {error}", hint="check the path") from error
    if data.startswith(_PUBLIC_START):
        hint = f"sign with the private one, {path.with_suffix('.key')}"
        raise ConfigError(f"{path}: a public key, expected a private one", hint=hint)
    if mode & 0o077:
        hint = f"chmod 600 {path}, and replace the key if somebody may have read it"
        raise ConfigError(f"{path}: expected mode 0600, found {mode:04o}", hint=hint)
    if data.startswith(_PEM_START):
        return CryptoSigner(_private_key(data, path))
    config = config_from_yaml(data.decode(errors="replace"), Pkcs11KeyConfig, str(path))
    return TokenSigner(located(config, path.resolve().parent))


def load_signers(folder: Path, disk: Disk = REAL_DISK) -> dict[str, Signer]:
    """Load every private key of `folder`, by name.

    Raises:
        ConfigError: A file is no usable key, or there is none.
    """
    paths = [path for path in disk.list(folder) if path.suffix == ".key"]
    if not paths:
        hint = f"make one: vigil release keygen {folder.name} NAME"
        raise ConfigError(f"{folder}: expected signer keys (*.key), found none", hint=hint)
    return {path.stem: load_signer(path, disk) for path in paths}


def load_public(path: Path, disk: Disk = REAL_DISK) -> SSlibKey:
    """Load the public key at `path`.

    Raises:
        ConfigError: It is no public key of Ed25519 or P-256 in PEM.
    """
    try:
        key = serialization.load_pem_public_key(disk.read(path, _PEM_LIMIT))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: expected a public key in PEM, found {error}") from error
    if not (_is_on_p256(key) or isinstance(key, Ed25519PublicKey)):
        raise ConfigError(f"{path}: expected an Ed25519 or P-256 key, found {type(key).__name__}")
    return SSlibKey.from_crypto(key)


def load_publics(folder: Path, disk: Disk = REAL_DISK) -> dict[str, SSlibKey]:
    """Load every public key of `folder`, by name.

    Raises:
        ConfigError: A file is no usable key, or there is none.
    """
    paths = [path for path in disk.list(folder) if path.suffix == ".pub"]
    if not paths:
        hint = f"make one: vigil release keygen {folder.name} NAME"
        raise ConfigError(f"{folder}: expected public keys (*.pub), found none", hint=hint)
    return {path.stem: load_public(path, disk) for path in paths}


def public_pem(key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    """Return a public key as PEM, the form in which a command policy lists it."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form).decode()


def _new_paths(folder: Path, name: str, disk: Disk) -> tuple[Path, Path]:
    """Return where a new key pair goes; keys are never overwritten, and lie in their folder and not beside it."""
    if not _NAME.fullmatch(name):
        message = f"key {name[:80]!r}: expected a name of letters, digits and . _ - + @"
        raise ConfigError(message, hint="for example the person's first name")
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    if disk.exists(private_path) or disk.exists(public_path):
        raise ConfigError(f"{private_path}: the key exists already", hint="choose another name")
    disk.make_dirs(folder)
    return private_path, public_path


def _is_on_p256(key: object) -> bool:
    kinds = (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)
    return isinstance(key, kinds) and isinstance(key.curve, ec.SECP256R1)


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_key(data: bytes, path: Path) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: expected a private key in PEM, found {error}") from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and _is_on_p256(key):
        return key
    raise ConfigError(f"{path}: expected an Ed25519 or P-256 key, found {type(key).__name__}")
