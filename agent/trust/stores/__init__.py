"""Key stores: where the device's private key lives. One table; third parties add theirs by entry point.

A store makes, opens and replaces one key. Opening a software key reads it at once; a token's key is reached
when it is used, so that an agent whose token is gone still runs and says so.

Example:
    >>> store = key_store(located(key_config("identity/device.key"), Path("/etc/vigil")))
    >>> key = store.open()
"""

from __future__ import annotations

from typing import Protocol

from agent.host.disk import REAL_DISK, Disk
from agent.host.plugins import load_plugin
from agent.schema.keystore import KeyConfig, store_name
from agent.trust.floor import NvCounter
from agent.trust.hybrid import AnyDeviceKey

GROUP = "vigil.key_stores"
STORES = {
    "file": "agent.trust.stores.file:FileStore",
    "credential": "agent.trust.stores.credential:CredentialStore",
    "pkcs11": "agent.trust.stores.token:Pkcs11Store",
    "tpm2": "agent.trust.stores.token:Tpm2Store",
}


class KeyStore(Protocol):
    """The place of one device key.

    Every method raises `KeyUnavailableError` where the store cannot be used now, `ConfigError` where what
    it holds is exposed or malformed, and `StorageError` where it cannot be written.
    """

    def exists(self) -> bool:
        """Say whether the key is there."""

    def create(self) -> AnyDeviceKey:
        """Make the key, or find the one that is there."""

    def open(self) -> AnyDeviceKey:
        """Return the key."""

    def successor(self) -> KeyStore:
        """Return the place of the key that is to follow this one."""

    def promote(self) -> None:
        """Put the successor, if there is one, in this place; the key before is destroyed."""


def floor_counter(store: KeyStore) -> NvCounter | None:
    """Return the rollback counter that a store has beside its key, None where it has none."""
    return getattr(store, "counter", None)


def key_store(config: KeyConfig, disk: Disk = REAL_DISK) -> KeyStore:
    """Return the store that `config` (with absolute paths) names.

    Raises:
        ConfigError: No such store, or the package it needs is not installed.
    """
    store: KeyStore = load_plugin(STORES, store_name(config), GROUP)(config, disk)
    return store
