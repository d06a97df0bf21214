"""Summaries per visit and measurand, and per arm side by side.

Knows which estimates are made of values and of their changes; bounds enter as bounds, never as a number in their place. Must
not know how an estimate is computed, and makes no test, least of all between arms. The last planned visits hold only the
subjects still on study: the counts beside each figure say how many, and the caption says it in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import BASELINE_VISIT, Anchor, StudyDefinition
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.attrition import Attrition, Stage, attrition
from biomarkers.timepoints.censored import Known, Step, median, median_limits, pseudo_median, quantile, turnbull
from biomarkers.timepoints.lognormal import geometric_mean

Shown: TypeAlias = "float | str | None"
"""A number; text such as ``<3.1`` where only a bound can be given; None where there is nothing to say."""

FEWEST_PAIRS = 6
"""Fewer pairs carry no 95 % interval of a median; the single changes are shown in its place."""

METHODS = (
    "Median and quartiles by Turnbull's estimate for censored data, a median of which over half are bounds as the bound; "
    "geometric mean by maximum likelihood of log-normal values with their bounds, its interval by the profile likelihood; "
    "interval of a median change by order statistics, of a pseudo-median change by Hodges and Lehmann; no bound is replaced by "
    "a number."
)
"""How the figures were made, for captions."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SummaryRow:
    """One measurand at one planned visit, of one arm where arms were given; the fields are the columns in their order.

    Its printed form tells no arm.

    Attributes
    ----------
    n_randomised
        Subjects of the roster, or of the arm.
    n_on_study
        Those of them whom nothing kept from this visit.
    n_progressed, n_died, n_withdrawn
        Subjects of whom the visit is not expected because of this; withdrawn also counts who left the study otherwise.
    n_due
        Cells received or missing.
    n_received
        Of these, cells with a specimen, whether measured or not.
    n_measured
        Cells with a value or a bound; ``n_below`` and ``n_above`` of them are bounds.
    n_paired
        Values and bounds that can be compared with their baseline; ``n_uncensored_pairs`` of them give a number.
    median, q1, q3
        Of values and bounds, by Turnbull's estimate, averaged at the edge of two steps; with more than half bounds the median
        is the bound.
    geometric_mean
        By maximum likelihood of log-normal values with their bounds; empty where over 70 % are bounds or fewer than five exact.
    median_change
        Of the changes from baseline, as ``median``.
    median_change_lower, median_change_upper
        95 % limits by order statistics; empty for fewer than six pairs.
    geometric_mean_lower, geometric_mean_upper
        95 % limits: Student's without bounds, else of the profile likelihood.
    percent_below, percent_above
        Share of the values and bounds that lie below and above the range.
    pseudo_median_change
        The Hodges-Lehmann estimate of the change, with limits of its own; it is a median only where changes are symmetric.
    individual_changes
        Each change, in ascending order, where there are too few pairs for an interval; empty otherwise.
    """

    visit: str
    measurand: str
    arm: str | None
    n_randomised: int
    n_on_study: int
    n_progressed: int
    n_died: int
    n_withdrawn: int
    n_due: int
    n_received: int
    n_measured: int
    n_below: int
    n_above: int
    n_not_evaluable: int
    n_paired: int
    n_uncensored_pairs: int
    median: Shown
    q1: Shown
    q3: Shown
    geometric_mean: float | None
    median_change: Shown
    median_change_lower: float | None
    median_change_upper: float | None
    geometric_mean_lower: float | None
    geometric_mean_upper: float | None
    percent_below: float | None
    percent_above: float | None
    pseudo_median_change: Shown
    pseudo_median_change_lower: float | None
    pseudo_median_change_upper: float | None
    individual_changes: str | None

    def __repr__(self) -> str:
        return f"SummaryRow({self.visit!r}, {self.measurand!r}, n_measured={self.n_measured})"


def summarise(
    rows: Iterable[TimepointRow], roster: Roster, assignments: ArmAssignments | None = None, *, as_of: date
) -> tuple[SummaryRow, ...]:
    """Summarise the timepoint table.

    Parameters
    ----------
    rows
        As of the same date; visits that are not planned are left out.
    assignments
        Gives a row per arm, in which subjects without an arm are left out. None gives one row over all subjects.

    Returns
    -------
    tuple of SummaryRow
        By visit number, assay, measurand and arm.
    """
    return tuple(_summary(group) for group in attrition(rows, roster, assignments, as_of=as_of))


