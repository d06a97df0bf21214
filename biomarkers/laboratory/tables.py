"""The tables a laboratory gives: timepoints, changes, summaries, attrition, completeness, tests, a mixed model.

Knows what is asked, as of when, and who may see arms. Must not compute an estimate, nor know SQL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from datetime import date

import pandas as pd

from biomarkers.laboratory import insights
from biomarkers.laboratory.insights import Choice
from biomarkers.laboratory.standing import HeldStanding, Standing
from biomarkers.provenance import utc_now
from biomarkers.results import Finding
from biomarkers.store.database import Database
from biomarkers.store.study_lists import current_shipments
from biomarkers.store.timepoint_rows import read_batches, read_measurands
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.shipments import ShippedSpecimen
from biomarkers.timepoints.alignment import TimepointColumns, TimepointRow, timepoint_columns
from biomarkers.timepoints.attrition import attrition
from biomarkers.timepoints.change_details import ChangeRow, change_rows
from biomarkers.timepoints.completeness import CompletenessCell, completeness_matrix
from biomarkers.timepoints.irregularities import impossible_dates
from biomarkers.timepoints.receipts import receipt_findings, receipt_states
from biomarkers.timepoints.significance import between_arms_test, refuse_between_arms, within_arm_tests
from biomarkers.timepoints.summary import summarise
from biomarkers.timepoints.table import timepoint_frame, timepoint_table, wide_table

Names = str | Collection[str]


class TimepointTables(ABC):
    """What can be asked of a laboratory's results. Every table holds as of a date, by default today in UTC.

    ``measurand``, ``visit`` and ``subject`` choose rows, by one name or several; left out, they choose all. ``arm`` adds the
    column ``arm`` and needs the right to allocations. Sentences that belong beside a table stand in ``table.attrs["notes"]``.
    """

    __slots__ = ()

    definition: StudyDefinition
    database: Database
    held: HeldStanding

    @abstractmethod
    def arms(self) -> ArmAssignments:
        """Return the allocations, for those who may read their store."""

    def standing(self) -> Standing:
        """Return what the laboratory knows now, from one snapshot."""
        return self.held.read(self.database)

    def columns(self, *, as_of: date | None = None) -> TimepointColumns:
        """Return the timepoint table column by column."""
        known = self.standing()
        return timepoint_columns(
            self.definition.study.id,
            () if known.aligned is None else known.aligned.alignments,
            () if known.aligned is None else known.aligned.due,
            () if known.aligned is None else known.results,
            as_of=_day(as_of),
        )

    def rows(self, *, as_of: date | None = None) -> tuple[TimepointRow, ...]:
        """Return the timepoint table row by row."""
        return self.columns(as_of=as_of).rows()

    def timepoints(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        subject: Names = (),
        wide: bool = False,
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return the timepoint table.

        Parameters
        ----------
        measurand, visit, subject
            Only these; all of them unless said.
        wide
            One row per subject and visit and a column for each measurand's value, a bound as text such as ``<3.1``.
        arm
            Add the column ``arm`` after ``subject_id``; needs the right to allocations.
        as_of
            The date the statuses hold for; by default today in UTC.

        Raises
        ------
        StoreError
            Allocations were asked for and cannot be read.

        Examples
        --------
        >>> import biomarkers
        >>> lab = biomarkers.open_lab("LAB")  # doctest: +SKIP
        >>> lab.timepoints(measurand="IL6", visit="C2D1")  # doctest: +SKIP
        """
        choice = Choice.of(measurand, visit, subject)
        assignments = self._assignments(arm=arm)
        if wide:
            return wide_table(self._chosen(choice, as_of), assignments)
        day = _day(as_of)
        if choice.measurands and day >= utc_now().date():
            # The rows kept of these alone; days gone by are computed from what was known of them.
            with self.database.read() as reading:
                kept = read_measurands(reading, as_of=day, measurands=choice.measurands)
            if kept.subject_id:
                return choice.of_frame(timepoint_frame(kept, assignments))
        return choice.of_frame(timepoint_frame(self.columns(as_of=day), assignments))

    def timepoint_batches(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        subject: Names = (),
        arm: bool = False,
        as_of: date | None = None,
        rows: int = 20_000,
    ) -> Iterator[pd.DataFrame]:
        """Return the timepoint table in pieces of about ``rows`` rows, in its order, for tables larger than the memory.

        There is one piece at least, be it empty. A day before today is computed as a whole.
        """
        choice = Choice.of(measurand, visit, subject)
        assignments = self._assignments(arm=arm)
        today = utc_now().date()
        if as_of is not None and as_of < today:
            yield choice.of_frame(timepoint_frame(self.columns(as_of=as_of), assignments))
            return
        is_empty = True
        with self.database.read() as reading:
            for columns in read_batches(reading, as_of=as_of or today, subject_ids=choice.subjects, rows=rows):
                piece = choice.of_frame(timepoint_frame(columns, assignments))
                if len(piece):
                    is_empty = False
                    yield piece
        if is_empty:
            yield timepoint_table(())

    def changes(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        subject: Names = (),
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return each value against its baseline: absolute, percent, fold, their bounds, a 95 % interval, and the transition.

        The interval lies on the measurand's scale and holds what controls show of runs and lots; where they show nothing, the
        finding ``WITHIN_RUN_ONLY`` says so.
        """
        found = self.change_rows(Choice.of(measurand, visit, subject), as_of=as_of)
        return insights.change_table(found, self._assignments(arm=arm))

    def transitions(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        subject: Names = (),
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Count who went from below to within to above the range since baseline, and who stayed."""
        found = self.change_rows(Choice.of(measurand, visit, subject), as_of=as_of)
        return insights.transition_table(found, self.definition, self._assignments(arm=arm))

    def summary(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        subject: Names = (),
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return the summary per visit and measurand, and per arm where asked for; arms stand side by side, untested."""
        rows = self._chosen(Choice.of(measurand, visit, subject), as_of)
        found = summarise(rows, self.standing().roster, self._assignments(arm=arm), as_of=_day(as_of))
        return insights.summary_table(found, self.definition, with_arms=arm)

    def attrition(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        arm: bool = False,
        names: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return who is where, from the randomised to the paired; with ``names`` one row per stage, with its subjects."""
        rows = self._chosen(Choice.of(measurand, visit), as_of)
        groups = attrition(rows, self.standing().roster, self._assignments(arm=arm), as_of=_day(as_of))
        return insights.attrition_table(groups, with_arms=arm, names=names)

    def completeness(self, *, wide: bool = False, as_of: date | None = None) -> pd.DataFrame:
        """Return what is known of every subject, visit and assay, and why the rest is empty."""
        return insights.completeness_table(self.completeness_cells(as_of=as_of), wide=wide)

    def completeness_cells(self, *, as_of: date | None = None) -> tuple[CompletenessCell, ...]:
        """Return the completeness matrix cell by cell."""
        known = self.standing()
        due = () if known.aligned is None else known.aligned.due
        states = receipt_states(known.roster, self._shipments(), as_of=_day(as_of))
        return completeness_matrix(self.definition, self.rows(as_of=as_of), due, states)

    def irregularities(self, *, as_of: date | None = None) -> tuple[Finding, ...]:
        """Return dates that contradict each other or lie after the date asked for, and where shipments and receipts differ."""
        roster, day = self.standing().roster, _day(as_of)
        return (*impossible_dates(roster, as_of=day), *receipt_findings(roster, self._shipments(), as_of=day))

    def _shipments(self) -> tuple[ShippedSpecimen, ...]:
        with self.database.read() as reading:
            return current_shipments(reading)

    def tests(
        self,
        *,
        measurand: Names = (),
        visit: Names = (),
        arm: bool = False,
        between_arms: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Test for a change from baseline, within each arm where ``arm`` is given, corrected over all tests of the table.

        Raises
        ------
        StudyDefinitionError
            A test between arms was asked for and the study does not declare itself comparative.
        """
        if between_arms:
            refuse_between_arms(self.definition)
        rows = self._chosen(Choice.of(measurand, visit), as_of)
        if between_arms:
            return insights.between_arms_table(between_arms_test(rows, self.definition, self.arms()))
        found = within_arm_tests(rows, self.standing().roster, self._assignments(arm=arm), as_of=_day(as_of))
        return insights.tests_table(found, with_arms=arm)

    def mixed_model(self, measurand: str, *, arm: bool = False, as_of: date | None = None) -> pd.DataFrame:
        """Fit a mixed model for repeated measures of one measurand, within each arm where ``arm`` is given.

        It assumes that values are missing at random; the note beside the table says what that means.

        Raises
        ------
        AssayError
            Values are only bounds, subjects are too few, or the model does not converge.
        """
        rows = self._chosen(Choice.of(measurand), as_of)
        return insights.mixed_model_table(rows, self.definition, measurand, self._assignments(arm=arm))

    def change_rows(self, choice: Choice, *, as_of: date | None = None) -> list[ChangeRow]:
        """Return changes from baseline as records."""
        found = change_rows(
            (row for row in self.rows(as_of=as_of) if not choice.measurands or row.measurand in choice.measurands),
            self.definition,
            insights.variances_of_controls(self.database, self.definition),
            insights.lot_by_run(self.database),
        )
        return [row for row in found if choice.keeps(row)]

    def _assignments(self, *, arm: bool) -> ArmAssignments | None:
        return self.arms() if arm else None

    def _chosen(self, choice: Choice, as_of: date | None) -> list[TimepointRow]:
        return [row for row in self.rows(as_of=as_of) if choice.keeps(row)]


def _day(as_of: date | None) -> date:
    return as_of or utc_now().date()
