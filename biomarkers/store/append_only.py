"""Which tables are append-only, and the triggers that keep them so.

Knows how either engine is made to refuse a change. Must not know what the rows mean.
"""

from __future__ import annotations

from sqlalchemy import Connection, MetaData, event, text

from biomarkers.store.schema import job, metadata, timepoint_row

APPEND_ONLY = tuple(sorted(name for name in metadata.tables if name not in {job.name, timepoint_row.name}))
"""Tables whose rows, once written, refuse to be changed or removed: all but the work to be done, and what is kept of the
timepoint table."""

REFUSAL_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END $$
"""
"""PostgreSQL's triggers call a function, one for all tables of the schema it is made in."""


def refusal_statements(table: str, dialect: str) -> tuple[str, ...]:
    """Return the statements that make a table refuse UPDATE and DELETE, and TRUNCATE where the engine has it."""
    if dialect == "sqlite":
        return tuple(
            f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END"
            for verb in ("update", "delete")
        )
    refuse = "EXECUTE FUNCTION refuse_change()"
    return (
        f"CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {refuse}",
        f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}",
    )


@event.listens_for(metadata, "after_create")
def _make_append_only(_target: MetaData, connection: Connection, **_given: object) -> None:
    if connection.dialect.name != "sqlite":
        connection.execute(text(REFUSAL_FUNCTION))
    for table in APPEND_ONLY:
        for statement in refusal_statements(table, connection.dialect.name):
            connection.execute(text(statement))
