"""Run revisions within the transaction of the caller, who holds the connection."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from biomarkers.store.schema import metadata

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("migrations run through Database.migrate, which gives them its connection")
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter a table in place; batch mode makes a new one and copies.
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
