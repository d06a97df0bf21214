from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from biomarkers.store import append_only, schema
from biomarkers.store.database import Database, parsed_url
from biomarkers.store.migrations import HEAD, KNOWN
from biomarkers.timepoints.alignment import TimepointRow

SQLITE_QUERY = """
SELECT type, name, sql FROM sqlite_master
WHERE type <> 'view' AND tbl_name <> 'alembic_version' AND name NOT LIKE 'sqlite_%'
"""

POSTGRESQL_QUERIES = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name NOT IN ('alembic_version', 'timepoint')""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
}


def described(connection: Connection) -> dict[str, set[tuple[object, ...]]]:
    """Say everything the engine knows of the tables, in an order-free form."""
    if connection.dialect.name == "postgresql":
        return {kind: {tuple(row) for row in connection.execute(text(query))} for kind, query in POSTGRESQL_QUERIES.items()}
    found: dict[str, set[tuple[object, ...]]] = {}
    for kind, name, sql in connection.execute(text(SQLITE_QUERY)):
        # The order of constraints within a table says nothing.
        found[f"{kind} {name}"] = {(line.strip().rstrip(","),) for line in sql.splitlines() if line.strip()}
    return found


def test_migrated_tables_equal_the_schema_in_columns_checks_keys_indexes_and_triggers(url: str, url_beside: str) -> None:
    made = create_engine(parsed_url(url_beside))
    with made.begin() as connection:
        schema.metadata.create_all(connection)
        expected = described(connection)
    made.dispose()
    with Database.open(url) as database, database.read() as reading:
        found = described(reading.connection)
    assert found.keys() == expected.keys()
    for kind, lines in expected.items():
        assert found[kind] == lines, kind
    assert sum(len(lines) for lines in expected.values()) > 150


def test_the_program_knows_every_revision_and_which_is_the_last() -> None:
    scripts = ScriptDirectory(str(Path(append_only.__file__).parent / "migrations"))
    assert scripts.get_heads() == [HEAD]
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == KNOWN


def test_a_new_database_answers_the_timepoint_view_with_the_columns_of_the_table(database: Database) -> None:
    with database.read() as reading:
        asked = reading.connection.execute(text("SELECT * FROM timepoint"))
        assert list(asked.keys()) == list(TimepointRow.__dataclass_fields__)
        assert asked.all() == []


def test_every_table_but_the_work_and_what_is_kept_of_the_timepoints_refuses_change_and_removal(database: Database) -> None:
    assert set(schema.metadata.tables) - set(append_only.APPEND_ONLY) == {"job", "timepoint_row"}
    triggers = (
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if database.where.startswith("Database 'sqlite")
        else "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    )
    with database.read() as reading:
        names = list(reading.connection.execute(text(triggers)).scalars())
    assert {name: names.count(name) for name in names} == dict.fromkeys(append_only.APPEND_ONLY, 2)
