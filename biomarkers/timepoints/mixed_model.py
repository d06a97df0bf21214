"""A mixed model for repeated measures within one arm.

Knows how a course over visits becomes a linear model with a random intercept for each subject. Must not know two arms at once,
nor put a number in the place of a bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from biomarkers.errors import AssayError
from biomarkers.study.declaration import Scale
from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.alignment import TimepointRow

FEWEST_SUBJECTS = 6

ASSUMPTION = (
    "A mixed model for repeated measures, visits as fixed effects and subjects as random intercepts, by restricted maximum "
    "likelihood. It assumes that values are missing at random: given what was measured of a subject, a missing value is no "
    "different from a measured one. Subjects who progress before a late visit may well be different; the model cannot show it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEffect:
    """Change from baseline at one visit as the model has it.

    Attributes
    ----------
    change, lower, upper
        Difference with 95 % limits; where the measurand's scale is logarithmic, the fold.
    n_subjects
        With a value at this visit.
    """

    visit: str
    change: float
    lower: float
    upper: float
    n_subjects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedModel:
    """A fitted model of one measurand.

    Attributes
    ----------
    between_subjects_sd, within_subject_sd
        On the scale of the fit: of logarithms where ``scale`` is ``log``.
    assumption
        What must hold for the estimates to mean anything; belongs beside them wherever they are shown.
    """

    measurand: str
    scale: Scale
    effects: tuple[VisitEffect, ...]
    between_subjects_sd: float
    within_subject_sd: float
    n_subjects: int
    assumption: str = ASSUMPTION


def fit_mixed_model(rows: Iterable[TimepointRow], *, measurand: str, scale: Scale) -> MixedModel:
    """Fit one measurand's planned visits in the subjects given, who are those of one arm or all.

    Raises
    ------
    AssayError
        Values are only bounds, there are too few subjects, or the model does not converge.
    """
    here = [row for row in rows if row.measurand == measurand and row.visit_number is not None and row.value is not None]
    bounds = sum(bool(row.comparator) for row in here)
    if bounds:
        raise _refusal(
            measurand,
            f"{bounds} of {len(here)} values are only bounds, and the model takes numbers; leaving them out would bias it.",
            "Read the summary, whose estimates take bounds as they are.",
        )
    table = pd.DataFrame(
        {
            "subject": [row.subject_id for row in here],
            "visit": [row.visit for row in here],
            "value": [_scaled(row.value or 0.0, scale, measurand) for row in here],
        }
    )
    visits = [row.visit for row in sorted(here, key=lambda row: row.visit_number or 0)]
    later = [visit for visit in dict.fromkeys(visits) if visit != BASELINE_VISIT]
    count = int(table["subject"].nunique())
    if count < FEWEST_SUBJECTS or BASELINE_VISIT not in visits or not later:
        raise _refusal(
            measurand,
            f"The model needs {FEWEST_SUBJECTS} subjects with a baseline and later visits; there are {count}.",
            "Read the individual courses.",
        )
    return _fitted(table, later, measurand, scale)


def _fitted(table: pd.DataFrame, later: list[str], measurand: str, scale: Scale) -> MixedModel:
    from statsmodels.regression.mixed_linear_model import MixedLM  # noqa: PLC0415  - heavy, and an option

    design = pd.DataFrame({"intercept": 1.0} | {visit: (table["visit"] == visit).astype(float) for visit in later})
    with warnings.catch_warnings():
        # What it warns of (a variance at its border, another try of the optimiser) is judged below by its result.
        warnings.simplefilter("ignore")
        fitted = MixedLM(table["value"], design, groups=table["subject"]).fit(reml=True)
    limits = fitted.conf_int(alpha=0.05)
    if not fitted.converged or not all(math.isfinite(float(limits.loc[visit, end])) for visit in later for end in (0, 1)):
        raise _refusal(measurand, "The mixed model does not converge.", "Read the summary, which assumes less.")
    back = math.exp if scale == "log" else float
    return MixedModel(
        measurand=measurand,
        scale=scale,
        effects=tuple(
            VisitEffect(
                visit=visit,
                change=back(float(fitted.params[visit])),
                lower=back(float(limits.loc[visit, 0])),
                upper=back(float(limits.loc[visit, 1])),
                n_subjects=int(table.loc[table["visit"] == visit, "subject"].nunique()),
            )
            for visit in later
        ),
        between_subjects_sd=math.sqrt(float(fitted.cov_re.iloc[0, 0])),
        within_subject_sd=math.sqrt(float(fitted.scale)),
        n_subjects=int(table["subject"].nunique()),
    )


def _scaled(value: float, scale: Scale, measurand: str) -> float:
    if scale == "linear":
        return value
    if value <= 0:
        raise _refusal(measurand, f"A value is {value:g}, which has no logarithm.", "Declare its scale linear in study.toml.")
    return math.log(value)


def _refusal(measurand: str, what: str, remedy: str) -> AssayError:
    return AssayError(what=what, where=f"Mixed model of measurand '{measurand}'.", remedy=remedy)
