"""What is asked of the timepoint table, as data frames: changes, summaries, attrition, completeness, tests, a mixed model.

Knows which columns answer which question, and which sentences belong beside them (``table.attrs["notes"]``). Must not compute
an estimate. An arm is in a table only where assignments were given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import pandas as pd

from biomarkers.store.controls import stored_controls
from biomarkers.store.database import Database
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.attrition import Attrition, Stage
from biomarkers.timepoints.change_details import (
    ChangeRow,
    ControlValue,
    RunVariance,
    TransitionCount,
    run_variances,
    transitions,
)
from biomarkers.timepoints.completeness import CompletenessCell
from biomarkers.timepoints.mixed_model import ASSUMPTION, VisitEffect, fit_mixed_model
from biomarkers.timepoints.significance import BetweenArmsTest, WithinArmTest, multiplicity
from biomarkers.timepoints.summary import SummaryRow, caption

T = TypeVar("T")

NOTES = "notes"
"""Key of ``DataFrame.attrs`` under which sentences stand that belong beside a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which measurands, visits and subjects are asked for; empty means all of them."""

    measurands: frozenset[str] = frozenset()
    visits: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, measurand: str | Collection[str] = (), visit: str | Collection[str] = (), subject: str | Collection[str] = ()
    ) -> Choice:
        """Make a choice of single names or collections of them."""
        return cls(measurands=_names(measurand), visits=_names(visit), subjects=_names(subject))

    def keeps(self, row: TimepointRow | ChangeRow) -> bool:
        """Whether a row is asked for."""
        return (
            (not self.measurands or row.measurand in self.measurands)
            and (not self.visits or row.visit in self.visits)
            and (not self.subjects or row.subject_id in self.subjects)
        )

    def of_frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that are asked for, numbered anew."""
        for column, names in (("measurand", self.measurands), ("visit", self.visits), ("subject_id", self.subjects)):
            if names:
                table = table[table[column].isin(names)]
        return table.reset_index(drop=True)


def _names(given: str | Collection[str]) -> frozenset[str]:
    return frozenset([given]) if isinstance(given, str) else frozenset(given)


def noted(table: pd.DataFrame, *notes: str) -> pd.DataFrame:
    """Put sentences beside a table."""
    table.attrs[NOTES] = [note for note in notes if note]
    return table


def lot_by_run(database: Database) -> Mapping[str, str]:
    """Return the kit lot of each plate whose controls name one alone."""
    lots: dict[str, set[str]] = {}
    with database.read() as reading:
        for one in stored_controls(reading):
            lots.setdefault(one.run_id, set()).add(one.record.kit_lot)
    return {run_id: found.copy().pop() for run_id, found in lots.items() if len(found) == 1 and "" not in found}


def variances_of_controls(database: Database, definition: StudyDefinition) -> Mapping[str, RunVariance]:
    """Estimate from the controls of accepted plates how far runs, and lots, lie apart."""
    with database.read() as reading:
        controls = [
            ControlValue(
                measurand=one.record.analyte,
                level=one.record.slot,
                lot=one.record.kit_lot,
                run_id=one.run_id,
                value=one.record.mean,
            )
            for one in stored_controls(reading)
            if one.is_accepted and one.record.mean is not None
        ]
    return run_variances(controls, {measurand.code: measurand.scale for measurand in definition.measurands})


def change_table(changes: Iterable[ChangeRow], assignments: ArmAssignments | None = None) -> pd.DataFrame:
    """Return one row for each value with a baseline."""
    return _frame(list(changes), ChangeRow, assignments)


def transition_table(
    changes: Sequence[ChangeRow], definition: StudyDefinition, assignments: ArmAssignments | None = None
) -> pd.DataFrame:
    """Count who went from where to where against the range, per visit and measurand; with assignments in each arm."""
    if assignments is None:
        return _transitions(transitions(changes))
    by_arm = {
        arm.code: transitions(row for row in changes if assignments.arm(row.subject_id) == arm.code) for arm in definition.arms
    }
    parts = []
    for arm, found in by_arm.items():
        part = _transitions(found)
        part.insert(2, "arm", arm)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _transitions(found: Sequence[TransitionCount]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "visit": [one.visit for one in found],
            "measurand": [one.measurand for one in found],
            "transition": [one.transition for one in found],
            "n_subjects": pd.Series([len(one.subject_ids) for one in found], dtype="Int64"),
            "subjects": [";".join(one.subject_ids) for one in found],
        }
    )


def summary_table(rows: Sequence[SummaryRow], definition: StudyDefinition, *, with_arms: bool) -> pd.DataFrame:
    """Return the summary with its caption as a note; arms stand side by side, untested."""
    names = [field.name for field in fields(SummaryRow) if with_arms or field.name != "arm"]
    return noted(pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names), caption(definition))


