"""What plate-reader software says it computed: its curve, its concentrations, its summaries, each with the digits it printed.

Knows wells, calibrators and printed numbers. Must not know files or vendors' formats, nor compute anything itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from biomarkers.elisa.calibration import Replicates
from biomarkers.elisa.fitting import CurveModel
from biomarkers.elisa.plate import WellPosition

PrintedKind: TypeAlias = Literal["number", "below", "above", "outside", "masked", "missing"]

SummaryKind: TypeAlias = Literal["mean", "sd", "cv", "adjusted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A number, or the word instead of one, as the vendor printed it.

    Attributes
    ----------
    kind
        ``below`` and ``above`` for bounds such as ``<0.000``; ``outside`` where the vendor could not invert its curve and does
        not say on which side.
    value
        The number, or the bound's; None for other words.
    half_digit
        Half a unit of the last printed digit.
    """

    text: str
    kind: PrintedKind
    value: float | None
    half_digit: float


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class WellKey:
    """A well of one of the export's plates."""

    plate_id: str
    position: WellPosition

    def __str__(self) -> str:
        return str(self.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseSet:
    """What the vendor may have read off its curve: a wavelength, a difference, a blank-corrected table.

    Attributes
    ----------
    value_by_well
        Wells without a number are absent.
    rounding
        How far a response may lie from what the vendor computed with: 0 where the export holds every digit.
    """

    name: str
    value_by_well: Mapping[WellKey, float]
    rounding: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLevel:
    """One calibrator level: nominal concentration, how far its print may be off, and its wells without the masked ones."""

    nominal: float
    rounding: float
    wells: tuple[WellKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorConcentration:
    """One concentration the vendor read off its curve.

    Attributes
    ----------
    wells
        The wells whose mean response was read; one where each well was read by itself.
    masked
        Whether the vendor left the well out.
    limited
        Whether the vendor prints nothing outside its calibrators even where the curve has an inverse.
    """

    wells: tuple[WellKey, ...]
    printed: Printed
    masked: bool
    limited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSummary:
    """A mean, standard deviation or coefficient of variation the vendor printed for a specimen.

    Attributes
    ----------
    of
        What was summarised: the wells' responses or their concentrations.
    wells
        The specimen's wells without the masked ones.
    factor
        What the summary is multiplied by: the dilution factor of an adjusted mean, else 1.
    """

    column: str
    kind: SummaryKind
    of: Literal["response", "concentration"]
    wells: tuple[WellKey, ...]
    factor: float
    printed: Printed


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorCurve:
    """One standard curve of an export with everything read off it.

    Attributes
    ----------
    responses
        Where the export does not say which of its tables the curve was fitted to, every one it may be.
    stated_model
        What the export says; None where it says nothing.
    default_model, default_replicates
        What the vendor's software does unless told otherwise, and where that is documented.
    parameters
        By our names; empty where the export does not print them.
    not_recomputed
        Columns whose formula is not understood.
    """

    vendor: str
    plate_ids: tuple[str, ...]
    responses: tuple[ResponseSet, ...]
    levels: tuple[VendorLevel, ...]
    concentrations: tuple[VendorConcentration, ...]
    summaries: tuple[VendorSummary, ...]
    stated_model: CurveModel | None
    default_model: CurveModel
    default_replicates: Replicates
    default_source: str
    parameters: Mapping[str, Printed]
    r_squared: Printed | None
    not_recomputed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One printed number a calculation starts from, and how far its print may be off."""

    value: float
    half_digit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorCalculation:
    """One number the vendor calculated from others by a formula it states.

    Attributes
    ----------
    formula
        Arithmetic in the names of ``terms``.
    """

    step: str
    well: WellKey
    formula: str
    terms: Mapping[str, Term]
    printed: Printed


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorExport:
    """Everything an export says it computed: what was read off curves, and what was calculated by formula."""

    curves: tuple[VendorCurve, ...]
    calculations: tuple[VendorCalculation, ...]
    not_recomputed: tuple[str, ...]
