"""One public key under two key ids does not make two signers."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Root, Targets

from agent.errors import TrustError
from agent.trust.metadata import refuse_repeated_keys

ONE = CryptoSigner(ed25519.Ed25519PrivateKey.generate()).public_key
TWO = CryptoSigner(ec.generate_private_key(ec.SECP256R1())).public_key


def renamed(key: SSlibKey, keyid: str = "another-id", scheme: str = "") -> SSlibKey:
    return SSlibKey(keyid, key.keytype, scheme or key.scheme, dict(key.keyval))


def root(*keys: SSlibKey) -> Root:
    made = Root()
    for key in keys:
        made.add_key(key, "targets")
    return made


def targets(*keys: SSlibKey) -> Targets:
    role = DelegatedRole("shop", [key.keyid for key in keys], 1, terminating=True, paths=["*"])
    return Targets(delegations=Delegations({key.keyid: key for key in keys}, {"shop": role}))


def test_different_keys_are_accepted() -> None:
    refuse_repeated_keys(root(ONE, TWO))
    refuse_repeated_keys(targets(ONE, TWO))
    refuse_repeated_keys(Targets())


@pytest.mark.parametrize("key", [ONE, TWO], ids=["ed25519", "p-256"])
@pytest.mark.parametrize("kind", [root, targets])
def test_one_key_under_two_ids_is_refused(key: SSlibKey, kind: type) -> None:
    with pytest.raises(TrustError) as caught:
        refuse_repeated_keys(kind(key, renamed(key)))
    assert caught.value.code == "trust.repeated_key"


def test_another_spelling_of_the_same_key_is_refused() -> None:
    upper = renamed(ONE)
    upper.keyval["public"] = upper.keyval["public"].upper()
    text = renamed(TWO, "third")
    text.keyval["public"] = "\n" + text.keyval["public"] + "\n\n"
    for signed in (root(ONE, upper), root(TWO, text)):
        with pytest.raises(TrustError) as caught:
            refuse_repeated_keys(signed)
        assert caught.value.code == "trust.repeated_key"


def test_a_key_that_cannot_be_read_is_refused() -> None:
    for keyval in ("zz", "", "00"):
        broken = renamed(ONE)
        broken.keyval["public"] = keyval
        with pytest.raises(TrustError) as caught:
            refuse_repeated_keys(root(broken))
        assert caught.value.code == "trust.malformed"