def caption(definition: StudyDefinition) -> str:
    """Say what a reader of a summary must know: who is left at late visits, that arms are not compared, and the methods."""
    planned = [visit for visit in definition.visits if visit.anchor is Anchor.FIRST_DOSE and visit.code != BASELINE_VISIT]
    late = max(planned, key=lambda visit: visit.target_day, default=None)
    left = "" if late is None else f"{late.code} holds only the subjects still on study then, perhaps not alike in the arms. "
    arms = "" if definition.study.comparative else "Arms are described side by side and not compared. "
    return f"{left}{arms}Study: {definition.study.masking}. {METHODS}"


def _summary(group: Attrition) -> SummaryRow:
    values = [known_value(row) for row in group.rows if row.value is not None]
    changes = [known_change(row) for row in group.rows if row.value is not None and row.baseline_run_id is not None]
    steps = turnbull(values) if values else ()
    mean = geometric_mean(values)
    limits = median_limits(changes)
    pseudo = pseudo_median(changes)
    too_few = 0 < len(changes) < FEWEST_PAIRS
    return SummaryRow(
        visit=group.visit,
        measurand=group.measurand,
        arm=group.arm,
        n_randomised=group.count(Stage.RANDOMISED),
        n_on_study=group.count(Stage.ON_STUDY),
        n_progressed=group.count(Stage.PROGRESSED),
        n_died=group.count(Stage.DIED),
        n_withdrawn=group.count(Stage.WITHDRAWN),
        n_due=group.count(Stage.DUE),
        n_received=group.count(Stage.RECEIVED),
        n_measured=group.count(Stage.MEASURED),
        n_below=group.count(Stage.BELOW),
        n_above=group.count(Stage.ABOVE),
        n_not_evaluable=group.count(Stage.NOT_EVALUABLE),
        n_paired=len(changes),
        n_uncensored_pairs=sum(change.is_exact for change in changes),
        median=_shown(median(values), least=0.0),
        q1=_shown(quantile(steps, 0.25) if steps else None, least=0.0),
        q3=_shown(quantile(steps, 0.75) if steps else None, least=0.0),
        geometric_mean=None if mean is None else mean.value,
        median_change=_shown(median(changes), least=-math.inf),
        median_change_lower=limits.lower,
        median_change_upper=limits.upper,
        geometric_mean_lower=None if mean is None else mean.limits.lower,
        geometric_mean_upper=None if mean is None else mean.limits.upper,
        percent_below=_percent(group, Stage.BELOW),
        percent_above=_percent(group, Stage.ABOVE),
        pseudo_median_change=None
        if pseudo is None
        else _shown(Step(low=pseudo.low, high=pseudo.high, share=1.0), least=-math.inf),
        pseudo_median_change_lower=None if pseudo is None else pseudo.limits.lower,
        pseudo_median_change_upper=None if pseudo is None else pseudo.limits.upper,
        individual_changes=_individuals(changes) if too_few else None,
    )


def _percent(group: Attrition, stage: Stage) -> float | None:
    measured = group.count(Stage.MEASURED)
    return 100.0 * group.count(stage) / measured if measured else None


def _individuals(changes: Sequence[Known]) -> str:
    ordered = sorted(changes, key=lambda one: (one.low, one.high))
    shown = (_shown(Step(low=one.low, high=one.high, share=1.0), least=-math.inf) for one in ordered)
    return "; ".join(f"{one:.6g}" if isinstance(one, float) else one or "unknown" for one in shown)


def known_value(row: TimepointRow) -> Known:
    """Return what is known of a row's value; the row has one."""
    value = row.value or 0.0
    if row.comparator == "<":
        return Known(low=0.0, high=value, open_high=True)
    if row.comparator == ">":
        return Known(low=value, high=math.inf, open_low=True)
    return Known(low=value, high=value)


def known_change(row: TimepointRow) -> Known:
    """Return what is known of a row's change from baseline; the row was compared with one."""
    if row.change is not None:
        return Known(low=row.change, high=row.change)
    return Known(
        low=-math.inf if row.change_bound_lower is None else row.change_bound_lower,
        high=math.inf if row.change_bound_upper is None else row.change_bound_upper,
    )


def _shown(found: Step | None, *, least: float) -> Shown:
    """Show a quantile as a number, as a bound, or as the two ends it lies between."""
    if found is None:
        return None
    if found.low == found.high:
        return found.low
    has_low, has_high = found.low > least, math.isfinite(found.high)
    if has_low and has_high:
        return f"{found.low:.6g} to {found.high:.6g}"
    if has_high:
        return f"<{found.high:.6g}"
    return f">{found.low:.6g}" if has_low else None
