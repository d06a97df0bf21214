"""What surrounds a tube of cells: controls by their role, gates a person corrected, blood counts of the same day."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.cytometry.examined import examine
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gate_shapes import Rectangle
from biomarkers.cytometry.strategy import assemble
from biomarkers.laboratory import open_lab
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.gatingml_writing import write_gatingml
from biomarkers.readers.panels import packaged_panel

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab

pytestmark = pytest.mark.slow

SUPERSEDED = """
SELECT supersession.reason FROM supersession JOIN analysis ON analysis.analysis_id = supersession.old_analysis_id
WHERE analysis.step = ''
"""


def asked(lab: Lab, question: str, *given: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(lab.root / "lab.db")
    rows = connection.execute(question, given).fetchall()
    connection.close()
    return rows


def values(lab: Lab, measurand: str) -> dict[str | None, float | None]:
    with open_lab(lab.root) as laboratory:
        rows = laboratory.rows(as_of=date(2026, 6, 30))
    return {row.accession_id: row.value for row in rows if row.measurand == measurand and row.accession_id and row.run_id}


def states(files: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {file["name"]: file["state"] for file in files}


def with_border_moved(tube: Path, target: Path, *, population: str) -> None:
    """Write the gates found on a tube as Gating-ML, one lower border moved up."""
    acquisition = read_fcs(tube)
    strategy = found_gates(examine(acquisition, packaged_panel("pbmc-lineage")).gated, acquisition).strategy
    gates = []
    for gate in strategy.gates:
        shape = gate.shape
        if gate.name == population and isinstance(shape, Rectangle) and shape.sides[0].minimum is not None:
            side = replace(shape.sides[0], minimum=shape.sides[0].minimum * 1.4)
            shape = replace(shape, sides=(side, *shape.sides[1:]))
        gates.append(replace(gate, shape=shape))
    write_gatingml(target, assemble(gates, scales=strategy.scales, matrices=strategy.matrices))


@pytest.fixture
def tubes(small_study: Dropped) -> list[Path]:
    """Sound tubes of the small study."""
    jobs = [job for job in small_study.study.acquisitions if job.events > 1000 and job.file_name == f"{job.accession_id}.fcs"]
    return [small_study.inbox / "cytometry" / job.file_name for job in jobs]


def test_controls_are_kept_by_their_role_and_only_specimens_reach_the_table(
    new_lab: Callable[..., Lab], small_study: Dropped, tubes: Sequence[Path]
) -> None:
    lab = new_lab()
    lab.drop("study", *sorted((small_study.inbox / "study").iterdir()))
    lab.write("cytometry", "fmo.toml", 'role = "FMO"\nmarker = "CD25"\nbatch = "B1"\n')
    lab.drop("cytometry", tubes[0])
    first = states(lab.ingest())
    assert first["fmo.toml"] == "waiting"
    assert first[tubes[0].name] == "recorded"
    # The bytes name accessions of their own in a keyword; a control's sidecar speaks before that.
    shutil.copyfile(tubes[1], lab.root / "inbox" / "cytometry" / "fmo.fcs")
    shutil.copyfile(tubes[2], lab.root / "inbox" / "cytometry" / "control.fcs")
    lab.write("cytometry", "control.toml", 'role = "CONTROL_PBMC"\nbatch = "B1"\n')
    lab.write("cytometry", f"{tubes[0].stem}.toml", 'batch = "B1"\n')
    assert set(states(lab.ingest()).values()) == {"recorded"}
    assert set(values(lab, "CD4_PCT_T")) == {tubes[0].stem}
    kept = {str(name): json.loads(str(more)) for name, more in asked(lab, "SELECT name, more FROM analysis WHERE step = ''")}
    assert (kept["fmo"]["role"], kept["fmo"]["marker"]) == ("FMO", "CD25")
    assert kept["control"]["role"] == "CONTROL_PBMC"
    by_code = {reading["measurand"]: reading["value"] for reading in kept["control"]["readings"]}
    assert 20 < by_code["CD4_PCT_T"] < 95
    assert kept[tubes[0].stem]["batch"] == "B1"
    ((reason,),) = asked(lab, SUPERSEDED)
    assert reason == f"The sidecar '{tubes[0].stem}.toml' was dropped."
    # A batch of controls that cannot be judged yet says nothing; nothing is withheld for it.
    assert asked(lab, "SELECT code FROM remark WHERE code = 'CONTROL_FAILED'") == []


def test_gates_a_person_corrected_wait_for_a_signature_then_supersede_and_outlast_a_recomputation(
    new_lab: Callable[..., Lab], small_study: Dropped, tubes: Sequence[Path]
) -> None:
    lab = new_lab()
    lab.drop("study", *sorted((small_study.inbox / "study").iterdir()))
    lab.drop("cytometry", tubes[0])
    gates = f"{tubes[0].stem}.xml"
    with_border_moved(tubes[0], lab.root / "inbox" / "cytometry" / gates, population="T")
    content = (lab.root / "inbox" / "cytometry" / gates).read_bytes()
    files = {file["name"]: file for file in lab.ingest()}
    assert files[gates]["state"] == "waiting"
    assert "signs" in files[gates]["what"]
    before = values(lab, "T_PCT_LYMPH")
    lab.write("cytometry", f"{tubes[0].stem}.toml", 'by = "R. Franklin"\nreason = "The gate on CD3 took in dim cells."\n')
    assert set(states(lab.ingest()).values()) == {"recorded"}
    after = values(lab, "T_PCT_LYMPH")
    assert after != before
    ((reason,),) = asked(lab, SUPERSEDED)
    assert reason == "by R. Franklin: The gate on CD3 took in dim cells."
    both = asked(lab, "SELECT value FROM result WHERE measurand = 'T_PCT_LYMPH' ORDER BY rowid")
    assert [value for (value,) in both] == [*before.values(), *after.values()]
    codes = asked(lab, "SELECT findings FROM timepoint WHERE measurand = 'T_PCT_LYMPH' AND value IS NOT NULL")
    assert "GATE_BY_PERSON" in str(codes)
    lab.write("cytometry", gates, content)
    lab.run("recompute", "--reason", "a test")
    assert values(lab, "T_PCT_LYMPH") == after
    assert states(lab.ingest()) == {gates: "seen"}


def test_cells_in_blood_follow_the_days_blood_count_and_say_so_where_there_is_none(
    new_lab: Callable[..., Lab], small_study: Dropped, tubes: Sequence[Path]
) -> None:
    lab = new_lab()
    lists = sorted((small_study.inbox / "study").iterdir())
    lab.drop("study", *(path for path in lists if path.name != "haematology.csv"))
    lab.drop("cytometry", tubes[0])
    lab.ingest()
    accession = tubes[0].stem
    assert values(lab, "CD4_PER_UL") == {accession: None}
    codes = asked(lab, "SELECT findings FROM timepoint WHERE measurand = 'CD4_PER_UL' AND accession_id = ?", accession)
    assert "BLOOD_COUNT_MISSING" in str(codes)
    lab.write("study", "haematology.csv", f"accession_id,subject_id,date,lymphocytes_per_ul\n{accession},,,1500\n")
    assert states(lab.ingest()) == {"haematology.csv": "recorded"}
    shares = [values(lab, code)[accession] for code in ("T_PCT_LYMPH", "CD4_PCT_T")]
    assert values(lab, "CD4_PER_UL")[accession] == pytest.approx(1500 * shares[0] / 100 * shares[1] / 100, rel=1e-6)
    longer = f"accession_id,subject_id,date,lymphocytes_per_ul\n{accession},,,1500\nATR-000099,,,900\n"
    lab.write("study", "haematology.csv", longer)
    before = asked(lab, "SELECT count(*) FROM analysis")
    assert states(lab.ingest()) == {"haematology.csv": "recorded"}
    # Other specimens' counts change nothing of this one's.
    assert asked(lab, "SELECT count(*) FROM analysis") == before
