"""Analysis variables against worked examples of the standard's own authors.

Sources: the CDISC pilot study (CDISCPILOT01), data set ADLBHY as published with Dataset-JSON 1.1 in
https://github.com/cdisc-org/DataExchange-DatasetJson (examples/adam/adlbhy.json): alanine and aspartate aminotransferase of
subject 01-701-1015 by visit, dates as days since 1 January 1960. And CDISC's knowledge base, example "ADaM Basic Data Structure
(BDS) using PARAMCD", https://www.cdisc.org/kb/examples/adam-basic-data-structure-bds-using-paramcd-80288192: PASI scores of
subject ABC-1-001. Single numbers were copied from both, and nothing else.
"""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.reports.adam import adam_datasets
from biomarkers.results import Assay
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.schedule import study_day
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, timepoint_rows
from biomarkers.timepoints.due import due_cells

SAS_EPOCH = date(1960, 1, 1)
FIRST_DOSE = SAS_EPOCH + timedelta(days=19725)

PILOT_DAYS = ((19718, -7), (19739, 15), (19753, 29), (19766, 42), (19787, 63), (19808, 84))
"""ADT and ADY."""

PILOT_ALT = (27.0, (41.0, 18.0, 26.0, 22.0, 27.0))
PILOT_AST = (40.0, (33.0, 21.0, 26.0, 21.0))
"""BASE, and AVAL at weeks 2, 4, 6, 8 and 12."""

PASI = (12.0, ((6.0, -6.0, -50), (2.0, -10.0, -83)))
"""BASE, and AVAL, CHG and PCHG (rounded to whole percent) at weeks 12 and 16."""


@pytest.mark.parametrize(("adt", "ady"), PILOT_DAYS)
def test_study_days_are_those_of_the_pilot_study(adt: int, ady: int) -> None:
    assert study_day(SAS_EPOCH + timedelta(days=adt), FIRST_DOSE) == ady


def analysis(base: float, values: tuple[float, ...]) -> list[dict[str, object]]:
    """Run values through alignment and the ADaM-shaped set: the baseline a week before, the others at unplanned visits."""
    content = packaged_study().model_dump()
    definition = StudyDefinition.model_validate(content)
    days = [FIRST_DOSE - timedelta(days=7), *(FIRST_DOSE + timedelta(days=14 * at) for at in range(1, len(values) + 1))]
    specimens = {
        f"ATR-{at:06d}": Specimen(
            accession_id=f"ATR-{at:06d}",
            subject_id="S0001",
            material=Material.PLASMA,
            collected_at=Moment(day=day),
            nominal_visit="UNSCHEDULED" if at else "BASELINE",
        )
        for at, day in enumerate(days)
    }
    roster = Roster(
        subjects={"S0001": Subject(subject_id="S0001", site="701", treatment_start=Moment(day=FIRST_DOSE))},
        specimens=specimens,
    )
    results = [
        AlignedInput(
            accession_id=accession_id,
            assay=Assay.ELISA,
            measurand="IL6",
            value=value,
            comparator="",
            unit="pg/mL",
            lower=None,
            upper=None,
            denominator="",
            n_replicates=1,
            evaluable=True,
            finding_codes="",
            run_id="run",
            result_id=f"r-{accession_id}",
            source_sha256s="0" * 64,
            order=1,
        )
        for accession_id, value in zip(specimens, (base, *values), strict=True)
    ]
    rows = timepoint_rows("study", align_specimens(definition, roster), due_cells(definition, roster), results, as_of=days[-1])
    _, adlb, _ = adam_datasets(definition, rows, roster)
    names = [variable.name for variable in adlb.variables]
    return [dict(zip(names, row, strict=True)) for row in adlb.rows]


@pytest.mark.parametrize(("base", "values"), [PILOT_ALT, PILOT_AST], ids=["ALT", "AST"])
def test_baseline_and_changes_are_those_of_the_pilot_study(base: float, values: tuple[float, ...]) -> None:
    first, *later = analysis(base, values)
    assert (first["ABLFL"], first["AVAL"], first["BASE"], first["CHG"], first["ADY"]) == ("Y", base, base, None, -7)
    assert [row["BASE"] for row in later] == [base] * len(values)
    assert [row["AVAL"] for row in later] == list(values)
    assert [row["CHG"] for row in later] == [value - base for value in values]
    assert {row["ABLFL"] for row in later} == {None}


def test_percent_changes_are_those_of_the_standards_example() -> None:
    base, expected = PASI
    _, *later = analysis(base, tuple(value for value, _, _ in expected))
    assert [(row["AVAL"], row["CHG"], round(float(str(row["PCHG"])))) for row in later] == list(expected)
