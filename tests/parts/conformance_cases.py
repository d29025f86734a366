"""What a repository may do to its top-level metadata, and what a TUF client must make of it.

The list follows the public suite theupdateframework/tuf-conformance, by subject. In a case the client refreshes
before the first step and after every step. `code` is the last refresh's exit code, `moved` says which
roles then have the repository's version on the device; the others stay as they were before the last step.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.parts.conformance_steps import (
    Step,
    begin_anew,
    expired,
    fast_forward,
    file_is_gone,
    nothing,
    older_snapshot,
    older_targets,
    older_timestamp,
    publish,
    root_again,
    root_also_signed_by,
    root_says_another_version,
    root_skips_a_version,
    root_with_strange_hash_algorithms,
    root_with_unknown_fields,
    says_another_version,
    snapshot_in_place_of_the_timestamp,
    snapshot_keys,
    snapshot_listed_as,
    snapshot_signed_twice_by_one_key,
    targets_ahead_of_the_snapshot,
    targets_listed_as,
    timestamp_changes_under_its_version,
    unlisted_in_the_snapshot,
    unsigned,
    wrong_signature_beside_a_right_one,
)

ALL = "root timestamp snapshot targets"
ONLINE = "timestamp snapshot targets"
WRONG_SHA256 = "46" * 32
TAKEN, REFUSED = 0, 1


@dataclass(frozen=True)
class Case:
    """One row."""

    name: str
    steps: tuple[Step, ...]
    code: int
    moved: str = ""


CASES = [
    Case("nothing is new", (nothing,), TAKEN),
    Case("everything is new", (publish, publish), TAKEN, ONLINE),
    Case("fields nobody knows", (root_with_unknown_fields,), TAKEN, "root"),
    Case("key hash algorithms nobody knows", (root_with_strange_hash_algorithms,), TAKEN, ALL),
    Case("a root version is left out", (root_skips_a_version,), TAKEN),
    Case("root of another version than its name", (root_says_another_version,), REFUSED),
    Case("timestamp changes under its version", (timestamp_changes_under_its_version,), TAKEN),
    Case("a snapshot in place of the timestamp", (snapshot_in_place_of_the_timestamp,), REFUSED),
    Case("targets that the snapshot does not list yet", (targets_ahead_of_the_snapshot,), TAKEN),
    Case("root signed by strangers", (unsigned("root"),), REFUSED),
    Case("timestamp signed by strangers", (unsigned("timestamp"),), REFUSED),
    Case("snapshot signed by strangers", (unsigned("snapshot"),), REFUSED, "timestamp"),
    Case("targets signed by strangers", (unsigned("targets"),), REFUSED, "timestamp snapshot"),
    Case(
        "targets with another hash than listed",
        (targets_listed_as(hashes={"sha256": WRONG_SHA256}),),
        REFUSED,
        "timestamp snapshot",
    ),
    Case(
        "targets longer than listed", (targets_listed_as(length=10),), REFUSED, "timestamp snapshot"
    ),
    Case(
        "snapshot with another hash than listed",
        (snapshot_listed_as(hashes={"sha256": WRONG_SHA256}),),
        REFUSED,
        "timestamp",
    ),
    Case("snapshot longer than listed", (snapshot_listed_as(length=10),), REFUSED, "timestamp"),
    Case("snapshot of another version", (says_another_version("snapshot"),), REFUSED, "timestamp"),
    Case(
        "targets of another version",
        (says_another_version("targets"),),
        REFUSED,
        "timestamp snapshot",
    ),
    Case("targets no longer listed", (unlisted_in_the_snapshot("targets"),), REFUSED, "timestamp"),
    Case("a delegate no longer listed", (unlisted_in_the_snapshot("pi5"),), REFUSED, "timestamp"),
    Case("timestamp is gone", (file_is_gone("timestamp"),), REFUSED),
    Case("snapshot is gone", (file_is_gone("snapshot"),), REFUSED, "timestamp"),
    Case("targets are gone", (file_is_gone("targets"),), REFUSED, "timestamp snapshot"),
    Case("root expired", (root_again, expired("root")), REFUSED, "root"),
    Case("timestamp expired", (expired("timestamp"),), REFUSED),
    Case("snapshot expired", (expired("snapshot"),), REFUSED, "timestamp"),
    Case("targets expired", (expired("targets"),), REFUSED, "timestamp snapshot"),
    Case("older timestamp", (publish, older_timestamp), REFUSED),
    Case("older snapshot", (publish, older_snapshot), REFUSED),
    Case("older targets", (publish, older_targets), REFUSED, "timestamp"),
    Case(
        "timestamp fast-forwarded, then new keys",
        (fast_forward("timestamp"), begin_anew("timestamp", "timestamp")),
        TAKEN,
        ALL,
    ),
    Case(
        "snapshot fast-forwarded, then new keys",
        (fast_forward("snapshot"), begin_anew("snapshot", "snapshot", "timestamp")),
        TAKEN,
        ALL,
    ),
    Case(
        "targets fast-forwarded, then new keys",
        (fast_forward("targets"), begin_anew("targets", "snapshot")),
        TAKEN,
        ALL,
    ),
    Case("snapshot by three of three", (snapshot_keys(3, 3, 3),), TAKEN, ALL),
    Case("snapshot by two of three", (snapshot_keys(3, 3, 2),), REFUSED, "root timestamp"),
    Case("threshold over the number of keys", (snapshot_keys(5, 6, 5),), REFUSED, "root timestamp"),
    Case(
        "one key signs the snapshot twice",
        (snapshot_signed_twice_by_one_key,),
        REFUSED,
        "timestamp",
    ),
    Case("root also signed by an RSA key", (root_also_signed_by("rsa"),), TAKEN, "root"),
    Case("root also signed by an ECDSA key", (root_also_signed_by("ecdsa"),), TAKEN, "root"),
    Case("root also signed by an Ed25519 key", (root_also_signed_by("ed25519"),), TAKEN, "root"),
    Case("a wrong signature beside a right one", (wrong_signature_beside_a_right_one,), TAKEN, ALL),
]
