"""Attack list 1 to 15, 28 and 29 as edits of a signed repository, each with the code it must end with.

An attack returns the release to deploy, or None where release 2 serves.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from securesystemslib.signer import CryptoSigner

from agent.schema.manifest import ReleaseRef
from tests.parts.signed_repository import MadeRelease, SignedRepository, in_days, make_release

Attack = Callable[[SignedRepository], "MadeRelease | None"]


def root_signed_only_by_new_keys(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.publish_root(signers=[CryptoSigner.generate_ed25519() for _ in range(3)])


def root_signed_by_one_of_two(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.publish_root(signers=repository.signers["root"][:1])


def root_of_another_version(repository: SignedRepository) -> None:
    repository.root.version = 3
    repository.publish_root()
    repository.files["metadata/2.root.json"] = repository.files.pop("metadata/3.root.json")


def root_expired(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.root.expires = in_days(-1)
    repository.publish_root()


def timestamp_expired(repository: SignedRepository) -> None:
    repository.timestamp.expires = in_days(-0.01)
    repository.publish_timestamp()


def timestamp_rolled_back(repository: SignedRepository) -> None:
    repository.timestamp.version = 1
    repository.publish_timestamp()


def mixed_snapshot(repository: SignedRepository) -> None:
    version = repository.snapshot.version
    repository.publish_snapshot()
    repository.publish_timestamp()
    newer = f"metadata/{version + 1}.snapshot.json"
    repository.files[newer] = repository.files[f"metadata/{version}.snapshot.json"]


def signed_by_strangers(role: str) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(3)]
        repository.publish()

    return attack


def signed_by_too_few(role: str) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.signers[role] = repository.signers[role][:1]
        repository.publish()

    return attack


def huge_timestamp(repository: SignedRepository) -> None:
    repository.files["metadata/timestamp.json"] = bytes(1_000_000)


def class_b_lists_a_path_of_class_a(repository: SignedRepository) -> MadeRelease:
    release = make_release(9)
    repository.add(release, role="jetson")
    repository.publish()
    return release


def release_of_another_class(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9, device_class="jetson"))
    repository.publish()
    return release


def other_class_in_the_manifest(repository: SignedRepository) -> MadeRelease:
    foreign = make_release(9, device_class="jetson")
    data = foreign.files["manifest.json"]
    repository.enter("pi5", "models/pi5/shapes/1.9/manifest.json", data)
    repository.publish()
    return _at("models/pi5/shapes/1.9", foreign)


def other_name_in_the_manifest(repository: SignedRepository) -> MadeRelease:
    other = make_release(9)
    repository.enter("pi5", "models/pi5/shapes/9.9/manifest.json", other.files["manifest.json"])
    repository.publish()
    return _at("models/pi5/shapes/9.9", other)


def older_counter(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(0))
    repository.publish()
    return release


def newer_agent_needed(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9, min_agent="0.2"))
    repository.publish()
    return release


def unlisted(_repository: SignedRepository) -> MadeRelease:
    return make_release(9)


def other_digest(repository: SignedRepository) -> MadeRelease:
    repository.add(make_release(9))
    repository.publish()
    return make_release(9, labels=["other"])


def payload_not_listed(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9))
    del repository.delegated["pi5"].targets[f"{release.folder}/onnx-fp32-320.sealed"]
    repository.publish()
    return release


def manifest_is(data: bytes) -> Attack:
    def attack(repository: SignedRepository) -> MadeRelease:
        release = make_release(9)
        files = release.files | {"manifest.json": data}
        return_value = MadeRelease(release.manifest, files, release.dek, release.plaintext)
        repository.add(return_value)
        repository.publish()
        return return_value

    return attack


def without(field: str) -> bytes:
    fields = json.loads(make_release(9).files["manifest.json"])
    del fields[field]
    return json.dumps(fields).encode()


def timestamp_is(data: bytes) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.files["metadata/timestamp.json"] = data

    return attack


def _at(folder: str, release: MadeRelease) -> MadeRelease:
    """The same release asked for under another path."""

    class Moved(MadeRelease):
        @property
        def ref(self) -> ReleaseRef:
            return ReleaseRef(path=f"{folder}/manifest.json", sha256=release.ref.sha256)

    return Moved(release.manifest, release.files, release.dek, release.plaintext)


ATTACKS: list[tuple[str, Attack, str]] = [
    ("1 root by new keys only", root_signed_only_by_new_keys, "trust.unsigned"),
    ("2 root by one of two", root_signed_by_one_of_two, "trust.unsigned"),
    ("3 root 3 served as 2", root_of_another_version, "trust.rollback"),
    ("4 final root expired", root_expired, "trust.expired"),
    ("5 freeze", timestamp_expired, "trust.expired"),
    ("6 timestamp rollback", timestamp_rolled_back, "trust.rollback"),
    ("7 mix and match", mixed_snapshot, "trust.mix_and_match"),
    ("8 timestamp by a stranger", signed_by_strangers("timestamp"), "trust.unsigned"),
    ("8 snapshot by a stranger", signed_by_strangers("snapshot"), "trust.unsigned"),
    ("8 targets by strangers", signed_by_strangers("targets"), "trust.unsigned"),
    ("8 class by strangers", signed_by_strangers("pi5"), "trust.unsigned"),
    ("8 targets by one of two", signed_by_too_few("targets"), "trust.unsigned"),
    ("8 class by one of two", signed_by_too_few("pi5"), "trust.unsigned"),
    ("9 timestamp of 1 MB", huge_timestamp, "trust.too_long"),
    ("10 delegate oversteps", class_b_lists_a_path_of_class_a, "trust.unlisted"),
    ("10 path of another class", release_of_another_class, "trust.wrong_class"),
    ("10 manifest of another class", other_class_in_the_manifest, "trust.wrong_class"),
    ("10 manifest of another release", other_name_in_the_manifest, "trust.wrong_release"),
    ("10 not listed", unlisted, "trust.unlisted"),
    ("10 another digest", other_digest, "trust.other_digest"),
    ("10 payload not listed", payload_not_listed, "trust.unlisted"),
    ("15 manifest of garbage", manifest_is(b"\xff\xfe"), "trust.malformed"),
    ("15 manifest misses a field", manifest_is(without("labels")), "trust.malformed"),
    ("15 manifest repeats a key", manifest_is(b'{"schema":1,"schema":1}'), "trust.malformed"),
    ("15 deep manifest", manifest_is(b"[" * 900_000), "trust.malformed"),
    ("15 timestamp of garbage", timestamp_is(b"<html>"), "trust.metadata"),
    ("15 deep timestamp", timestamp_is(b"[" * 16_000), "trust.metadata"),
    ("15 empty timestamp", timestamp_is(b""), "trust.metadata"),
    ("28 older counter", older_counter, "trust.rollback"),
    ("29 newer agent needed", newer_agent_needed, "package.min_agent"),
]
