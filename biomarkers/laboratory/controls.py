"""Controls over the runs of their lots, and the control PBMC over its batches, from what is on record.

Knows how recorded controls become points of a chart, and which day counts for a run. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from biomarkers.elisa.control_charts import ControlPoint, ControlSeries, control_point, levey_jennings
from biomarkers.laboratory.cut_overview import control_points_of
from biomarkers.readers.reading_days import reading_day
from biomarkers.store.controls import StoredControl, StoredScatter, stored_controls
from biomarkers.store.database import Reading
from biomarkers.store.tubes import all_tubes


def control_series(reading: Reading, *, analyte: str | None = None) -> tuple[ControlSeries, ...]:
    """Return the Levey-Jennings series of every analyte, level and lot, and of the control PBMC, or of one analyte's."""
    plates = levey_jennings(control_points(stored_controls(reading, analyte=analyte)))
    cells = levey_jennings([point for tube in all_tubes(reading) for point in control_points_of(tube)])
    return (*plates, *(series for series in cells if analyte in {None, series.analyte}))


def control_points(controls: Sequence[StoredControl]) -> tuple[ControlPoint, ...]:
    """Make points of recorded controls; a control whose wells the curve never gives has none."""
    points = (
        control_point(one.record, run_id=one.run_id, measured_at=measured_at(one), is_accepted=one.is_accepted)
        for one in controls
    )
    return tuple(point for point in points if point is not None)


def measured_at(stored: StoredControl | StoredScatter) -> str:
    """Put a run in order: by the day its instrument names, else by when its export was first received."""
    day = reading_day(stored.acquired_at)
    received = stored.received_at.isoformat()
    return received if day is None else f"{day.isoformat()}T{received.partition('T')[2]}"
