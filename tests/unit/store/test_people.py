from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.errors import StoreError
from biomarkers.results import Run
from biomarkers.store import audit, decisions, lookups, signatures, users
from biomarkers.store.database import Database
from biomarkers.store.recording import record_analysis
from biomarkers.store.signatures import Meaning, Standing
from biomarkers.store.users import CredentialKind, Role


def save(database: Database, now: datetime, *, role: Role = Role.REVIEWER, active: bool = True) -> None:
    with database.write() as transaction:
        users.save_account(
            transaction,
            name="maria",
            full_name="Maria",
            role=role,
            password_hash="$argon2id$x",  # noqa: S106  - a hash in form alone
            active=active,
            recorded_at=now,
            recorded_by="op",
            reason="r",
        )


def test_an_accounts_newest_entry_counts_and_the_trail_keeps_what_stood_before(database: Database, now: datetime) -> None:
    save(database, now)
    save(database, now, role=Role.AUDITOR, active=False)
    with database.read() as reading:
        (only,) = users.all_accounts(reading)
        assert (only.role, only.active) == (Role.AUDITOR, False)
        assert users.has_accounts(reading)
        last = lookups.latest_events(reading, before=None, action="user.", limit=1)[0]
        assert last.detail["before"] == {"role": "reviewer", "active": True}  # type: ignore[index,call-overload]
        assert audit.verify(reading).is_whole


@pytest.mark.parametrize("name", ["", "Maria", "a b", "../x", "x" * 65])
def test_a_login_is_a_plain_word(database: Database, now: datetime, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be a login"), database.write() as transaction:
        users.save_account(
            transaction,
            name=name,
            full_name="",
            role=Role.REVIEWER,
            password_hash="",
            active=True,
            recorded_at=now,
            recorded_by="op",
            reason="",
        )


def test_a_credential_lets_in_until_its_time_or_its_end(database: Database, now: datetime) -> None:
    digest, later = "a" * 64, now + timedelta(hours=1)
    with database.write() as transaction:
        users.begin_credential(
            transaction,
            token_digest=digest,
            kind=CredentialKind.SESSION,
            name="maria",
            label="browser",
            began_at=now,
            ends_at=later,
        )
    with database.read() as reading:
        assert users.live_credential(reading, token_digest=digest, now=now) is not None
        assert users.live_credential(reading, token_digest=digest, now=later) is None
        assert len(users.live_credentials(reading, name="maria", kind=CredentialKind.SESSION, now=now)) == 1
    for _ in range(2):
        with database.write() as transaction:
            users.end_credential(transaction, token_digest=digest, ended_at=now, ended_by="maria", reason="out")
    with database.read() as reading:
        assert users.live_credential(reading, token_digest=digest, now=now) is None


def test_a_signature_holds_until_what_was_signed_changes(
    database: Database, now: datetime, plate: Callable[..., PlateAnalysis], register: Callable[[Database, Run], None]
) -> None:
    given = plate()
    run_id = given.run.run_id
    register(database, given.run)
    with database.write() as transaction:
        record_analysis(transaction, given, reason="", recorded_at=now)

    def sign(meaning: Meaning) -> None:
        with database.write() as transaction:
            signatures.sign(
                transaction,
                run_id=run_id,
                meaning=meaning,
                digest=signatures.signed_digest(transaction, run_id=run_id),
                signed_by="maria",
                full_name="Maria",
                signed_at=now,
                reason="",
            )

    def stands() -> Standing:
        with database.read() as reading:
            return signatures.standings(reading, [run_id])[run_id]

    assert stands() is Standing.PRELIMINARY
    with pytest.raises(StoreError, match="Only reviewed results"):
        sign(Meaning.RELEASED)
    sign(Meaning.REVIEWED)
    sign(Meaning.RELEASED)
    assert stands() is Standing.RELEASED
    result_id = given.run.results[0].result_id
    with database.write() as transaction:
        decisions.dispose(
            transaction,
            result_id=result_id,
            decision=decisions.Decision.EXCLUDED,
            reason="clot",
            decided_by="maria",
            decided_at=now,
        )
    assert stands() is Standing.CHANGED
    again = plate(value=5.5)
    with database.write() as transaction:
        record_analysis(transaction, again, reason="new layout", recorded_at=now)
    assert stands() is Standing.CHANGED
    with database.read() as reading:
        old, new = lookups.result_versions(reading, accession_id="ATR-000001", measurand="IL6")
        assert (old.value, old.is_current, old.replaced_because) == (4.5, False, "new layout")
        assert (new.value, new.is_current) == (5.5, True)
        assert [one.decision for one in lookups.decisions_about(reading, result_ids=[result_id])] == ["excluded"]
        assert len(lookups.table_state(reading)) == 3
        assert lookups.current_verdicts(reading)[0].verdict == "accepted"
