"""What Alembic runs: the scripts, inside the transaction of whoever asked for them (`agent.fleet.database_upgrade`)."""

from __future__ import annotations

from alembic import context

from agent.fleet.tables import META, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=META,
    version_table=VERSION_TABLE,
)
context.run_migrations()
