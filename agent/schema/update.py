"""Arguments of the commands about releases and keys that are given seldom."""

from __future__ import annotations

from agent.schema.values import Sha256, Struct, TargetPath


class DowngradeArgs(Struct):
    """`force-downgrade`: a release below the rollback floor, named by its manifest's path and exact digest."""

    release: TargetPath
    sha256: Sha256


class RotateKeysArgs(Struct):
    """`rotate-keys`, twice: with the fleet's `challenge` for the next device key, then without, to adopt it."""

    challenge: bytes = b""
