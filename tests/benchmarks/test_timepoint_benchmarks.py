"""The timepoint table of 70 subjects, 4 visits and 100 measurands, from objects in a warm process to a data frame.

The bar is 100 ms on an idle machine. The peer is the least that pandas does with the same 28 000 rows: merging results with
specimens and baselines, without a status, a window, a bound or a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time, timedelta
from time import process_time

import pandas as pd
import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import Alignment, align_specimens
from biomarkers.timepoints.alignment import AlignedInput, timepoint_columns
from biomarkers.timepoints.due import DueCell, due_cells
from biomarkers.timepoints.table import timepoint_frame

Benchmark = Callable[[Callable[[], object]], object]

FIRST_DOSE = date(2025, 3, 10)
AS_OF = date(2026, 1, 1)
DAYS = {"BASELINE": -1, "C2D1": 21, "C6D1": 105, "PROGRESSION": 150}


def trial() -> tuple[tuple[Alignment, ...], tuple[DueCell, ...], list[AlignedInput]]:
    content = packaged_study().model_dump()
    pattern = next(analyte for analyte in content["analytes"] if analyte["code"] == "IL15")
    content |= {"panels": (), "stains": (), "ratios": ()}
    content["analytes"] = [dict(pattern, code=f"M{at:03d}") for at in range(100)]
    definition = StudyDefinition.model_validate(content)
    subjects, specimens, results = {}, {}, []
    for subject in range(70):
        name = f"S{subject:04d}"
        subjects[name] = Subject(
            subject_id=name,
            site="LONDON",
            treatment_start=Moment(day=FIRST_DOSE, time=time(10)),
            progression_date=FIRST_DOSE + timedelta(days=150),
        )
        for number, (visit, days) in enumerate(DAYS.items()):
            accession = f"ATR-{subject:04d}{number:02d}"
            specimens[accession] = Specimen(
                accession_id=accession,
                subject_id=name,
                material=Material.PLASMA,
                collected_at=Moment(day=FIRST_DOSE + timedelta(days=days), time=time(8)),
                nominal_visit=visit,
            )
            results += [
                AlignedInput(
                    accession_id=accession,
                    assay=Assay.ELISA,
                    measurand=f"M{at:03d}",
                    value=10.0 + subject + at + number,
                    comparator="<" if at % 7 == 0 else "",
                    unit="pg/mL",
                    lower=9.0,
                    upper=11.0,
                    denominator="",
                    n_replicates=2,
                    evaluable=True,
                    finding_codes="REPLICATE_CV" if at % 5 == 0 else "",
                    run_id=f"run-{at}",
                    result_id=f"r-{accession}-{at}",
                    source_sha256s="0" * 64,
                    order=1,
                )
                for at in range(100)
            ]
    roster = Roster(subjects=subjects, specimens=specimens)
    return align_specimens(definition, roster), due_cells(definition, roster), results


@pytest.mark.benchmark_suite
def test_a_trials_table_in_100_ms(benchmark: Benchmark) -> None:
    alignments, due, results = trial()

    def ours() -> pd.DataFrame:
        return timepoint_frame(timepoint_columns("study", alignments, due, results, as_of=AS_OF))

    plain = pd.DataFrame(
        [(one.accession_id, one.measurand, one.value) for one in results], columns=["accession_id", "measurand", "value"]
    )
    places = pd.DataFrame(
        [(one.accession_id, one.subject_id, one.visit, one.study_day) for one in alignments],
        columns=["accession_id", "subject_id", "visit", "study_day"],
    )

    def peer() -> pd.DataFrame:
        table = plain.merge(places, on="accession_id")
        baselines = table[table["visit"] == "BASELINE"][["subject_id", "measurand", "value"]]
        table = table.merge(baselines, on=["subject_id", "measurand"], suffixes=("", "_baseline"), how="left")
        table["change"] = table["value"] - table["value_baseline"]
        return table.sort_values(["subject_id", "visit", "measurand"])

    assert len(ours()) == len(peer()) == 28_000
    benchmark(ours)
    seconds, peer_seconds = least_cpu(ours), least_cpu(peer)
    print(  # noqa: T201  - the number is the point
        f"table of 28 000 rows: {1000 * seconds:.0f} ms of processor time; bare merges of pandas {1000 * peer_seconds:.0f} ms"
    )
    # The bar is 100 ms. Processor time, the least of several, because other work on the machine is not ours.
    assert seconds <= 0.1


def least_cpu(work: Callable[[], object]) -> float:
    found = []
    for _ in range(9):
        start = process_time()
        work()
        found.append(process_time() - start)
    return min(found)
