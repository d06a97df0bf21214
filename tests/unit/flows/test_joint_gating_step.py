"""A subject's visits gated together over what is on record: which numbers count, which stay, and which never move."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lxml import etree
from typer.testing import CliRunner

from biomarkers.cli.cytometry import app
from biomarkers.cytometry.evaluation import count_populations, evaluate
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.gates import read_gates
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.lookups import result_versions
from biomarkers.store.results import read_analysis
from flows.joint_work import joint_run_id

if TYPE_CHECKING:
    from tests.unit.flows.conftest import StainedLab

BASELINE, C2D1, C6D1 = "ATR-000101", "ATR-000102", "ATR-000103"


def test_joint_values_count_and_single_ones_stay_beside_them_whatever_the_order_of_arrival(
    stained_lab: Callable[..., StainedLab], drift: Mapping[str, float]
) -> None:
    lab, other = stained_lab(name="one"), stained_lab(name="two")
    first = lab.stain(1, "BASELINE")
    assert lab.step() == []  # a single visit has nothing to be gated with
    lab.stain(1, "C2D1", drift=drift)
    assert len(lab.step()) == 2
    other.stain(1, "C2D1", drift=drift)
    other.stain(1, "BASELINE")
    other.step()
    assert lab.table() == other.table()
    counting = lab.values("CD4_PCT_T")[BASELINE]
    assert (counting.run_id, counting.step) == (joint_run_id(first), "joint gating")
    with lab.laboratory.database.read() as reading:
        versions = result_versions(reading, accession_id=BASELINE, measurand="CD4_PCT_T")
        joint = read_analysis(reading, analysis_id=counting.analysis_id)
    assert [one.step for one in versions if one.is_current] == ["", "joint gating"]
    page = (lab.laboratory.folder.evidence / counting.run_id / "quality.html").read_text()
    assert "By itself and with its batch" in page
    assert f"{versions[0].value:.2f}" in page
    # The gates of the number that counts, for other programs, keep the very events it was counted from.
    gates = lab.laboratory.folder.evidence / counting.run_id / "gates.wsp"
    acquisition = read_fcs(lab.scratch / f"{BASELINE}.fcs")
    strategy = read_gates(gates).strategy_for(f"{BASELINE}.fcs")
    kept = {one.path[-1]: one.count for one in count_populations(strategy, evaluate(strategy, acquisition))}
    assert isinstance(joint, JointAnalysis)
    assert {name: kept[name] for name in ("T", "CD4", "CD8", "B", "NK", "CD4_PD1", "Treg")} == {
        one.name: one.count for one in joint.populations if one.name in {"T", "CD4", "CD8", "B", "NK", "CD4_PD1", "Treg"}
    }
    # Whose bytes are behind the number: its own first, then those of the other visit.
    assert [source.role for source in joint.run.provenance.sources] == ["instrument", "sidecar", "visit"]
    shown = CliRunner().invoke(
        app, ["visits", str(lab.laboratory.folder.root), "--accession", BASELINE, "--measurand", "CD4_PCT_T", "--json"]
    )
    assert shown.exit_code == 0, shown.output
    (pair,) = json.loads(shown.stdout)["values"]
    assert (pair["single"], pair["joint"]) == (versions[0].value, counting.value)
    assert (pair["own_run_id"], pair["joint_run_id"]) == (first, counting.run_id)
    # Nothing has changed: nothing is read, nothing is written.
    for path in lab.laboratory.folder.raw.rglob("*"):
        path.chmod(0o700)
        if path.is_file():
            path.unlink()
    assert lab.step() == []
    assert lab.faults == []


def test_a_reviewed_number_never_moves_and_a_later_visit_takes_its_cuts_and_says_so(
    stained_lab: Callable[..., StainedLab], drift: Mapping[str, float]
) -> None:
    lab = stained_lab()
    runs = [lab.stain(1, "BASELINE"), lab.stain(1, "C2D1")]
    lab.step()
    lab.review(joint_run_id(runs[1]))
    before = lab.table()
    lab.stain(1, "C6D1", drift=drift)
    (made,) = lab.step()
    after = lab.table()
    assert {key: value for key, value in after.items() if key[0] in {BASELINE, C2D1}} == before
    assert made.run.results[0].accession_id == C6D1
    assert all("CUTS_FROZEN" in {one.code for one in result.findings} for result in made.run.results)
    assert lab.step() == []


def test_a_number_reviewed_before_there_was_a_second_visit_stays_single(stained_lab: Callable[..., StainedLab]) -> None:
    lab = stained_lab()
    first = lab.stain(1, "BASELINE")
    lab.review(first)
    before = lab.table()
    lab.stain(1, "C2D1")
    (made,) = lab.step()
    assert made.run.results[0].accession_id == C2D1
    assert lab.values("T_PCT_LYMPH")[BASELINE].step == ""
    assert {key: value for key, value in lab.table().items() if key[0] == BASELINE} == before


def test_what_a_person_excluded_stays_excluded_and_moves_no_other_visit(stained_lab: Callable[..., StainedLab]) -> None:
    lab = stained_lab()
    lab.stain(1, "BASELINE")
    lab.stain(1, "C2D1")
    lab.step()
    with lab.laboratory.database.write() as transaction:
        for one in [lab.values(code)[C2D1] for code in {code for _, code in lab.table()}]:
            dispose(
                transaction,
                result_id=one.result_id,
                decision=Decision.EXCLUDED,
                reason="clotted",
                decided_by="maria",
                decided_at=lab.moment,
            )
    excluded = lab.values("CD4_PCT_T")[C2D1].result_id
    lab.stain(1, "C6D1")
    lab.step()
    counting = lab.values("CD4_PCT_T")[C2D1]
    assert (counting.result_id, counting.disposition) == (excluded, Decision.EXCLUDED)


def test_tubes_of_other_batches_and_of_other_subjects_are_not_gated_together(stained_lab: Callable[..., StainedLab]) -> None:
    lab = stained_lab(subjects=(1, 2))
    lab.stain(1, "BASELINE")
    lab.stain(1, "C2D1", sidecar='batch = "B2"\n')
    lab.stain(2, "C2D1")
    assert lab.step() == []


def test_an_fmo_of_the_batch_places_the_cut_its_panel_asks_for_and_its_absence_is_told(
    stained_lab: Callable[..., StainedLab],
) -> None:
    lab = stained_lab()
    own = lab.stain(1, "BASELINE", drift={"PD-1": 0.1})  # so dim that no valley parts it from the negatives
    assert lab.step() == []
    # A batch without FMOs is told beside the numbers whose gates ask for one, and beside no other.
    asking = {"TREG_PCT_CD4", "CD4_PD1_PCT_CD4", "CD8_PD1_PCT_CD8"}
    assert lab.remarks() == {(own, "", "CONTROL_MISSING")} | {(own, code, "FMO_MISSING") for code in asking}
    fmo = 'role = "FMO"\nmarker = "pd1"\nbatch = "B1"\n'
    lab.stain(1, "C2D1", name="fmo", sidecar=fmo, drift={"PD-1": 0.0}, seed=77)
    (made,) = lab.step()
    assert isinstance(made, JointAnalysis)
    assert made.own_run_id == own
    assert [source.name for source in made.run.provenance.sources if source.role == "fmo"] == ["fmo.fcs"]
    page = (lab.laboratory.folder.evidence / made.run.run_id / "quality.html").read_text()
    assert "quantile of control" in page
    shown = next(one for one in made.populations if one.name == "CD4_PD1")
    assert any("the cut is the quantile of control" in finding.message for finding in shown.findings)
    # The others of the batch are still missing; what is said is said of the number that counts, too.
    assert {run_id for run_id, _, code in lab.remarks() if code == "FMO_MISSING"} == {own, made.run.run_id}
    assert {measurand for _, measurand, code in lab.remarks() if code == "FMO_MISSING"} == {"TREG_PCT_CD4"}
    page = lab.scratch / "cuts.html"
    done = CliRunner().invoke(app, ["cuts", str(lab.laboratory.folder.root), "--output", str(page), "--json"])
    assert done.exit_code == 0, done.output
    drawn = json.loads(done.stdout)
    assert drawn["batches"] == [{"batch": "B1", "specimens": 1, "has_control": False, "failed": {}}]
    assert {one["origin"] for one in drawn["cuts"] if one["marker"] == "PD-1"} >= {"quantile of CD4_naive"}
    assert "FMO: fmo (PD-1)" in page.read_text()
    # An FMO that comes later never moves what a person has reviewed.
    lab.review(made.run.run_id)
    lab.stain(1, "C2D1", name="fmo2", sidecar=fmo, drift={"PD-1": 0.0}, seed=78, events=5000)
    assert lab.step() == []


def test_gates_a_person_corrected_count_before_joint_ones(stained_lab: Callable[..., StainedLab]) -> None:
    lab = stained_lab()
    first = lab.stain(1, "BASELINE")
    lab.stain(1, "C2D1")
    lab.step()
    moved = (lab.laboratory.folder.evidence / joint_run_id(first) / "gates.xml").read_bytes()
    lab.stain(1, "BASELINE", gates=_with_one_border_moved(moved, population="B"))
    assert len(lab.step()) == 2  # neither has company any more: both joint gatings are withdrawn
    counting = lab.values("B_PCT_LYMPH")[BASELINE]
    assert (counting.run_id, counting.step) == (first, "")
    assert "GATE_BY_PERSON" in counting.finding_codes
    assert lab.values("B_PCT_LYMPH")[C2D1].step == ""


def _with_one_border_moved(gates: bytes, *, population: str) -> bytes:
    """Move the lower border of a population's last gate up the scale, as a person would."""
    root = etree.fromstring(gates)
    space = "{http://www.isac-net.org/std/Gating-ML/v2.0/gating}"
    (gate,) = [one for one in root.iter(f"{space}RectangleGate") if population in (one.get(f"{space}id") or "").split("_")]
    side = next(one for one in gate.iter(f"{space}dimension") if one.get(f"{space}min") is not None)
    side.set(f"{space}min", str(1.2 * float(side.get(f"{space}min") or 0)))
    return bytes(etree.tostring(root))


def test_the_control_pbmc_of_a_batch_is_charted_beside_the_plates_controls(stained_lab: Callable[..., StainedLab]) -> None:
    lab = stained_lab()
    lab.stain(1, "BASELINE", name="control", sidecar='role = "CONTROL_PBMC"\nbatch = "B1"\n')
    (series,) = lab.laboratory.controls(analyte="CD4_PCT_T")
    assert (series.level, series.kit_lot, len(series.points)) == ("CONTROL_PBMC", "pbmc-lineage", 1)
    assert 50 < series.points[0].point.value < 70
    assert len(lab.laboratory.controls()) > 10
