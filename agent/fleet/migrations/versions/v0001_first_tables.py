"""The tables as they were when versions began; what an older controller made of them already is left as it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is missing."""
    _devices()
    _invitations()
    _rollouts()


def _devices() -> None:
    _make(
        "devices",
        sql.Column("id", sql.String, primary_key=True),
        sql.Column("class", sql.String, nullable=False),
        sql.Column("groups", sql.JSON, nullable=False),
        sql.Column("public_key", sql.LargeBinary, nullable=False),
        sql.Column("serial", sql.String, nullable=False),
        sql.Column("revoked", sql.Integer, nullable=False, server_default="0"),
        sql.Column("enrolled_ms", sql.BigInteger, nullable=False),
    )
    _make(
        "certificates",
        sql.Column("serial", sql.String, primary_key=True),
        sql.Column("device", sql.String, nullable=False),
        sql.Column("issued_ms", sql.BigInteger, nullable=False),
        sql.Column("expires_ms", sql.BigInteger, nullable=False),
        sql.Column("revoked", sql.Integer, nullable=False),
    )
    _index("ix_certificates_device", "certificates", "device")
    _make(
        "release_keys",
        sql.Column("release", sql.String, primary_key=True),
        sql.Column("dek", sql.LargeBinary, nullable=False),
    )
    _make(
        "grants",
        sql.Column("at_ms", sql.BigInteger, nullable=False),
        sql.Column("device", sql.String, nullable=False),
        sql.Column("release", sql.String, nullable=False),
        sql.Column("status", sql.Integer, nullable=False),
        sql.Column("reason", sql.String, nullable=False),
    )
    _index("ix_grants_at_ms", "grants", "at_ms")
    _index("grants_of_device", "grants", "device", "at_ms")


def _invitations() -> None:
    spent = sql.Column("keys", sql.String, nullable=False)
    for name, further in (("tokens", []), ("spent_tokens", [spent])):
        _make(
            name,
            sql.Column("digest", sql.String, primary_key=True),
            sql.Column("device", sql.String, nullable=False),
            sql.Column("class", sql.String, nullable=False),
            sql.Column("groups", sql.JSON, nullable=False),
            sql.Column("expires_ms", sql.BigInteger, nullable=False),
            *further,
        )


def _rollouts() -> None:
    _make(
        "rollouts",
        sql.Column("name", sql.String, primary_key=True),
        sql.Column("plan", sql.LargeBinary, nullable=False),
        sql.Column("path", sql.String, nullable=False),
        sql.Column("sha256", sql.String, nullable=False),
        sql.Column("standing", sql.String, nullable=False),
        sql.Column("reason", sql.String, nullable=False),
        sql.Column("started_ms", sql.BigInteger, nullable=False),
    )
    _make(
        "rollout_devices",
        sql.Column("rollout", sql.String, primary_key=True),
        sql.Column("device", sql.String, primary_key=True),
        sql.Column("wave", sql.Integer, nullable=False),
        sql.Column("step", sql.String, nullable=False),
        sql.Column("command", sql.String, nullable=False),
        sql.Column("envelope", sql.LargeBinary, nullable=False),
        sql.Column("expires_s", sql.BigInteger, nullable=False),
        sql.Column("sends", sql.Integer, nullable=False),
        sql.Column("sent_ms", sql.BigInteger, nullable=False),
        sql.Column("before_ms", sql.BigInteger, nullable=False),
        sql.Column("settled_ms", sql.BigInteger, nullable=False),
        sql.Column("code", sql.String, nullable=False),
    )
    _index("ix_rollout_devices_command", "rollout_devices", "command")


def _make(name: str, *columns: sql.Column[Any]) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def _index(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), if_not_exists=True)
