from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import func, select

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.elisa.lots import KitLot
from biomarkers.errors import StoreError
from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.results import DerivedAnalysis, Run
from biomarkers.store import decisions, results, study_lists
from biomarkers.store.append_only import APPEND_ONLY
from biomarkers.store.database import Database
from biomarkers.store.results import Decision
from biomarkers.store.schema import metadata
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.declaration import Material
from biomarkers.study.pathology import PathologyReading
from biomarkers.study.roster import ActualVisit, Moment, Specimen, Subject
from biomarkers.study.shipments import ShippedSpecimen

ROWS: dict[str, dict[str, object]] = {
    "account": {
        "name": "n",
        "full_name": "N",
        "role": "auditor",
        "password_hash": "h",
        "active": 1,
        "recorded_by": "o",
        "reason": "",
    },
    "credential": {
        "token_digest": "0" * 64,
        "kind": "token",
        "name": "n",
        "label": "",
        "scope": "all",
        "began_at": datetime(2026, 1, 1, tzinfo=UTC),
        "ends_at": datetime(2026, 1, 2, tzinfo=UTC),
    },
    "credential_end": {
        "token_digest": "0" * 64,
        "ended_at": datetime(2026, 1, 1, tzinfo=UTC),
        "ended_by": "n",
        "reason": "",
    },
    "signature": {
        "run_id": "r",
        "analysis_id": "a",
        "meaning": "reviewed",
        "digest": "0" * 64,
        "content": {},
        "signed_by": "n",
        "full_name": "N",
        "signed_at": datetime(2026, 1, 1, tzinfo=UTC),
        "reason": "",
    },
    "proposal": {
        "run_id": "r",
        "analysis_id": "a",
        "content_id": "c",
        "reason": "r",
        "changes": [],
        "proposed_at": datetime(2026, 1, 1, tzinfo=UTC),
    },
    "proposal_answer": {
        "proposal_id": 1,
        "answer": "accepted",
        "reason": "r",
        "decided_by": "n",
        "decided_at": datetime(2026, 1, 1, tzinfo=UTC),
    },
    "definition": {"kind": "study", "name": "a", "sha256": "b", "content": "c"},
    "alignment_set": {"digest": "d"},
    "alignment": {
        "set_id": 1,
        "accession_id": "a",
        "subject_id": "s",
        "material": "PLASMA",
        "rule": "label",
        "chosen": 1,
        "finding_codes": "",
        "collected_on": date(2026, 1, 1),
        "note": "",
    },
    "due_cell": {
        "set_id": 1,
        "subject_id": "s",
        "visit": "C2D1",
        "visit_number": 2,
        "assay": "elisa",
        "measurand": "IL6",
        "unit": "pg/mL",
        "materials": "PLASMA",
        "not_expected_reason": "",
        "hidden": 0,
    },
}


def test_every_append_only_table_keeps_its_rows_against_update_and_delete(  # noqa: PLR0917  - fixtures
    database: Database,
    plate: Callable[..., PlateAnalysis],
    acquisition: AcquisitionAnalysis,
    slide: SlideAnalysis,
    register: Callable[[Database, Run], None],
    derived: Callable[[PlateAnalysis, datetime], DerivedAnalysis],
    now: datetime,
) -> None:
    analyses = (plate(), plate(value=9.0), acquisition, slide)
    for given in analyses:
        register(database, given.run)
    with database.write() as transaction:
        for given in analyses:
            results.record_analysis(transaction, given, reason="again", recorded_at=now)
        results.dispose(
            transaction,
            result_id=slide.run.results[0].result_id,
            decision=Decision.REPORTABLE,
            reason="r",
            decided_by="p",
            decided_at=now,
        )
        day = Moment(day=date(2026, 1, 1))
        specimen = Specimen(accession_id="a", subject_id="s", material=Material.PLASMA, collected_at=day)
        visit = ActualVisit(subject_id="s", visit="C2D1", actual_date=None)
        study_lists.record_roster(transaction, subjects=[Subject(subject_id="s", site="")], sha256="1", recorded_at=now)
        study_lists.record_specimens(transaction, specimens=[specimen], sha256="2", recorded_at=now)
        study_lists.record_visits(transaction, visits=[visit], sha256="3", recorded_at=now)
        lot = KitLot(analyte="IL6", kit_lot="L1", calibrators={"STD1": 200.0}, controls={})
        study_lists.record_lots(transaction, lots=[lot], sha256="4", recorded_at=now)
        count = HaematologyCount(lymphocytes_per_ul=1200.0, accession_id="a")
        study_lists.record_haematology(transaction, counts=[count], sha256="5", recorded_at=now)
        read = PathologyReading(
            accession_id="a", tumour_present=True, viable_tumour_percent=60.0, necrosis_percent=None, reader="R. Virchow"
        )
        assert study_lists.record_pathology(transaction, readings=[read], sha256="6", recorded_at=now)
        assert study_lists.current_pathology(transaction) == (read,)
        sent = ShippedSpecimen(accession_id="a", shipped_on=date(2026, 1, 2), box="B1", position="A1")
        assert study_lists.record_shipments(transaction, shipped=[sent], sha256="7", recorded_at=now)
        assert study_lists.current_shipments(transaction) == (sent,)
        decisions.mask_wells(
            transaction,
            run_id=analyses[0].run.run_id,
            positions=["A01"],
            masked=True,
            reason="r",
            decided_by="p",
            decided_at=now,
        )
        results.record_analysis(transaction, derived(plate(value=9.0), now), reason="", recorded_at=now)
        for name, row in ROWS.items():
            table = metadata.tables[name]
            moment = {"recorded_at": now} if "recorded_at" in table.columns else {}
            transaction.connection.execute(table.insert().values({**row, **moment}))
    for name in APPEND_ONLY:
        table = metadata.tables[name]
        column = next(iter(table.primary_key.columns))
        for statement in (table.update().values({column.name: column}), table.delete()):
            with database.read() as reading:
                assert reading.connection.execute(select(func.count()).select_from(table)).scalar_one() > 0, name
            with pytest.raises(StoreError, match=f"table {name} is append-only"), database.write() as transaction:
                transaction.connection.execute(statement)
