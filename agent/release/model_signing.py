"""Signatures of a release for those who have OpenSSF's `model-signing` and not Vigil (no I/O).

A bundle is a Sigstore bundle v0.3 with a DSSE envelope round an in-toto statement that names every file of a release folder by SHA-256. Who
approves a release with a P-256 key makes one for each release that is new in the document, from what the document lists. Bundles ride in
the staged document, outside of what is signed, so that one file still carries all of an approval; published they are files.

Formats: OpenSSF Model Signing specification v1.0; Sigstore bundle v0.3 (protobuf-specs, sigstore_bundle.proto); in-toto Statement v1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Targets

from agent.errors import TrustError
from agent.release.attest_format import STATEMENT_TYPE
from agent.schema.document import trusted_json
from agent.schema.manifest import MANIFEST_FILE
from agent.schema.values import Sha256, Struct
from agent.trust.envelope import open_envelope, sign_envelope

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SCHEME = "ecdsa-sha2-nistp256"
FIELD = "x-vigil-model-signing"
LIMIT = 1 << 20  # bytes of a bundle
_SHOWN_DIGITS = 12


class PublicKeyHint(Struct):
    """SHA-256 of the public key in PEM, by which the tool knows it."""

    hint: Sha256


class Material(Struct, rename="camel"):
    """What verifies the signature: a key that the reader has."""

    public_key: PublicKeyHint
    tlog_entries: list[msgspec.Raw] = msgspec.field(default_factory=list)


class Bundle(Struct, rename="camel"):
    """Sigstore bundle; the envelope is DSSE in JSON."""

    media_type: str
    verification_material: Material
    dsse_envelope: dict[str, Any]


Bundles = dict[str, dict[str, Bundle]]


def add_bundles(
    document: Metadata[Any], published: Mapping[str, object], signers: Sequence[Signer]
) -> list[str]:
    """Sign every release that is new in `document` with those of `signers` whose keys are on P-256.

    Args:
        document: To be approved.
        published: What is listed already, by path.
        signers: Who approves.

    Returns:
        The releases that were signed.
    """
    able = [one for one in signers if one.public_key.scheme == SCHEME]
    known = bundles_of(document)
    signed = []
    for release, files in releases_of(document.signed, published) if able else ():
        body = statement(release, files)
        for signer in able:
            made = _bundle(body, signer)
            known.setdefault(release, {})[signer.public_key.keyid] = made
        signed.append(release)
    _keep(document, known)
    return signed


def bundles_of(document: Metadata[Any]) -> Bundles:
    """Return the bundles in a staged document, by release and key id; none of them was checked.

    Raises:
        TrustError: They are malformed.
    """
    field = document.unrecognized_fields.get(FIELD, {})
    return trusted_json(json.dumps(field).encode(), Bundles, "model-signing bundles")


def take_bundles(document: Metadata[Any], carried: Metadata[Any], keys: Mapping[str, Key]) -> None:
    """Take over the bundles of another copy of the same document.

    Raises:
        TrustError: As `check_bundles`.
    """
    check_bundles(carried, keys)
    known = bundles_of(document)
    for release, found in bundles_of(carried).items():
        known.setdefault(release, {}).update(found)
    _keep(document, known)


def check_bundles(document: Metadata[Any], keys: Mapping[str, Key]) -> None:
    """Refuse bundles that are not by the role's keys, or not about what the document lists.

    Args:
        document: With its bundles.
        keys: That may sign the document, by id.

    Raises:
        TrustError: `trust.different`, or what is wrong with a signature.
    """
    listed = dict(releases_of(document.signed, {}))
    for release, found in bundles_of(document).items():
        for keyid, bundle in found.items():
            require_bundle(bundle, release, listed.get(release, {}), keyid, keys)


def require_bundle(
    bundle: Bundle, release: str, files: Mapping[str, str], keyid: str, keys: Mapping[str, Key]
) -> None:
    """Refuse a bundle that is not the one by the key `keyid` about these files.

    Args:
        bundle: To be checked.
        release: `<class>/<name>/<version>`.
        files: SHA-256 (hexadecimal) of each file of the release by its name.
        keyid: Whose bundle it claims to be.
        keys: That may approve the release, by id.

    Raises:
        TrustError: `trust.different`, or what is wrong with a signature.
    """
    envelope = msgspec.json.encode(bundle.dsse_envelope)
    body, signed_by = open_envelope(envelope, PAYLOAD_TYPE, keys, LIMIT)
    if body != statement(release, files):
        message = f"{release}: its model-signing bundle is about other files"
        raise TrustError(message, code="trust.different", hint="approve the document again")
    if signed_by != {keyid} or bundle != _wrapped(envelope, keys[keyid]):
        message = f"{release}: its model-signing bundle names another key than the one that signed"
        raise TrustError(message, code="trust.different", hint="approve the document again")


def drop_bundles(document: Metadata[Any]) -> dict[str, bytes]:
    """Take all bundles out of a document; return the files they become, by path."""
    found = bundles_of(document)
    document.unrecognized_fields.pop(FIELD, None)
    return {
        place_of(release, keyid): msgspec.json.encode(bundle)
        for release, signed in found.items()
        for keyid, bundle in signed.items()
    }


def place_of(release: str, keyid: str) -> str:
    """Return where the bundle of a key about a release is published, below `signatures`."""
    return f"{release}/{keyid[:_SHOWN_DIGITS]}.sigstore.json"


def statement(release: str, files: Mapping[str, str]) -> bytes:
    """Return the in-toto statement about a release folder; the same for the same files.

    Args:
        release: `<class>/<name>/<version>`.
        files: SHA-256 (hexadecimal) of each file by its name in the folder.
    """
    resources = [
        {"algorithm": "sha256", "digest": digest, "name": name}
        for name, digest in sorted(files.items())
    ]
    together = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources))
    serialization_ = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": [],
    }
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": release, "digest": {"sha256": together.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization_, "resources": resources},
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _bundle(body: bytes, signer: Signer) -> Bundle:
    return _wrapped(sign_envelope(body, PAYLOAD_TYPE, [signer]), signer.public_key)


def _wrapped(envelope: bytes, key: Key) -> Bundle:
    return Bundle(
        media_type=BUNDLE_TYPE,
        verification_material=Material(public_key=PublicKeyHint(hint=_hint(key))),
        dsse_envelope=json.loads(envelope),
    )


def _hint(key: Key) -> str:
    loaded = serialization.load_pem_public_key(key.keyval["public"].encode())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(loaded.public_bytes(serialization.Encoding.PEM, form)).hexdigest()


def _keep(document: Metadata[Any], bundles: Bundles) -> None:
    if bundles:
        document.unrecognized_fields[FIELD] = msgspec.to_builtins(bundles)


def releases_of(
    signed: object, published: Mapping[str, object]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the releases that the signed part of a document lists and `published` does not, each with the digests of its files by name."""
    targets = signed.targets if isinstance(signed, Targets) else {}
    names = {
        target.custom["release"]
        for target in targets.values()
        if "release" in (target.custom or {})
    }
    for release in sorted(names):
        folder = f"models/{release}/"
        if folder + MANIFEST_FILE not in published:
            yield (
                release,
                {
                    path.removeprefix(folder): target.hashes["sha256"]
                    for path, target in targets.items()
                    if path.startswith(folder)
                },
            )
