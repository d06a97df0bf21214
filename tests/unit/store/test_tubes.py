"""Acquisitions with their cuts, and those gated with their batch: written whole, read back equal, shown side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.cut_records import ControlCut, CutRecord, ScaleRecord
from biomarkers.cytometry.joint_analysis import STEP, JointAnalysis
from biomarkers.cytometry.joint_gating import JointCut
from biomarkers.results import Assay, Parent, Quantity, Run, derived_run_identity
from biomarkers.store.database import Database
from biomarkers.store.decisions import Decision
from biomarkers.store.results import current_results, read_analysis, record_analysis
from biomarkers.store.tubes import all_tubes, batched_tubes, joint_values, rejected_tubes, tube_results

Register = Callable[[Database, Run], None]

Decide = Callable[[Database, str, Decision], None]


@pytest.fixture
def tube(acquisition: AcquisitionAnalysis) -> AcquisitionAnalysis:
    """A specimen of a batch, with a cut it found itself."""
    cut = CutRecord(
        population="T",
        marker="CD3",
        value=1650.5,
        quality=0.97,
        origin="own",
        draws=(1640.25, 1661.0),
        lowest=1500.0,
        highest=1800.0,
        lacks_valley=False,
        scale=ScaleRecord(kind="logicle", top=262_144.0, width=0.5, decades=4.5),
    )
    control = ControlCut(
        population="Treg", marker="CD25", quantile=0.95, value=400.0, lower=None, upper=410.0, draws=(399.0,), events=900
    )
    return replace(acquisition, batch="B1", found=(cut,), control_cuts=(control,))


def joint_of(own: AcquisitionAnalysis) -> JointAnalysis:
    """The same tube gated with another visit."""
    run_id = derived_run_identity(Assay.CYTOMETRY, STEP, own.run.run_id)
    (result,) = own.run.results
    moved = replace(result, run_id=run_id, quantity=Quantity(value=60.5, unit="%"))
    cut = JointCut(
        population="T",
        marker="CD3",
        value=1655.0,
        quality=0.97,
        draws=(1650.0, 1660.0),
        members=(own.run.run_id, "other"),
        shifted=("third",),
        probability=0.4,
        frozen=True,
        lacks_valley=True,
    )
    return JointAnalysis(
        step=STEP,
        run=replace(own.run, run_id=run_id, name="jointly", results=(moved,)),
        parents=(Parent(analysis_id=own.run.analysis_id, result_id=result.result_id, replaces=True),),
        panel=own.panel,
        events=own.events,
        populations=own.populations,
        batch=own.batch,
        own_run_id=own.run.run_id,
        cuts=(cut,),
        removed_events=12,
    )


@pytest.fixture
def joint(database: Database, tube: AcquisitionAnalysis, register: Register, now: datetime) -> JointAnalysis:
    """Both on record."""
    register(database, tube.run)
    made = joint_of(tube)
    with database.write() as transaction:
        record_analysis(transaction, tube, reason="", recorded_at=now)
        record_analysis(transaction, made, reason="", recorded_at=now)
    return made


def test_both_come_back_equal_and_the_joint_number_counts(
    database: Database, tube: AcquisitionAnalysis, joint: JointAnalysis
) -> None:
    with database.read() as reading:
        assert read_analysis(reading, analysis_id=tube.run.analysis_id) == tube
        assert read_analysis(reading, analysis_id=joint.run.analysis_id) == joint
        (counting,) = current_results(reading)
        (pair,) = joint_values(reading, step=STEP)
    assert (counting.value, counting.step) == (60.5, STEP)
    assert (pair.single, pair.joint, pair.own_run_id, pair.joint_run_id) == (61.25, 60.5, tube.run.run_id, joint.run.run_id)


def test_a_tube_is_found_with_its_cuts_and_its_results_with_what_was_decided(
    database: Database, tube: AcquisitionAnalysis, joint: JointAnalysis, decide: Decide
) -> None:
    decide(database, joint.run.results[0].result_id, Decision.EXCLUDED)
    with database.read() as reading:
        (bare,), (stored,) = batched_tubes(reading), batched_tubes(reading, with_cuts=True)
        own, derived = tube_results(reading), tube_results(reading, step=STEP)
        assert rejected_tubes(reading) == frozenset()
        assert len(all_tubes(reading)) == 1
    assert (bare.found, bare.control_cuts) == ((), ())
    assert (stored.found, stored.control_cuts, stored.batch) == (tube.found, tube.control_cuts, "B1")
    assert [one.decision for one in own[tube.run.run_id]] == [None]
    assert [one.decision for one in derived[joint.run.run_id]] == [Decision.EXCLUDED]
