"""Who a tube is, and what tubes that are no specimens tell."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from biomarkers.cytometry.roles import Tube, batch_findings, control_readings, fmo_cut, tube_of, with_batch_by_keyword
from biomarkers.errors import GatingError, IdentifierError
from biomarkers.provenance import Provenance, utc_now
from biomarkers.results import Assay, Interval, Quantity, Result
from biomarkers.study.cellular import TubePattern, TubeRole, TubeSidecar
from biomarkers.study.definition import IdentifierPatterns

PATTERNS = IdentifierPatterns(
    accession_id="ATR-[0-9]{6}",
    subject_id="S[0-9]{4}",
    source="assumption",
    fcs_roles=(
        TubePattern(role=TubeRole.FMO, pattern="{accession_id}_FMO_{marker}.fcs"),
        TubePattern(role=TubeRole.SINGLE_STAIN, pattern="comp_{marker}_{batch}.fcs"),
        TubePattern(role=TubeRole.BEADS, pattern="beads_{batch}.fcs"),
        TubePattern(role=TubeRole.CONTROL_PBMC, pattern="CONTROL_{batch}.fcs"),
    ),
)


@pytest.mark.parametrize(
    ("name", "tube"),
    [
        ("ATR-000001.fcs", Tube(role=TubeRole.SPECIMEN, accession_id="ATR-000001")),
        ("ATR-000001_FMO_PD-1.fcs", Tube(role=TubeRole.FMO, accession_id="ATR-000001", marker="PD-1")),
        ("Comp_CD3_B07.FCS", Tube(role=TubeRole.SINGLE_STAIN, marker="CD3", batch="B07")),
        ("beads_B07.fcs", Tube(role=TubeRole.BEADS, batch="B07")),
        ("control_B07.fcs", Tube(role=TubeRole.CONTROL_PBMC, batch="B07")),
        ("tube 4.fcs", Tube(role=TubeRole.SPECIMEN)),
    ],
)
def test_the_file_name_tells_the_role(name: str, tube: Tube) -> None:
    assert tube_of(name, PATTERNS) == tube


def test_a_sidecar_adds_what_the_name_leaves_out() -> None:
    sidecar = TubeSidecar(role=TubeRole.CONTROL_PBMC, batch="B08")
    assert tube_of("tube 4.fcs", PATTERNS, sidecar) == Tube(role=TubeRole.CONTROL_PBMC, batch="B08")
    assert tube_of("ATR-000001.fcs", PATTERNS, TubeSidecar(batch="B08")) == Tube(
        role=TubeRole.SPECIMEN, accession_id="ATR-000001", batch="B08"
    )


def test_a_sidecar_that_contradicts_the_name_is_refused() -> None:
    with pytest.raises(IdentifierError, match="sidecar says role 'BEADS', the file's name says 'SPECIMEN'"):
        tube_of("ATR-000001.fcs", PATTERNS, TubeSidecar(role=TubeRole.BEADS))


def test_a_name_that_two_roles_claim_is_refused() -> None:
    both = PATTERNS.model_copy(
        update={"fcs_roles": (*PATTERNS.fcs_roles, TubePattern(role=TubeRole.BEADS, pattern="CONTROL_{batch}.fcs"))}
    )
    with pytest.raises(IdentifierError, match="fits the patterns of CONTROL_PBMC and BEADS"):
        tube_of("CONTROL_B07.fcs", both)


def test_the_batch_is_told_by_the_name_by_the_sidecar_or_by_a_keyword_the_study_names() -> None:
    named = PATTERNS.model_copy(update={"fcs_file": "{accession_id}_{batch}.fcs", "fcs_batch_keyword": "Experiment Name"})
    keywords = {"EXPERIMENT NAME": " B-07 "}
    by_name = tube_of("ATR-000123_B08.fcs", named)
    assert (by_name.accession_id, by_name.batch) == ("ATR-000123", "B08")
    assert with_batch_by_keyword(by_name, named, keywords).batch == "B08"
    control = tube_of("beads.fcs", named, TubeSidecar(role=TubeRole.BEADS))
    assert with_batch_by_keyword(control, named, keywords).batch == "B-07"
    assert with_batch_by_keyword(control, PATTERNS, keywords).batch == ""


def test_patterns_that_leave_the_marker_open_are_refused() -> None:
    with pytest.raises(ValidationError, match="does not hold"):
        TubePattern(role=TubeRole.FMO, pattern="{accession_id}_FMO.fcs")
    with pytest.raises(ValidationError, match="specimens are named by"):
        TubePattern(role=TubeRole.SPECIMEN, pattern="{accession_id}.fcs")
    with pytest.raises(ValidationError, match="needs its marker"):
        TubeSidecar(role=TubeRole.FMO)


def test_the_cut_of_an_fmo_lies_at_its_quantile_with_limits_that_hold_the_truth() -> None:
    rng = np.random.default_rng(5)
    truth, held = 2.3263478740408408, 0  # 99 % point of the standard normal distribution
    for _ in range(300):
        cut = fmo_cut(rng.standard_normal(5000).astype(np.float32), marker="PD-1")
        held += cut.lower <= truth <= cut.upper
    # 95 % of 300 is 285; four standard deviations are 15.
    assert 270 <= held <= 299


def test_an_fmo_of_few_events_gives_no_cut() -> None:
    with pytest.raises(GatingError, match="holds 150 events of this population; 200 are needed"):
        fmo_cut(np.zeros(150, dtype=np.float32), marker="PD-1")


def test_a_control_is_read_for_its_chart_and_a_missing_number_stays_missing() -> None:
    provenance = Provenance(sources=(), inputs=(), software="x", parameters="{}", computed_at=utc_now())

    def result(quantity: Quantity | None) -> Result:
        return Result(
            accession_id="control",
            assay=Assay.CYTOMETRY,
            measurand="CD4_PCT_T",
            quantity=quantity,
            interval=None if quantity is None else Interval(lower=58.0, upper=62.0),
            denominator="T",
            n_replicates=1000,
            run_id="run",
            findings=(),
            provenance=provenance,
        )

    readings = control_readings(
        {"CD4_PCT_T": result(Quantity(value=60.0, unit="%")), "CD8_PCT_T": result(None)}, batch="B07", measured_at="2025-03-31"
    )
    assert [(reading.measurand, reading.value, reading.lower) for reading in readings] == [
        ("CD4_PCT_T", 60.0, 58.0),
        ("CD8_PCT_T", None, None),
    ]
    (failed,) = batch_findings("B07", readings, {"CD4_PCT_T": "one control lies more than 3 standard deviations from its mean"})
    assert failed.code == "CONTROL_FAILED"
    assert "CD8_PCT_T has no reportable value; CD4_PCT_T: one control lies" in failed.message
    assert batch_findings("B07", readings[:1], {}) == ()
    assert batch_findings("B07", (), {})[0].code == "CONTROL_MISSING"
