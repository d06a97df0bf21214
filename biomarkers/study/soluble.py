"""What study.toml declares of analytes: kit, curve, limits, when a plate's results are accepted; and of ratios of two of them.

Must not know how a curve is fitted or a plate judged.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from biomarkers.study.declaration import Code, Declaration, DeclarationSource, Material, Scale


class AssayFormat(StrEnum):
    """Whether a curve falls or rises with concentration; informs checks, never the fit."""

    COMPETITIVE = "competitive"
    SANDWICH = "sandwich"


class CalibrationMethod(Declaration):
    """How an analyte's curve is fitted, declared before study plates are run.

    ``variance_power`` is the power of the response with which a well's variance grows, for the weights "fitted";
    ``noise_crossover`` the response at which the constant part of that variance equals the other, where validation has measured
    it. A ``robust`` fit is not pulled by single outlying calibrators. ``zero_calibrator`` says whether calibrators of
    concentration 0 take part in the fit, ``subtract_blank`` whether the plate's mean blank is subtracted from every well.
    """

    model: Literal["4pl", "5pl", "linear", "loglog"] = "4pl"
    weights: Literal["none", "1/y", "1/y2", "fitted"] = "fitted"
    replicates: Literal["wells", "mean"] = "wells"
    variance_power: Annotated[float, Field(ge=0, le=4)] = 2.0
    noise_crossover: Annotated[float, Field(gt=0)] | None = None
    robust: bool = False
    zero_calibrator: bool = True
    subtract_blank: bool = False


class QuantitationLimits(Declaration):
    """Limits of quantification in the analyte's unit.

    They hold before the dilution factor is applied, and are multiplied with it when a bound is reported; unless
    ``dilution_included`` says that they are stated for the undiluted specimen.
    """

    lloq: Annotated[float, Field(gt=0)]
    uloq: Annotated[float, Field(gt=0)]
    origin: str
    dilution_included: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lloq >= self.uloq:
            raise ValueError(f"lloq {self.lloq:g} is not below uloq {self.uloq:g}")
        return self


_Percent: TypeAlias = Annotated[float, Field(gt=0, le=100)]


class AcceptanceRules(Declaration):
    """When a plate's results of an analyte are accepted; by default in the style of ICH M10, section 4.

    That guideline is written for drugs, not for biomarkers, and speaks of six calibrator levels; where a kit has fewer, the
    share ``calibrators_passing_percent`` of them must pass and the verdict says "kit-limited". Deviations are from the nominal
    concentration, coefficients of variation those of the replicates' concentrations.
    """

    source: DeclarationSource = "assumption"
    calibrator_deviation_percent: _Percent = 20.0
    calibrator_deviation_at_limits_percent: _Percent = 25.0
    calibrators_passing_percent: _Percent = 75.0
    calibrator_levels: Annotated[int, Field(ge=1)] = 6
    control_deviation_percent: _Percent = 20.0
    controls_passing_fraction: Annotated[float, Field(gt=0, le=1)] = 2 / 3
    controls_passing_fraction_per_level: Annotated[float, Field(gt=0, le=1)] = 0.5
    replicate_cv_percent: _Percent = 20.0
    replicate_cv_at_limits_percent: _Percent = 25.0
    dilution_deviation_percent: _Percent = 20.0
    parallelism_cv_percent: _Percent = 30.0
    spike_recovery_deviation_percent: _Percent = 20.0


class Analyte(Declaration):
    """A substance an ELISA measures, with the kit's levels and what is due."""

    code: Code
    name: str
    format: AssayFormat
    unit: str
    molar_mass_g_per_mol: Annotated[float, Field(gt=0)] | None = None
    scale: Scale = "log"
    materials: Annotated[tuple[Material, ...], Field(min_length=1)]
    due: tuple[Code, ...]
    calibrators: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=4)]
    wavelength_nm: Annotated[float, Field(gt=0)] | None = None
    reference_nm: Annotated[float, Field(gt=0)] | None = None
    limits: QuantitationLimits
    calibration: CalibrationMethod
    acceptance: AcceptanceRules = AcceptanceRules()


class RatioReference(Declaration):
    """A ratio of two analytes in one specimen, in molar units; due wherever both of them are."""

    code: Code
    name: str
    numerator: Code
    denominator: Code
    unit: Literal["uM/uM"] = "uM/uM"
    scale: Scale = "log"
    materials: Annotated[tuple[Material, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if self.numerator == self.denominator:
            raise ValueError(f"the ratio '{self.code}' divides '{self.numerator}' by itself")
        return self
