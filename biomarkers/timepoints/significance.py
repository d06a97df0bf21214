"""Tests of change within an arm, on request, with their multiplicity; and why none is made between arms.

Knows signs and signed ranks of changes, and Holm's correction. Must not know how a change was found. A test between arms is
refused unless the study declares itself comparative.

References
----------
Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 1979;6:65-70.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from scipy.stats import binomtest, norm, wilcoxon

from biomarkers.errors import StudyDefinitionError
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.attrition import Attrition, attrition
from biomarkers.timepoints.censored import Known
from biomarkers.timepoints.summary import FEWEST_PAIRS, known_change

ChangeTest = Literal["signed-rank", "sign"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WithinArmTest:
    """Whether a measurand changed from baseline in one arm; the printed form tells no arm.

    Attributes
    ----------
    test
        ``signed-rank`` (Wilcoxon, exact where no two changes are equal in size) where every change is a number; ``sign`` where
        some are bounds.
    n_used
        Changes with a known sign other than 0.
    n_undecided
        Changes that are 0, or bounds on both sides of it; they say nothing for or against.
    p_value
        Two-sided; None with fewer than six changes to use.
    p_holm
        Corrected over ``family_size`` tests: all that were asked for together.
    """

    visit: str
    measurand: str
    arm: str | None
    test: ChangeTest
    n_used: int
    n_undecided: int
    p_value: float | None
    p_holm: float | None
    family_size: int

    def __repr__(self) -> str:
        return f"WithinArmTest({self.visit!r}, {self.measurand!r}, p_value={self.p_value})"


MULTIPLICITY = (
    "Within-arm tests of change from baseline, two-sided, corrected by Holm over all {count} tests of this table. Late visits "
    "hold only the subjects still on study. These are tests within an arm; they say nothing about a difference between arms."
)


def multiplicity(tests: Sequence[WithinArmTest]) -> str:
    """Say over how many tests was corrected, and what the tests do not say."""
    return MULTIPLICITY.format(count=sum(test.p_value is not None for test in tests))


def within_arm_tests(
    rows: Iterable[TimepointRow], roster: Roster, assignments: ArmAssignments | None = None, *, as_of: date
) -> tuple[WithinArmTest, ...]:
    """Test every measurand and visit for a change from baseline, in each arm by itself, and correct over all of them.

    Parameters
    ----------
    rows
        The rows asked about; together they are the family of tests that is corrected for.
    """
    groups = attrition(rows, roster, assignments, as_of=as_of)
    made = [test for group in groups if (test := _within(group)) is not None]
    tested = [at for at, test in enumerate(made) if test.p_value is not None]
    corrected = dict(zip(tested, holm([made[at].p_value or 0.0 for at in tested]), strict=True))
    return tuple(
        WithinArmTest(
            visit=test.visit,
            measurand=test.measurand,
            arm=test.arm,
            test=test.test,
            n_used=test.n_used,
            n_undecided=test.n_undecided,
            p_value=test.p_value,
            p_holm=corrected.get(at),
            family_size=len(tested),
        )
        for at, test in enumerate(made)
    )


def _within(group: Attrition) -> WithinArmTest | None:
    changes = [known_change(row) for row in group.rows if row.value is not None and row.baseline_run_id is not None]
    if not changes:
        return None
    test: ChangeTest = "signed-rank" if all(change.is_exact for change in changes) else "sign"
    up, down = sum(_is_above_0(change) for change in changes), sum(_is_below_0(change) for change in changes)
    p_value = None
    if up + down >= FEWEST_PAIRS:
        p_value = (
            _signed_rank_p([change.low for change in changes if change.low != 0])
            if test == "signed-rank"
            else float(binomtest(up, up + down).pvalue)
        )
    return WithinArmTest(
        visit=group.visit,
        measurand=group.measurand,
        arm=group.arm,
        test=test,
        n_used=up + down,
        n_undecided=len(changes) - up - down,
        p_value=p_value,
        p_holm=None,
        family_size=0,
    )


def _is_above_0(change: Known) -> bool:
    return change.low > 0 or (change.low == 0 and change.open_low)


def _is_below_0(change: Known) -> bool:
    return change.high < 0 or (change.high == 0 and change.open_high)


def _signed_rank_p(changes: Sequence[float]) -> float:
    has_ties = len({abs(change) for change in changes}) < len(changes)
    return float(wilcoxon(changes, method="approx" if has_ties else "auto").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number by Holm's step-down procedure, in their order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected = [0.0] * len(p_values)
    reached = 0.0
    for done, at in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - done) * p_values[at]))
        corrected[at] = reached
    return corrected


def refuse_between_arms(definition: StudyDefinition) -> None:
    """Refuse a test between arms where the study has not declared itself comparative.

    Raises
    ------
    StudyDefinitionError
        The study is not comparative; the message says why that decides.
    """
    if not definition.study.comparative:
        raise StudyDefinitionError(
            what=f"Arms are not tested against each other: study '{definition.study.id}' declares comparative = false. "
            "It was not planned to answer that question, and late visits hold only those still on study, perhaps not alike in "
            "the arms.",
            where="study.toml, [study].",
            remedy="Read the arms side by side in the summary, or ask for tests within each arm.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BetweenArmsTest:
    """A test of one measurand's changes at one visit between two arms of a comparative study, by Gehan's scores."""

    visit: str
    measurand: str
    n_first: int
    n_second: int
    p_value: float | None


def between_arms_test(
    rows: Iterable[TimepointRow], definition: StudyDefinition, assignments: ArmAssignments
) -> tuple[BetweenArmsTest, ...]:
    """Test changes between the two arms of a comparative study by a rank test that takes bounds as bounds (Gehan's).

    Raises
    ------
    StudyDefinitionError
        The study is not comparative, or has not two arms.
    """
    refuse_between_arms(definition)
    if len(definition.arms) != 2:
        raise StudyDefinitionError(
            what=f"A test between arms takes two arms; the study has {len(definition.arms)}.",
            where="study.toml, [[arms]].",
            remedy="Read the arms side by side in the summary.",
        )
    codes = [arm.code for arm in definition.arms]
    grouped: dict[tuple[int, str, str], tuple[list[Known], list[Known]]] = {}
    for row in rows:
        arm = assignments.arm(row.subject_id)
        if arm in codes and row.visit_number is not None and row.value is not None and row.baseline_run_id is not None:
            here = grouped.setdefault((row.visit_number, row.visit, row.measurand), ([], []))
            here[codes.index(arm)].append(known_change(row))
    return tuple(
        BetweenArmsTest(visit=key[1], measurand=key[2], n_first=len(one), n_second=len(other), p_value=_gehan_p(one, other))
        for key, (one, other) in sorted(grouped.items())
    )


def _gehan_p(first: Sequence[Known], second: Sequence[Known]) -> float | None:
    """Two-sided, by the permutation variance of the scores; None with fewer than six changes in an arm."""
    if min(len(first), len(second)) < FEWEST_PAIRS:
        return None
    pooled = [*first, *second]
    low, high = np.array([one.low for one in pooled]), np.array([one.high for one in pooled])
    # Only what lies beyond another in every possible case counts as greater; what overlaps counts as equal.
    greater = (low[:, None] > high[None, :]).sum(axis=1)
    smaller = (high[:, None] < low[None, :]).sum(axis=1)
    scores = (greater - smaller).astype(np.float64)
    count = len(pooled)
    variance = len(first) * len(second) * float(scores @ scores) / (count * (count - 1))
    if variance == 0:
        return 1.0
    return float(2.0 * norm.sf(abs(float(scores[: len(first)].sum())) / math.sqrt(variance)))
