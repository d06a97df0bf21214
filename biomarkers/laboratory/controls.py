"""Controls over the runs of their lots, from what is on record.

Knows how recorded controls become points of a chart, and which day counts for a run. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from biomarkers.elisa.control_charts import ControlPoint, ControlSeries, control_point, levey_jennings
from biomarkers.readers.reading_days import reading_day
from biomarkers.store.controls import StoredControl, StoredScatter, stored_controls
from biomarkers.store.database import Reading


def control_series(reading: Reading, *, analyte: str | None = None) -> tuple[ControlSeries, ...]:
    """Return the Levey-Jennings series of every analyte, control level and lot, or of one analyte's."""
    return levey_jennings(control_points(stored_controls(reading, analyte=analyte)))


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
