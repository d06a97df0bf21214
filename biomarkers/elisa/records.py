"""What stays behind of an analysed plate as evidence: wells, calibrators, curves, controls, verdicts.

Knows the shape of the evidence, which the store keeps field by field. Must not know how any of it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from biomarkers.elisa.masks import WellMask
from biomarkers.results import Comparator, Run

Verdict: TypeAlias = Literal["accepted", "accepted_with_findings", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPoint:
    """The curve at one concentration with the limits within which a new single well lies 95 times in 100."""

    concentration: float
    response: float
    lower: float
    upper: float


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
        The response used (reference wavelength and blank subtracted where declared); None where there is no number.
    flag
        ``""``, ``"overflow"``, ``"masked"`` or ``"missing"``.
    mask_reason
        Why the well was left out; empty otherwise.
    concentration
        This well alone, dilution applied, in the analyte's unit; None where it cannot be inverted. Kept of rejected plates too.
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

    Attributes
    ----------
    covariance
        Keyed twice by parameter name.
    variance_power, robust, zero_calibrator, blank_response
        Of the declared method; the mean blank subtracted from every well, None where none was.
    proportional_noise, constant_noise
        Standard deviation of a well in proportion to its response, and of one that hardly responds; what the intervals rest on.
    band
        The curve over the calibrators' range with the limits of a single new well, to be drawn.
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
    variance_power: float = 2.0
    robust: bool = False
    zero_calibrator: bool = True
    blank_response: float | None = None
    proportional_noise: float | None = None
    constant_noise: float | None = None
    band: tuple[BandPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """How one control came out; the points control charts are made of.

    Attributes
    ----------
    slot
        The control's level, as the layout names it.
    nominal, lower, upper
        What it should hold, and the limits it was held against, dilution applied.
    concentrations
        Of its readable wells, dilution applied.
    mean
        Concentration of the wells together; None where the curve never gives their mean response.
    wells_read, wells_passing
        Wells with a number, or an overflow, and those of them within the limits.
    """

    analyte: str
    slot: str
    kit_lot: str
    nominal: float | None
    lower: float
    upper: float
    concentrations: tuple[float, ...]
    mean: float | None
    recovery_percent: float | None
    wells_read: int
    wells_passing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeRecord:
    """How much of what was added to a specimen was found again, dilution applied."""

    analyte: str
    slot: str
    accession_id: str
    added: float
    found: float
    recovery_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DilutionRecord:
    """How a specimen's dilutions on one plate agree.

    Attributes
    ----------
    dilution_factors, corrected
        Every dilution, and the specimen's concentration it tells with the dilution counted; None outside the range.
    hooked
        Dilutions at which the specimen overwhelmed the assay.
    cv_percent, slope, slope_lower, slope_upper
        Of the corrected concentrations, and of log concentration over log share of specimen: 1 where it dilutes like the
        calibrators. None where too few dilutions are in range.
    slope_ratio, slope_ratio_lower, slope_ratio_upper, is_parallel
        Slope of the specimen's own curve over the calibrators', with 90 % limits; None for fewer than three dilutions in range.
    """

    analyte: str
    accession_id: str
    dilution_factors: tuple[float, ...]
    corrected: tuple[float | None, ...]
    hooked: tuple[float, ...]
    cv_percent: float | None
    slope: float | None
    slope_lower: float | None
    slope_upper: float | None
    slope_ratio: float | None
    slope_ratio_lower: float | None
    slope_ratio_upper: float | None
    is_parallel: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRecord:
    """An effect of place on the plate, percent of the response, with its 99.9 % limits and the wells it rests on."""

    analyte: str
    name: str
    percent: float
    lower: float
    upper: float
    wells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome:
    """What one rule of acceptance found; ``passed`` is None where there was nothing to judge."""

    rule: str
    passed: bool | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateVerdict:
    """Whether a plate's results of one analyte may be used, with its reason in one sentence.

    Attributes
    ----------
    is_kit_limited
        The kit has fewer calibrator levels than the rules ask for, and was judged on the share of them alone.
    """

    analyte: str
    verdict: Verdict
    sentence: str
    rules: tuple[RuleOutcome, ...]
    is_kit_limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateAnalysis:
    """A plate analysed: the run with its results, and the evidence behind them; ``masks`` are those a person made."""

    run: Run
    wells: tuple[WellRecord, ...]
    curves: tuple[CurveRecord, ...]
    verdicts: tuple[PlateVerdict, ...] = ()
    controls: tuple[ControlRecord, ...] = ()
    spikes: tuple[SpikeRecord, ...] = ()
    dilutions: tuple[DilutionRecord, ...] = ()
    effects: tuple[EffectRecord, ...] = ()
    masks: tuple[WellMask, ...] = ()
