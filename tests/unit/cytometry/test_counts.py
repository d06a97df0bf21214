"""Cells per microlitre, by the day's blood count and by beads."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.counts import BeadCount, blood_counts, per_ul_of_suspension, same_day_count
from biomarkers.errors import AssayError, StudyDefinitionError
from biomarkers.provenance import Provenance, utc_now
from biomarkers.results import Assay, Finding, Run, Severity
from biomarkers.study.cellular import CountMeasurand, HaematologyCount
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Specimen

PROVENANCE = Provenance(sources=(), inputs=(), software="x", parameters="{}", computed_at=utc_now())
CD4 = CountMeasurand(code="CD4_PER_UL", population="CD4")
BLOOD = HaematologyCount(lymphocytes_per_ul=1500.0, accession_id="ATR-000001")


def _population(name: str, parent: str, count: int, parent_count: int, *findings: Finding) -> PopulationRecord:
    percent = 100.0 * count / parent_count
    spread = 1.96 * (percent * (100 - percent) / parent_count) ** 0.5
    return PopulationRecord(
        name=name,
        parent=parent,
        denominator=parent,
        count=count,
        parent_count=parent_count,
        frequency_percent=percent,
        lower=percent - spread,
        upper=percent + spread,
        median_intensity={},
        quality=None,
        cuts={},
        reportable=True,
        findings=findings,
    )


def _analysis(t_count: int = 7000, cd4_count: int = 4200, *findings: Finding) -> AcquisitionAnalysis:
    run = Run(run_id="run", assay=Assay.CYTOMETRY, name="tube", acquired_at="", findings=(), results=(), provenance=PROVENANCE)
    return AcquisitionAnalysis(
        run=run,
        panel="pbmc-lineage",
        events=20_000,
        populations=(
            _population("live", "root", 15_000, 20_000),
            _population("lymphocytes", "live", 10_000, 15_000),
            _population("T", "lymphocytes", t_count, 10_000),
            _population("CD4", "T", cd4_count, t_count, *findings),
        ),
    )


def test_a_count_is_the_share_of_lymphocytes_times_the_days_blood_count() -> None:
    (result,) = blood_counts(_analysis(), [CD4], BLOOD, accession_id="ATR-000001", provenance=PROVENANCE)
    assert result.quantity.value == pytest.approx(630.0)
    assert (result.quantity.unit, result.quantity.comparator) == ("cells/uL", "")
    assert (result.denominator, result.n_replicates) == ("blood", 4200)


def test_the_interval_holds_the_truth_of_simulated_tubes_and_blood_counts() -> None:
    rng = np.random.default_rng(8)
    truth_share, truth_blood, held = (0.7, 0.6), 1500.0, 0
    for _ in range(400):
        t_count = int(rng.binomial(10_000, truth_share[0]))
        analysis = _analysis(t_count, int(rng.binomial(t_count, truth_share[1])))
        blood = HaematologyCount(lymphocytes_per_ul=truth_blood * np.exp(0.05 * rng.standard_normal()))
        (result,) = blood_counts(analysis, [CD4], blood, accession_id="a", provenance=PROVENANCE)
        held += result.interval.lower <= 630.0 <= result.interval.upper
    # 95 % of 400 is 380, with a standard deviation of 4.4.
    assert 366 <= held <= 394


def test_without_a_blood_count_there_is_no_number_and_the_reason_is_told() -> None:
    (result,) = blood_counts(_analysis(), [CD4], None, accession_id="ATR-000001", provenance=PROVENANCE)
    assert result.quantity is None
    assert [finding.code for finding in result.findings] == ["BLOOD_COUNT_MISSING"]


def test_what_is_not_reportable_gives_no_count() -> None:
    reject = Finding(code="NO_VALLEY", severity=Severity.REJECT, where="w", message="m", remedy="r")
    (result,) = blood_counts(_analysis(7000, 4200, reject), [CD4], BLOOD, accession_id="a", provenance=PROVENANCE)
    assert result.quantity is None
    assert [finding.code for finding in result.findings] == ["NO_VALLEY"]


@pytest.mark.parametrize(("events", "told"), [(30, "present but not quantified"), (5, "too few to say that it is present")])
def test_below_the_limit_of_quantification_the_count_is_a_bound(events: int, told: str) -> None:
    (result,) = blood_counts(_analysis(7000, events), [CD4], BLOOD, accession_id="a", provenance=PROVENANCE)
    # 50 of 10 000 lymphocytes at 1500 lymphocytes per microlitre.
    assert (result.quantity.comparator, result.quantity.value) == ("<", pytest.approx(7.5))
    assert result.interval is None
    assert [finding.code for finding in result.findings] == ["FEW_EVENTS"]
    assert told in result.findings[0].message


def test_measurands_the_panel_cannot_give_are_refused_together() -> None:
    wrong = [
        CountMeasurand(code="NKT_PER_UL", population="NKT"),
        CountMeasurand(code="LIVE_PER_UL", population="live"),
    ]
    with pytest.raises(StudyDefinitionError) as caught:
        blood_counts(_analysis(), wrong, BLOOD, accession_id="a", provenance=PROVENANCE)
    assert len(caught.value.faults) == 2


def _specimen() -> Specimen:
    return Specimen(
        accession_id="ATR-000002",
        subject_id="S0001",
        material=Material.PBMC,
        collected_at=Moment(day=date(2025, 3, 31)),
        parent_accession_id="ATR-000001",
    )


def test_the_blood_count_of_the_specimen_comes_before_that_of_the_day_and_other_days_do_not_count() -> None:
    of_day = HaematologyCount(lymphocytes_per_ul=900, subject_id="S0001", day=date(2025, 3, 31))
    of_other = HaematologyCount(lymphocytes_per_ul=700, subject_id="S0001", day=date(2025, 3, 30))
    of_stranger = HaematologyCount(lymphocytes_per_ul=800, subject_id="S0002", day=date(2025, 3, 31))
    assert same_day_count([of_day, of_other, of_stranger, BLOOD], _specimen()) is BLOOD
    assert same_day_count([of_other, of_stranger, of_day], _specimen()) is of_day
    assert same_day_count([of_other, of_stranger], _specimen()) is None


def test_blood_counts_that_disagree_are_refused() -> None:
    day = date(2025, 3, 31)
    counts = [HaematologyCount(lymphocytes_per_ul=number, subject_id="S0001", day=day) for number in (900, 1200)]
    with pytest.raises(AssayError, match="disagree: 900, 1200"):
        same_day_count(counts, _specimen())


def test_beads_count_the_suspension_and_say_so() -> None:
    quantity, interval = per_ul_of_suspension(4000, BeadCount(bead_events=2000, beads_per_ul=50.0))
    assert (quantity.value, quantity.unit) == (100.0, "cells/uL of suspension")
    assert interval.lower < 100.0 < interval.upper
    with pytest.raises(AssayError, match="0 beads"):
        per_ul_of_suspension(4000, BeadCount(bead_events=0, beads_per_ul=50.0))