def attrition_table(groups: Sequence[Attrition], *, with_arms: bool, names: bool = False) -> pd.DataFrame:
    """Return the counts of attrition, one row per visit, measurand and arm; with names one row per stage, and who it is."""
    heads = [
        {"visit": one.visit, "assay": one.assay, "measurand": one.measurand, **({"arm": one.arm} if with_arms else {})}
        for one in groups
    ]
    if names:
        rows = [
            {
                **head,
                "stage": stage.value,
                "n_subjects": group.count(stage),
                "subjects": ";".join(group.subjects_by_stage[stage]),
            }
            for head, group in zip(heads, groups, strict=True)
            for stage in Stage
        ]
        columns = [*_ATTRITION_HEADS[with_arms], "stage", "n_subjects", "subjects"]
    else:
        rows = [
            {**head, **{f"n_{stage.value}": group.count(stage) for stage in Stage}}
            for head, group in zip(heads, groups, strict=True)
        ]
        columns = [*_ATTRITION_HEADS[with_arms], *(f"n_{stage.value}" for stage in Stage)]
    return pd.DataFrame(rows, columns=columns)


_ATTRITION_HEADS = {
    True: ("visit", "assay", "measurand", "arm"),
    False: ("visit", "assay", "measurand"),
}


def completeness_table(cells: Sequence[CompletenessCell], *, wide: bool) -> pd.DataFrame:
    """Return one row per subject, visit and assay, or a row per subject with a column for each visit and assay."""
    if not wide:
        table = _frame(list(cells), CompletenessCell, None)
        table["accession_ids"] = [";".join(one.accession_ids) for one in cells]
        return table
    columns = list(dict.fromkeys(f"{one.visit} {one.assay}" for one in cells))
    subjects: dict[str, dict[str, str]] = {}
    for one in cells:
        reason = f" ({one.reason})" if one.reason and one.status == "not_expected" else ""
        subjects.setdefault(one.subject_id, {})[f"{one.visit} {one.assay}"] = f"{one.status}{reason}"
    rows = [[subject_id, *(found.get(name) for name in columns)] for subject_id, found in subjects.items()]
    return pd.DataFrame(rows, columns=["subject_id", *columns])


def tests_table(tests: Sequence[WithinArmTest], *, with_arms: bool) -> pd.DataFrame:
    """Return tests of change within arms, with the correction for their number in words."""
    names = [field.name for field in fields(WithinArmTest) if with_arms or field.name != "arm"]
    table = pd.DataFrame([[getattr(one, name) for name in names] for one in tests], columns=names)
    return noted(table, multiplicity(tests))


def between_arms_table(tests: Sequence[BetweenArmsTest]) -> pd.DataFrame:
    """Return tests between the arms of a comparative study."""
    return _frame(list(tests), BetweenArmsTest, None)


def mixed_model_table(
    rows: Sequence[TimepointRow], definition: StudyDefinition, measurand: str, assignments: ArmAssignments | None = None
) -> pd.DataFrame:
    """Fit one measurand's course, in each arm by itself where assignments are given; the assumption stands as a note.

    Raises
    ------
    AssayError
        The model cannot be fitted.
    """
    declared = definition.measurand(measurand)
    scale = "linear" if declared is None else declared.scale
    parts = []
    for arm, here in _by_arm(rows, definition, assignments, lambda row: row.subject_id):
        model = fit_mixed_model(here, measurand=measurand, scale=scale)
        part = _frame(list(model.effects), VisitEffect, None)
        part.insert(0, "measurand", measurand)
        part.insert(2, "effect", "fold" if scale == "log" else "difference")
        if arm is not None:
            part.insert(1, "arm", arm)
        parts.append(part)
    return noted(pd.concat(parts, ignore_index=True), ASSUMPTION)


def _by_arm(
    items: Sequence[T], definition: StudyDefinition, assignments: ArmAssignments | None, subject_of: Callable[[T], str]
) -> list[tuple[str | None, Sequence[T]]]:
    if assignments is None:
        return [(None, items)]
    return [(arm.code, [one for one in items if assignments.arm(subject_of(one)) == arm.code]) for arm in definition.arms]


_KINDS = {"int": "Int64", "int | None": "Int64", "float": "float64", "float | None": "float64", "bool": "boolean"}


def _frame(records: Sequence[object], kind: type, assignments: ArmAssignments | None) -> pd.DataFrame:
    """Lay records out by their fields, with column types that do not depend on what is missing."""
    columns: dict[str, pd.Series] = {}
    for field in fields(kind):
        values = [getattr(one, field.name) for one in records]
        columns[field.name] = pd.Series(values, dtype=_KINDS.get(str(field.type), "object"))
        if field.name == "subject_id" and assignments is not None:
            columns["arm"] = pd.Series([assignments.arm(subject_id) for subject_id in values], dtype="object")
    return pd.DataFrame(columns)
