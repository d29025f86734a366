"""Device keys in a PKCS#11 token or a TPM 2.0: everything happens in the token helper."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from agent.errors import ConfigError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.keystore import Pkcs11KeyConfig, Tpm2KeyConfig
from agent.trust.stores.token_client import HelperKey, TokenHelper
from agent.trust.token_messages import Create, Exists, Promote, RaiseCounter, ReadCounter

SUCCESSOR = ".next"


class Pkcs11Store:
    """See `agent.trust.stores.KeyStore`.

    Raises:
        ConfigError: `key.no_pin_file`; nobody sits at a device to be asked for the PIN.
    """

    def __init__(self, config: Pkcs11KeyConfig, disk: Disk = REAL_DISK) -> None:
        if not config.pin_file:
            message = f"key store pkcs11: token {config.token!r}: expected pin_file, found none"
            hint = "name a file of mode 0600, or credential:NAME"
            raise ConfigError(message, code="key.no_pin_file", hint=hint)
        self._config = config
        self._disk = disk
        self.helper = TokenHelper(config)

    def exists(self) -> bool:
        """Ask the token whether it has the key."""
        return bool(self.helper.ask(Exists()).number)

    def create(self) -> HelperKey:
        """Make the key pair in the token, or find the one that is there."""
        self.helper.ask(Create())
        return self.open()

    def open(self) -> HelperKey:
        """Return the key; the token is reached when it is used."""
        return HelperKey(self.helper)

    def successor(self) -> Pkcs11Store:
        """Return the store of the key pair with this label and `.next` behind."""
        return Pkcs11Store(replace(self._config, key=f"{self._config.key}{SUCCESSOR}"), self._disk)

    def promote(self) -> None:
        """Destroy the key and give its label to the successor."""
        self.helper.ask(Promote())


class Tpm2Store:
    """See `agent.trust.stores.KeyStore`."""

    def __init__(self, config: Tpm2KeyConfig, disk: Disk = REAL_DISK) -> None:
        self._config = config
        self._disk = disk
        self.helper = TokenHelper(config)

    def exists(self) -> bool:
        """Say whether the wrapped key is there; asks no TPM."""
        return self._disk.exists(Path(self._config.blob))

    def create(self) -> HelperKey:
        """Make the key in the TPM, or find the one that is there."""
        self.helper.ask(Create())
        return self.open()

    def open(self) -> HelperKey:
        """Return the key; the TPM is reached when it is used."""
        return HelperKey(self.helper)

    def successor(self) -> Tpm2Store:
        """Return the store of the wrapped key beside this one."""
        return Tpm2Store(replace(self._config, blob=f"{self._config.blob}{SUCCESSOR}"), self._disk)

    def promote(self) -> None:
        """Put the successor's wrapped form in the key's place."""
        self.helper.ask(Promote())
        self.helper.stop()

    @property
    def counter(self) -> TpmCounter | None:
        """The TPM's rollback counter, None where `floor_index` names none."""
        return None if self._config.floor_index is None else TpmCounter(self.helper)


class TpmCounter:
    """See `agent.trust.floor.NvCounter`."""

    def __init__(self, helper: TokenHelper) -> None:
        self._helper = helper

    def read(self) -> int:
        """Return the counter, 0 before it was ever raised."""
        return self._helper.ask(ReadCounter()).number

    def raise_to(self, value: int) -> int:
        """Raise the counter towards `value`; return what it is now."""
        return self._helper.ask(RaiseCounter(value=value)).number
