"""A key pair in a PKCS#11 token, as the token helper sees it. Loads the vendor's library: helper only.

ECDH1_DERIVE (PKCS#11 v2.40, section 2.3.18) with the null KDF gives the x coordinate that HPKE wants. A signer's key signs
by ECDSA (section 2.3.6), which every token has; a key does one of both.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pkcs11
from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import MultipleObjectsReturned, NoSuchKey, PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from agent.errors import ConfigError, KeyUnavailableError
from agent.schema.keystore import Pkcs11KeyConfig
from agent.trust.stores.secret import read_pin

if TYPE_CHECKING:
    from collections.abc import Iterator

SUCCESSOR = ".next"
_OCTET_STRING = b"\x04\x41"  # DER: 65 bytes follow
_SECRET_BITS = 256
_CURVE = encode_named_curve_parameters("secp256r1")

_OTHER_PIN = "give the right one; a PIN file is not tried again before it is written anew"

# Name of the library's exception to stable code and what to do.
_FAULTS = {
    "NoSuchToken": ("key.token_missing", "connect the token, or correct `key.token`"),
    "TokenNotPresent": ("key.token_missing", "connect the token"),
    "TokenNotRecognised": ("key.token_missing", "connect the token"),
    "DeviceRemoved": ("key.token_missing", "connect the token"),
    "SlotIDInvalid": ("key.token_missing", "connect the token"),
    "PinIncorrect": ("key.pin_wrong", _OTHER_PIN),
    "PinInvalid": ("key.pin_wrong", _OTHER_PIN),
    "PinLenRange": ("key.pin_wrong", _OTHER_PIN),
    "PinLocked": ("key.pin_locked", "unlock the token with its SO PIN"),
    "PinExpired": ("key.pin_locked", "set a new PIN"),
    "NoSuchKey": (
        "key.missing",
        "make the key: enrol this device, or vigil release keygen; or correct its label `key`",
    ),
    "KeyFunctionNotPermitted": (
        "key.other_type",
        "keys of devices do not sign; make one: vigil release keygen",
    ),
    "KeyTypeInconsistent": ("key.other_type", "expected an EC key on P-256"),
}


class Pkcs11Token:
    """One token, one session, one key; see `agent.trust.token_helper.Token`.

    Args:
        config: Which.
        pin: Its PIN where a person typed it; read from the file that `config` names unless given.

    Raises:
        KeyUnavailableError: `key.token_missing`, `key.pin_wrong`, `key.pin_locked` or `key.unavailable`.
        ConfigError: The library cannot be loaded, or the PIN file is exposed.
    """

    def __init__(self, config: Pkcs11KeyConfig, pin: str = "") -> None:
        self._config = config
        self._typed_pin = pin
        self._name = f"PKCS#11 token {config.token!r}"
        self._token = self._find_token(config)
        with self._faults():
            self._session: Any = self._token.open(user_pin=self._pin())

    def exists(self) -> bool:
        """Say whether the key is there."""
        with self._faults():
            return self._objects(ObjectClass.PRIVATE_KEY, self._config.key) != []

    def create(self) -> bytes:
        """Make a key pair that never leaves the token, or find the one that is there."""
        if not self.exists():
            with self._faults(), self._writing() as session:
                _generate(session, self._config.key, MechanismFlag.DERIVE)
        return self.public()

    def create_signer(self) -> bytes:
        """Make a key pair that signs and never leaves the token, or find the one that is there."""
        if not self.exists():
            with self._faults():
                self._refuse_other_type(ObjectClass.PRIVATE_KEY)
                with self._writing() as session:
                    _generate(session, self._config.key, MechanismFlag.SIGN | MechanismFlag.VERIFY)
        with self._faults():
            self._signing_key()
        return self.public()

    def sign(self, digest: bytes) -> bytes:
        """Return the ECDSA signature r ‖ s, 64 bytes, of a SHA-256 digest."""
        with self._faults():
            return bytes(self._signing_key().sign(digest, mechanism=Mechanism.ECDSA))

    def public(self) -> bytes:
        """Return the public point, 65 bytes."""
        with self._faults():
            found = self._one(ObjectClass.PUBLIC_KEY)
            point, curve = bytes(found[Attribute.EC_POINT]), bytes(found[Attribute.EC_PARAMS])
        if curve != _CURVE:
            raise self._error(
                "KeyTypeInconsistent", f"key {self._config.key!r} is on another curve"
            )
        return point.removeprefix(_OCTET_STRING) if len(point) > len(_OCTET_STRING) + 64 else point

    def exchange(self, point: bytes) -> bytes:
        """Return the ECDH shared secret, 32 bytes."""
        with self._faults():
            secret = self._one(ObjectClass.PRIVATE_KEY).derive_key(
                KeyType.GENERIC_SECRET,
                _SECRET_BITS,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                template={
                    Attribute.SENSITIVE: False,
                    Attribute.EXTRACTABLE: True,
                    Attribute.TOKEN: False,
                },
            )
            try:
                return bytes(secret[Attribute.VALUE])
            finally:
                secret.destroy()

    def promote(self) -> None:
        """Destroy the key and give its name to the successor."""
        kinds = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        with self._faults(), self._writing():
            for kind in kinds:
                successor = self._objects(kind, self._config.key + SUCCESSOR)
                if successor:
                    for old in self._objects(kind, self._config.key):
                        old.destroy()
                    successor[0][Attribute.LABEL] = self._config.key

    def read_counter(self) -> int:
        """Refuse: PKCS#11 has no counter that survives."""
        raise ConfigError(f"{self._name}: has no rollback counter", code="key.no_counter")

    def raise_counter(self, value: int) -> int:
        """Refuse: PKCS#11 has no counter that survives."""
        del value
        return self.read_counter()

    def _pin(self) -> str:
        return self._typed_pin or read_pin(self._config.pin_file)

    def _find_token(self, config: Pkcs11KeyConfig) -> Any:
        try:
            library = pkcs11.lib(config.module)
        except (RuntimeError, OSError) as error:
            message = f"{config.module}: cannot be loaded as a PKCS#11 library: {error}"
            hint = "install it, or correct `key.module`"
            raise KeyUnavailableError(message, code="key.module", hint=hint) from error
        with self._faults():
            token = library.get_token(token_label=config.token)
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise self._error("PinLocked", "its PIN is locked")
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            message = "one wrong PIN more would lock it, so none is tried"
            raise self._error("PinLocked", message)
        return token

    def _one(self, kind: ObjectClass) -> Any:
        """Return the key's object; the successor's where a power cut fell into `promote`."""
        label = self._config.key
        found = self._objects(kind, label) or self._objects(kind, label + SUCCESSOR)
        if not found:
            self._refuse_other_type(kind)
            raise NoSuchKey(f"no key {label!r}")
        if len(found) > 1:
            raise MultipleObjectsReturned(f"{len(found)} keys {label!r}")
        return found[0]

    def _signing_key(self) -> Any:
        key = self._one(ObjectClass.PRIVATE_KEY)
        if not key[Attribute.SIGN]:
            raise self._error("KeyFunctionNotPermitted", f"key {self._config.key!r} may not sign")
        return key

    def _refuse_other_type(self, kind: ObjectClass) -> None:
        label = self._config.key
        if list(self._session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label})):
            raise self._error("KeyTypeInconsistent", f"key {label!r} is of another type")

    def _objects(self, kind: ObjectClass, label: str) -> list[Any]:
        template = {Attribute.CLASS: kind, Attribute.LABEL: label, Attribute.KEY_TYPE: KeyType.EC}
        return list(self._session.get_objects(template))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """Give a session that may write, in place of the one that may not."""
        pin = self._pin()
        self._session.close()
        self._session = self._token.open(rw=True, user_pin=pin)
        try:
            yield self._session
        finally:
            self._session.close()
            self._session = self._token.open(user_pin=pin)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except PKCS11Error as error:
            raise self._error(type(error).__name__, str(error)) from error

    def _error(self, name: str, text: str) -> KeyUnavailableError:
        code, hint = _FAULTS.get(name, ("key.unavailable", ""))
        message = f"{self._name}: {name}: {text}" if text else f"{self._name}: {name}"
        return KeyUnavailableError(message, code=code, hint=hint)


def _generate(session: Any, label: str, capabilities: MechanismFlag) -> None:
    curve = {Attribute.EC_PARAMS: _CURVE}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    parameters.generate_keypair(
        store=True,
        label=label,
        id=label.encode(),
        capabilities=capabilities,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
