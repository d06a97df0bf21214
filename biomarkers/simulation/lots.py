"""Kit lots with their certificates: what calibrators of a lot truly hold, and where its controls must lie.

Knows how lots of one kit differ. Must not know plates.
"""

from __future__ import annotations

import math
from datetime import date, timedelta

from biomarkers.elisa.lots import ControlRange, KitLot
from biomarkers.elisa.plate import PlateLayout, WellRole
from biomarkers.simulation.seeds import stream

LOT_SPREAD = 0.03
"""Standard deviation, in natural logarithms, of what a lot's calibrators hold around what the leaflet says."""

CONTROL_RANGE = 0.2
DAYS_OF_USE = 540


def kit_lot(seed: int, analyte: str, name: str, layout: PlateLayout, first_used: date) -> KitLot:
    """Make a lot of a kit: every calibrator off by the lot's own factor, stated to three digits on its certificate."""
    factor = math.exp(LOT_SPREAD * float(stream(seed, "lot", name).standard_normal()))
    calibrators, controls = {}, {}
    for well in layout.wells:
        if well.analyte != analyte or well.concentration is None:
            continue
        if well.role is WellRole.CALIBRATOR:
            calibrators[well.slot] = _stated(well.concentration * factor)
        elif well.role is WellRole.CONTROL:
            nominal = well.concentration
            lower, upper = nominal * (1.0 - CONTROL_RANGE), nominal * (1.0 + CONTROL_RANGE)
            controls[well.slot] = ControlRange(lower=_stated(lower), upper=_stated(upper), nominal=nominal)
    return KitLot(
        analyte=analyte,
        kit_lot=name,
        expires_on=first_used + timedelta(days=DAYS_OF_USE),
        calibrators=calibrators,
        controls=controls,
    )


def _stated(concentration: float) -> float:
    return float(f"{concentration:.3g}")
