"""What was sent and what arrived, held against each other; and what befell specimens on the way, as the study declares it."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.shipments import read_shipments
from biomarkers.results import Assay
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.shipments import ShippedSpecimen
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import timepoint_rows
from biomarkers.timepoints.completeness import completeness_matrix
from biomarkers.timepoints.due import due_cells
from biomarkers.timepoints.receipts import receipt_findings, receipt_states

AS_OF = date(2025, 4, 10)
PACKAGED = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")


def study(more: str = "") -> StudyDefinition:
    return parse_declaration(PACKAGED + more, StudyDefinition, name="study.toml")


def specimen(number: int, *, received: date | None, visit: str = "BASELINE", **more: object) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id="STS-001",
        material=Material.PLASMA,
        collected_at=Moment(day=date(2025, 3, 9) if visit == "BASELINE" else date(2025, 3, 31)),
        nominal_visit=visit,
        received_at=None if received is None else Moment(day=received),
        **more,  # type: ignore[arg-type]  # further columns of the list
    )


def roster(*specimens: Specimen) -> Roster:
    subject = Subject(subject_id="STS-001", site="LONDON", treatment_start=Moment(day=date(2025, 3, 10)))
    return Roster(subjects={"STS-001": subject}, specimens={one.accession_id: one for one in specimens})


def sent(number: int, day: int) -> ShippedSpecimen:
    return ShippedSpecimen(accession_id=f"ATR-{number:06d}", shipped_on=date(2025, 4, day), box="B1", position=f"A{number}")


def test_each_difference_between_shipments_and_receipts_is_found_and_nothing_else() -> None:
    known = roster(
        specimen(1, received=date(2025, 4, 3)),
        specimen(2, received=None),
        specimen(3, received=date(2025, 4, 1)),
        specimen(4, received=date(2025, 4, 3)),
        specimen(5, received=date(2025, 4, 3), parent_accession_id="ATR-000001"),
        specimen(6, received=date(2025, 4, 12)),
    )
    shipments = [sent(1, 2), sent(2, 2), sent(3, 2), sent(7, 2), sent(8, 11)]
    found = {(one.code, one.where) for one in receipt_findings(known, shipments, as_of=AS_OF)}
    assert found == {
        ("SHIPPED_NOT_RECEIVED", "Specimen 'ATR-000002'."),
        ("RECEIVED_BEFORE_SHIPPED", "Specimen 'ATR-000003'."),
        ("RECEIVED_NOT_SHIPPED", "Specimen 'ATR-000004'."),
        ("SHIPPED_NOT_LISTED", "Specimen 'ATR-000007'."),
    }
    assert receipt_findings(known, (), as_of=AS_OF) == ()
    told = next(one for one in receipt_findings(known, shipments, as_of=AS_OF) if one.code == "SHIPPED_NOT_LISTED")
    assert told.message == "Sent on 2025-04-02, box B1, position A7, and in no list of specimens."


def test_a_pending_cell_says_that_its_specimen_has_not_arrived() -> None:
    definition = study()
    known = roster(specimen(1, received=None), specimen(2, received=None, visit="C2D1"))
    due = due_cells(definition, known)
    rows = timepoint_rows("study", align_specimens(definition, known), due, (), as_of=AS_OF)
    states = receipt_states(known, [sent(1, 2)], as_of=AS_OF)
    cells = {one.visit: one for one in completeness_matrix(definition, rows, due, states) if one.assay == Assay.ELISA}
    assert (cells["BASELINE"].status, cells["BASELINE"].reason) == ("pending", "SHIPPED_NOT_RECEIVED")
    assert (cells["C2D1"].status, cells["C2D1"].reason) == ("pending", "RECEIPT_NOT_NOTED")
    arrived = roster(specimen(1, received=date(2025, 4, 3)))
    assert receipt_states(arrived, [sent(1, 2)], as_of=AS_OF) == {}


def test_every_fault_of_a_shipments_list_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shipments.csv"
    path.write_text(
        "accession_id,shipped_on,box,position\nATR-000001,2025-04-02,B1,A1\nATR-000001,,B1,A2\nnonsense,2025-04-02,B1,A1\n"
    )
    with pytest.raises(SourceFileError) as caught:
        read_shipments(path, study())
    told = "\n".join(str(fault) for fault in caught.value.faults)
    for word in ("'ATR-000001'", "line 3, column 'shipped_on'", "nonsense", "shipped_on, box and position"):
        assert word in told, told
    path.write_text("accession_id,shipped_on\nATR-000001,2025-04-02\n")
    assert read_shipments(path, study()) == (ShippedSpecimen(accession_id="ATR-000001", shipped_on=date(2025, 4, 2)),)


def test_the_study_says_how_much_haemolysis_and_thawing_is_told_and_the_baseline_tells_it_of_every_later_visit() -> None:
    declared = '\n[specimens]\nsource = "protocol"\nmost_freeze_thaw_cycles = 2\nno_haemolysis = ["none", "SLIGHT"]\n'
    known = roster(
        specimen(1, received=None, hemolysis="slight", freeze_thaw=2),
        specimen(2, received=None, visit="C2D1", hemolysis="NONE", freeze_thaw=1),
    )

    def codes(definition: StudyDefinition) -> list[str]:
        return [one.finding_codes for one in align_specimens(definition, known)]

    usual, lenient = codes(study()), codes(study(declared))
    assert all(code in usual[0].split(";") for code in ("HAEMOLYSIS", "FREEZE_THAW"))
    assert all(code in usual[1].split(";") for code in ("BASELINE_HAEMOLYSIS", "BASELINE_FREEZE_THAW"))
    assert not any("HAEMOLYSIS" in one or "FREEZE_THAW" in one for one in lenient)
    assert "specimens" in study().assumptions()
