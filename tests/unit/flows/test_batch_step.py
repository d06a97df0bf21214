"""The control PBMC over batches: which batches it flags, and which specimens hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.store.tubes import StoredTube
from biomarkers.study.cellular import TubeRole
from flows.batch_step import remarks_by_batch

STEADY = (40.1, 39.6, 40.4, 39.9, 40.2, 39.8, 40.3, 39.7, 40.0, 40.1) * 2


def tube(name: str, batch: str, role: TubeRole, value: float | None = None, day: int = 1) -> StoredTube:
    reading = ControlReading(
        batch=batch,
        measured_at=f"2026-01-{day:02d}",
        measurand="CD4_PCT_T",
        value=value,
        unit="%",
        lower=None,
        upper=None,
        run_id=name,
    )
    return StoredTube(
        run_id=name,
        analysis_id=f"a-{name}",
        name=name,
        panel="pbmc-lineage",
        role=role,
        batch=batch,
        received_at=datetime(2026, 1, day, tzinfo=UTC),
        readings=(reading,) if role is TubeRole.CONTROL_PBMC else (),
    )


def batches(values: Sequence[float | None]) -> list[StoredTube]:
    """Make a batch a day, each with its control and one specimen."""
    found = []
    for day, value in enumerate(values, start=1):
        found.append(tube(f"control {day}", f"B{day}", TubeRole.CONTROL_PBMC, value, day))
        found.append(tube(f"specimen {day}", f"B{day}", TubeRole.SPECIMEN, day=day))
    return found


@pytest.mark.parametrize("last", [45.0, None])
def test_a_control_that_breaks_a_rule_or_has_no_number_flags_the_specimens_of_its_batch_alone(last: float | None) -> None:
    remarks = remarks_by_batch(batches([*STEADY, last]))
    (remark,) = remarks["B21"]
    assert (remark.run_id, remark.finding.code) == ("specimen 21", "CONTROL_FAILED")
    assert not any(found for batch, found in remarks.items() if batch != "B21")


def test_a_batch_without_a_control_is_noted() -> None:
    remarks = remarks_by_batch([tube("specimen", "B1", TubeRole.SPECIMEN), tube("fmo", "B1", TubeRole.FMO)])
    (remark,) = remarks["B1"]
    assert (remark.run_id, remark.finding.code) == ("specimen", "CONTROL_MISSING")
