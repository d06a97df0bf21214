"""On which scale each marker of an acquisition is gated.

Knows what a panel asks for and what the events say of themselves. Must not know gates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.cuts import Column
from biomarkers.cytometry.panel import AsinhScale, LinearScale, LogicleScale, Marker, Panel
from biomarkers.cytometry.transforms import Asinh, Linear, Logicle, Transform, estimate_width
from biomarkers.errors import GatingError

OUTWARD_STEPS = 40
"""Doublings of the linear range in which a place is looked for: a million million."""

INWARD_STEPS = 90
"""Halvings that bring it down to the last digits of a double."""


def check_scale(acquisition: Acquisition, panel: Panel) -> None:
    """Refuse events that say of themselves that they were compensated and scaled, where the panel expects them as acquired.

    Raises
    ------
    GatingError
        The file's keyword DATA_SCALE contradicts the panel.
    """
    said = acquisition.keywords.get("DATA_SCALE", "")
    if panel.data == "raw" and "scaled" in said.casefold():
        raise GatingError(
            what=f"The file says its values are '{said}'; panel '{panel.name}' would compensate and scale them again.",
            where=f"Acquisition '{acquisition.name}', keyword DATA_SCALE.",
            remedy='Use a panel with data = "scaled", or drop the file as the cytometer wrote it.',
        )


def choose_transform(marker: Marker, panel: Panel, values: Column, top: float) -> Transform:
    """Return the scale a marker is gated on; a logicle's width follows from the values unless the panel gives it."""
    if panel.data == "scaled" or (marker.scale is None and marker.kind == "scatter"):
        return Linear()
    match marker.scale:
        case LinearScale():
            return Linear()
        case AsinhScale(cofactor=cofactor):
            return Asinh(cofactor=cofactor)
        case LogicleScale() | None:
            given = marker.scale or LogicleScale()
            upper = given.top or _reach(values, top)
            width = estimate_width(values, upper) if given.width is None else given.width
            return Logicle(top=upper, width=width)


def _reach(values: Column, top: float) -> float:
    """Return the channel's range, or a wider power of two where software rescaled the events and left the range as it was."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return top
    high = float(np.percentile(finite, 99.9))
    return top if 0 < high <= top else float(2.0 ** np.ceil(np.log2(max(high, 1.0))))


def linear_places(transform: Transform, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bring places on a display scale back to the linear one, which acquisitions share; by bisection where no formula does."""
    if isinstance(transform, Linear):
        return values
    if isinstance(transform, Asinh):
        return transform.cofactor * np.sinh(values)
    if isinstance(transform, Logicle):
        return transform.inverse(values)
    low, high = np.full(values.shape, -1.0), np.full(values.shape, 1.0)
    for _ in range(OUTWARD_STEPS):
        low = np.where(transform.exact(low) > values, 2.0 * low, low)
        high = np.where(transform.exact(high) < values, 2.0 * high, high)
    for _ in range(INWARD_STEPS):
        middle = (low + high) / 2
        below = transform.exact(middle) < values
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    result: npt.NDArray[np.float64] = (low + high) / 2
    return result
