"""Enrolment tokens: each is good for one device, once, until it expires. Only their digests are kept.

A device may lose the answer to its request. So a spent token still serves the keys that spent it, until
it would have expired; whoever brings other keys is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sql

from agent.errors import TrustError
from agent.fleet.database import Database
from agent.fleet.tables import SPENT_TOKENS, TOKENS


@dataclass(frozen=True)
class Invitation:
    """What a token is good for: this device, in this class and these groups."""

    device: str
    device_class: str
    groups: tuple[str, ...]


class Tokens:
    """The invitations that are out. Methods raise `StorageError` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, token: str, invitation: Invitation, expires_ms: int) -> None:
        """Remember a token's digest and what it is good for until `expires_ms`."""
        values = {
            "digest": _digest(token),
            "device": invitation.device,
            "class": invitation.device_class,
            "groups": list(invitation.groups),
            "expires_ms": expires_ms,
        }
        self._database.change(sql.insert(TOKENS).values(values))

    def look(self, token: str, now_ms: int) -> Invitation:
        """Return what a token is good for, without using it up.

        Raises:
            TrustError: Unknown or expired (`trust.token`).
        """
        for table in (TOKENS, SPENT_TOKENS):
            rows = self._database.rows(sql.select(table).where(table.c.digest == _digest(token)))
            if rows:
                return _valid(rows[0], now_ms)
        raise _unknown()

    def redeem(self, token: str, device: str, keys: str, now_ms: int) -> Invitation:
        """Use up a token for `device`, whose keys have the digest `keys`.

        Raises:
            TrustError: Unknown, used by other keys, expired, or made for another device (`trust.token`).
        """
        digest = _digest(token)
        with self._database.transaction() as connection:
            taken = sql.delete(TOKENS).where(
                TOKENS.c.digest == digest,
                TOKENS.c.device == device,
                TOKENS.c.expires_ms > now_ms,
            )
            row = connection.execute(taken.returning(TOKENS)).mappings().first()
            if row is not None:
                spent = sql.insert(SPENT_TOKENS).values({**row, "keys": keys})
                connection.execute(spent)
                return _invitation(row)
        return self._again(token, device, keys, now_ms)

    def void(self, device: str) -> bool:
        """Drop a device's invitations, also those that would serve its keys again; return whether there were any."""
        dropped = [
            self._database.change(sql.delete(table).where(table.c.device == device))
            for table in (TOKENS, SPENT_TOKENS)
        ]
        return any(dropped)

    def forget_expired(self, now_ms: int) -> None:
        """Drop what can no longer be used, a month after it expired: until then refusals can name the reason."""
        for table in (TOKENS, SPENT_TOKENS):
            self._database.change(
                sql.delete(table).where(table.c.expires_ms < now_ms - 30 * 86_400_000)
            )

    def _again(self, token: str, device: str, keys: str, now_ms: int) -> Invitation:
        """Serve a repeated request, or say why this one is refused."""
        invitation = self.look(token, now_ms)
        if invitation.device != device:
            raise _refusal(f"the enrolment token was not made for {device}")
        query = sql.select(SPENT_TOKENS.c["keys"]).where(SPENT_TOKENS.c.digest == _digest(token))
        spent = self._database.rows(query)
        if not spent or spent[0]["keys"] != keys:
            raise _refusal(f"device {device}: the enrolment token is used up")
        return invitation


def _valid(row: sql.RowMapping, now_ms: int) -> Invitation:
    if row["expires_ms"] <= now_ms:
        raise _refusal(f"device {row['device']}: the enrolment token has expired")
    return _invitation(row)


def _invitation(row: sql.RowMapping) -> Invitation:
    return Invitation(row["device"], row["class"], tuple(row["groups"]))


def _unknown() -> TrustError:
    return _refusal("the enrolment token is unknown to this fleet")


def _refusal(message: str) -> TrustError:
    return TrustError(
        message, code="trust.token", hint="have a new one made: vigil fleet enrol-token"
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
