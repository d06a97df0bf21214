"""The page of cuts over batches: what is drawn, ringed and counted."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.cytometry.cut_records import CutRecord, ScaleRecord
from biomarkers.elisa.control_charts import levey_jennings
from biomarkers.laboratory.cut_overview import BatchOverview, CutOverview, TubeOverview, broken_rules, control_points_of
from biomarkers.reports.cut_page import cut_page, gate_figure
from biomarkers.store.tubes import StoredTube
from biomarkers.study.cellular import TubeRole

PLACE = ("T", "CD3")


def tube(number: int, batch: str, *, quality: float = 0.9, joint: bool = False, far: float | None = None) -> TubeOverview:
    cut = CutRecord(
        population="T",
        marker="CD3",
        value=1000.0 + number,
        quality=quality,
        origin="own" if quality else "mixture",
        draws=(980.0 + number, 1020.0 + number),
        lowest=900.0,
        highest=1100.0,
        lacks_valley=False,
        scale=ScaleRecord(kind="logicle", top=262_144.0, width=0.5, decades=4.5),
    )
    return TubeOverview(
        run_id=f"r{number}",
        name=f"<tube {number}>",
        role=TubeRole.SPECIMEN,
        batch=batch,
        panel="pbmc-lineage",
        day="2026-01-01",
        found={PLACE: cut},
        joint={PLACE: 1001.0} if joint else {},
        far={PLACE: far} if far is not None else {},
    )


def test_a_gate_is_drawn_over_its_batches_with_outliers_ringed_and_joint_cuts_beside() -> None:
    tubes = [tube(1, "B1", joint=True), tube(2, "B1", quality=0.0), tube(3, "B2", far=-4.2)]
    figure = gate_figure(PLACE, tubes)
    assert (figure.acquisitions, figure.without_valley, figure.far, figure.joint) == (3, 1, 1, 1)
    picture = str(figure.picture)
    assert picture.count('class="mark-accepted"') == 2
    assert picture.count('class="mark-rejected"') == 1
    assert picture.count('class="far"') == 1
    assert "-4.2 robust standard deviations" in picture
    assert picture.count('class="joint"') == 1
    assert [name for name in ("B1", "B2") if f">{name}<" in picture] == ["B1", "B2"]


def test_the_page_needs_nothing_besides_itself_and_tells_of_failed_batches() -> None:
    values = [40.0 + 0.1 * (day % 3) for day in range(20)] + [46.0]
    controls = [control(day, value) for day, value in enumerate(values, start=1)]
    broken = broken_rules(controls)
    assert list(broken) == ["B21"]
    batches = (
        BatchOverview(
            batch="B21",
            first_day="2026-01-21",
            specimens=2,
            others={TubeRole.CONTROL_PBMC: ("control",), TubeRole.FMO: ("fmo (PD-1)",), TubeRole.SINGLE_STAIN: ("one (CD3)",)},
            failed=broken["B21"],
            has_control=True,
        ),
        BatchOverview(batch="B22", first_day="2026-01-22", specimens=1, others={}, failed={}, has_control=False),
    )
    charts = levey_jennings([point for one in controls for point in control_points_of(one)])
    page = cut_page(CutOverview(tubes=(tube(1, "B21"), tube(2, "B22")), batches=batches, charts=charts), title="Cuts")
    assert not re.search(r"<script|https?://|src=|@import", page)
    assert "CD4_PCT_T breaks" in page
    assert "SINGLE_STAIN: one (CD3)" in page
    assert "FMO: fmo (PD-1)" in page
    assert "&lt;tube 1&gt;" in page
    assert page.count("<svg") == 2  # one gate, one chart
    assert "CD4_PCT_T, lot pbmc-lineage, over 21 runs" in page


def test_a_laboratory_without_acquisitions_has_a_page_that_says_so() -> None:
    page = cut_page(CutOverview(tubes=(), batches=(), charts=()), title="Cuts")
    assert "No acquisition is on record." in page
    assert "No control PBMC was read." in page


def control(day: int, value: float) -> StoredTube:
    reading = ControlReading(
        batch=f"B{day}",
        measured_at=f"2026-01-{day:02d}",
        measurand="CD4_PCT_T",
        value=value,
        unit="%",
        lower=None,
        upper=None,
        run_id=f"control {day}",
    )
    return StoredTube(
        run_id=f"control {day}",
        analysis_id=f"a{day}",
        name=f"control {day}",
        panel="pbmc-lineage",
        role=TubeRole.CONTROL_PBMC,
        batch=f"B{day}",
        received_at=datetime(2026, 1, day, tzinfo=UTC),
        readings=(reading,),
    )
