"""The controller's tables. SQLite and PostgreSQL both keep them; times are Unix milliseconds.

A change here is a new `SCHEMA` and a migration to it, see `agent.fleet.migrations`.
"""

from __future__ import annotations

import sqlalchemy as sql

SCHEMA = "0002"  # the version of these tables
VERSION_TABLE = "vigil_schema"
META = sql.MetaData()

DEVICES = sql.Table(
    "devices",
    META,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("class", sql.String, nullable=False),
    sql.Column("groups", sql.JSON, nullable=False),
    sql.Column("public_key", sql.LargeBinary, nullable=False),
    sql.Column("serial", sql.String, nullable=False),
    sql.Column("revoked", sql.Integer, nullable=False, server_default="0"),
    sql.Column("enrolled_ms", sql.BigInteger, nullable=False),
)
CERTIFICATES = sql.Table(
    "certificates",
    META,
    sql.Column("serial", sql.String, primary_key=True),
    sql.Column("device", sql.String, nullable=False, index=True),
    sql.Column("issued_ms", sql.BigInteger, nullable=False),
    sql.Column("expires_ms", sql.BigInteger, nullable=False),
    sql.Column("revoked", sql.Integer, nullable=False),
)
RELEASE_KEYS = sql.Table(
    "release_keys",
    META,
    sql.Column("release", sql.String, primary_key=True),
    sql.Column("dek", sql.LargeBinary, nullable=False),
)
GRANTS = sql.Table(
    "grants",
    META,
    sql.Column("at_ms", sql.BigInteger, nullable=False, index=True),
    sql.Column("device", sql.String, nullable=False),
    sql.Column("release", sql.String, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
    sql.Index("grants_of_device", "device", "at_ms"),
)


def _invitations(name: str, *further: sql.Column[str]) -> sql.Table:
    return sql.Table(
        name,
        META,
        sql.Column("digest", sql.String, primary_key=True),
        sql.Column("device", sql.String, nullable=False),
        sql.Column("class", sql.String, nullable=False),
        sql.Column("groups", sql.JSON, nullable=False),
        sql.Column("expires_ms", sql.BigInteger, nullable=False),
        *further,
    )


TOKENS = _invitations("tokens")
SPENT_TOKENS = _invitations("spent_tokens", sql.Column("keys", sql.String, nullable=False))

ROLLOUTS = sql.Table(
    "rollouts",
    META,
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("plan", sql.LargeBinary, nullable=False),
    sql.Column("path", sql.String, nullable=False),
    sql.Column("sha256", sql.String, nullable=False),
    sql.Column("standing", sql.String, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
    sql.Column("started_ms", sql.BigInteger, nullable=False),
)
ROLLOUT_DEVICES = sql.Table(
    "rollout_devices",
    META,
    sql.Column("rollout", sql.String, primary_key=True),
    sql.Column("device", sql.String, primary_key=True),
    sql.Column("wave", sql.Integer, nullable=False),
    sql.Column("step", sql.String, nullable=False),
    sql.Column("command", sql.String, nullable=False, index=True),
    sql.Column("envelope", sql.LargeBinary, nullable=False),
    sql.Column("expires_s", sql.BigInteger, nullable=False),
    sql.Column("sends", sql.Integer, nullable=False),
    sql.Column("sent_ms", sql.BigInteger, nullable=False),
    sql.Column("before_ms", sql.BigInteger, nullable=False),
    sql.Column("settled_ms", sql.BigInteger, nullable=False),
    sql.Column("code", sql.String, nullable=False),
)
ROLLOUT_MOVES = sql.Table(
    "rollout_moves",
    META,
    sql.Column("rollout", sql.String, nullable=False),
    sql.Column("at_ms", sql.BigInteger, nullable=False),
    sql.Column("standing", sql.String, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
)


def schema_of(connection: sql.Connection) -> str | None:
    """Return the version of the tables that are there, None where none says so."""
    if not sql.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sql.table(VERSION_TABLE, sql.column("version_num", sql.String))
    return connection.execute(sql.select(table.c.version_num)).scalar()
