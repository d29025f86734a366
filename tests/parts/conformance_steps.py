"""What a repository may do to its top-level metadata between two refreshes, right or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Snapshot

from tests.parts.signed_repository import SignedRepository, in_days, signed

Step = Callable[[SignedRepository], None]


def nothing(_repository: SignedRepository) -> None:
    """The repository is as it was."""


def publish(repository: SignedRepository) -> None:
    repository.publish()


def root_again(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.publish_root()


def root_with_unknown_fields(repository: SignedRepository) -> None:
    keyid = repository.root.roles["root"].keyids[0]
    repository.root.unrecognized_fields["custom-field"] = "value"
    repository.root.keys[keyid].unrecognized_fields["extra-field"] = {"a": 1, "b": 2}
    repository.root.roles["root"].unrecognized_fields["another-field"] = "value"
    root_again(repository)


def root_with_strange_hash_algorithms(repository: SignedRepository) -> None:
    keyid = repository.root.roles["snapshot"].keyids[0]
    repository.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    root_again(repository)
    repository.publish()


def root_skips_a_version(repository: SignedRepository) -> None:
    repository.root.version += 2
    repository.publish_root()
    repository.root.version -= 2


def root_says_another_version(repository: SignedRepository) -> None:
    version = repository.root.version + 1
    repository.root.version += 2
    repository.publish_root()
    newest = repository.files.pop(f"metadata/{version + 1}.root.json")
    repository.files[f"metadata/{version}.root.json"] = newest


def timestamp_changes_under_its_version(repository: SignedRepository) -> None:
    repository.timestamp.snapshot_meta.version = 100
    repository.timestamp.version -= 1
    repository.publish_timestamp()


def targets_ahead_of_the_snapshot(repository: SignedRepository) -> None:
    repository.targets.version += 1
    name = f"metadata/{repository.targets.version}.targets.json"
    repository.files[name] = signed(repository.targets, repository.signers["targets"])


def unsigned(role: str) -> Step:
    """Sign the role with strangers' keys from now on."""

    def step(repository: SignedRepository) -> None:
        strangers = [CryptoSigner.generate_ed25519() for _ in repository.signers[role]]
        repository.signers[role] = strangers
        root_again(repository) if role == "root" else repository.publish()

    return step


def targets_listed_as(**fields: Any) -> Step:
    """List a new targets file in a new snapshot with other fields than its own."""

    def step(repository: SignedRepository) -> None:
        targets_ahead_of_the_snapshot(repository)
        meta = {"version": repository.targets.version} | fields
        repository.snapshot.meta["targets.json"] = MetaFile(**meta)
        repository.publish_snapshot()
        repository.publish_timestamp()

    return step


def snapshot_listed_as(**fields: Any) -> Step:
    """List a new snapshot in a new timestamp with other fields than its own."""

    def step(repository: SignedRepository) -> None:
        repository.publish_snapshot()
        meta = {"version": repository.snapshot.version} | fields
        repository.timestamp.snapshot_meta = MetaFile(**meta)
        repository.publish_timestamp()

    return step


def says_another_version(role: str) -> Step:
    """Serve the old file of a role under its new name; only versions are listed."""

    def step(repository: SignedRepository) -> None:
        document = {"snapshot": repository.snapshot, "targets": repository.targets}[role]
        old = f"metadata/{document.version}.{role}.json"
        repository.publish()
        repository.timestamp.snapshot_meta = MetaFile(repository.snapshot.version)
        repository.publish_timestamp()
        repository.files[f"metadata/{document.version}.{role}.json"] = repository.files[old]

    return step


def unlisted_in_the_snapshot(role: str) -> Step:
    def step(repository: SignedRepository) -> None:
        del repository.snapshot.meta[f"{role}.json"]
        repository.publish_snapshot()
        repository.publish_timestamp()

    return step


def file_is_gone(role: str) -> Step:
    def step(repository: SignedRepository) -> None:
        repository.publish()
        documents = {"snapshot": repository.snapshot, "targets": repository.targets}
        prefix = f"{documents[role].version}." if role in documents else ""
        del repository.files[f"metadata/{prefix}{role}.json"]

    return step


def expired(role: str) -> Step:
    def step(repository: SignedRepository) -> None:
        getattr(repository, role).expires = in_days(-5)
        root_again(repository) if role == "root" else repository.publish()

    return step


def older_timestamp(repository: SignedRepository) -> None:
    repository.timestamp.version -= 2
    repository.publish_timestamp()


def older_snapshot(repository: SignedRepository) -> None:
    repository.snapshot.version -= 2
    repository.publish_snapshot()
    repository.publish_timestamp()


def older_targets(repository: SignedRepository) -> None:
    repository.targets.version -= 2
    repository.publish()


def snapshot_in_place_of_the_timestamp(repository: SignedRepository) -> None:
    """A snapshot that is right as a timestamp in everything but its type."""
    twin = Snapshot(
        repository.timestamp.version + 1,
        expires=in_days(1),
        meta={"snapshot.json": repository.timestamp.snapshot_meta},
    )
    repository.files["metadata/timestamp.json"] = signed(twin, repository.signers["timestamp"])


def fast_forward(role: str) -> Step:
    def step(repository: SignedRepository) -> None:
        getattr(repository, role).version = 99_999
        repository.publish()

    return step


def begin_anew(role: str, *rotated: str) -> Step:
    """Rotate the keys of `rotated`, and let the versions of `role` begin anew."""

    def step(repository: SignedRepository) -> None:
        for name in rotated:
            repository.rotate(name)
        getattr(repository, role).version = 0
        repository.publish()

    return step


def snapshot_keys(keys: int, threshold: int, signatures: int) -> Step:
    """Give the snapshot so many keys and so high a threshold, and sign it so many times."""

    def step(repository: SignedRepository) -> None:
        for keyid in list(repository.root.roles["snapshot"].keyids):
            repository.root.revoke_key(keyid, "snapshot")
        signers = [CryptoSigner.generate_ed25519() for _ in range(keys)]
        for signer in signers:
            repository.root.add_key(signer.public_key, "snapshot")
        repository.root.roles["snapshot"].threshold = threshold
        root_again(repository)
        repository.signers["snapshot"] = signers[:signatures]
        repository.publish()

    return step


def snapshot_signed_twice_by_one_key(repository: SignedRepository) -> None:
    repository.publish()
    name = f"metadata/{repository.snapshot.version}.snapshot.json"
    document = json.loads(repository.files[name])
    document["signatures"] *= 2
    repository.files[name] = json.dumps(document).encode()
    repository.timestamp.snapshot_meta = MetaFile(repository.snapshot.version)
    repository.publish_timestamp()


def root_also_signed_by(keytype: str) -> Step:
    """Add a root key of this type and make its signature needed."""

    def step(repository: SignedRepository) -> None:
        signer = getattr(CryptoSigner, f"generate_{keytype}")()
        repository.root.add_key(signer.public_key, "root")
        repository.signers["root"].append(signer)
        repository.root.roles["root"].threshold = len(repository.signers["root"])
        root_again(repository)

    return step


def wrong_signature_beside_a_right_one(repository: SignedRepository) -> None:
    second = CryptoSigner.generate_ed25519()
    repository.root.add_key(second.public_key, "timestamp")
    root_again(repository)
    repository.signers["timestamp"].append(second)
    repository.publish()
    document = json.loads(repository.files["metadata/timestamp.json"])
    document["signatures"][0]["sig"] = "ab" * 64
    repository.files["metadata/timestamp.json"] = json.dumps(document).encode()
