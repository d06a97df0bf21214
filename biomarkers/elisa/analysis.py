"""One plate from wells to results: the chapter that calls layout, calibration and quantitation in order.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from biomarkers.results import Comparator, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class WellRecord:
    """What became of one well.

    Attributes
    ----------
    position
        Row letter and two-digit column, ``"A01"``.
    role, slot, analyte, accession_id
        From layout and plate map; empty where they say nothing.
    raw_text
        The reader's own text, verbatim.
    response
        The response used (reference wavelength subtracted where declared); None where there is no number.
    flag
        ``""``, ``"overflow"``, ``"masked"`` or ``"missing"``.
    mask_reason
        Why the well was left out; empty otherwise.
    concentration
        This well alone, dilution applied, in the analyte's unit; None where it cannot be inverted.
    """

    position: str
    role: str
    slot: str
    analyte: str
    accession_id: str
    raw_text: str
    response: float | None
    flag: str
    mask_reason: str
    dilution_factor: float
    concentration: float | None
    comparator: Comparator


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorRecord:
    """How one calibrator level came back from the curve; concentrations in the analyte's unit."""

    nominal: float
    mean_response: float | None
    back_calculated: float | None
    recovery_percent: float | None
    n_wells: int
    n_masked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRecord:
    """A fitted calibration curve of one analyte on one plate.

    ``covariance`` is keyed twice by parameter name.
    """

    analyte: str
    unit: str
    model: str
    weights: str
    replicates: str
    parameters: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: Mapping[str, Mapping[str, float]]
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    lloq: float
    uloq: float
    calibrators: tuple[CalibratorRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateAnalysis:
    """A plate analysed: the run with its results, and the evidence behind them."""

    run: Run
    wells: tuple[WellRecord, ...]
    curves: tuple[CurveRecord, ...]
