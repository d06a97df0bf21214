"""Figures of a study: courses, changes, pairs, completeness and correlation, described once and drawn by either library.

Knows what is drawn of which rows. Must not know how a library draws. Arms appear only where assignments were given, and no
figure holds a p value: figures describe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from biomarkers.reports.figures import unit_words
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import BASELINE_VISIT, StudyDefinition
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.timepoints.change_details import ChangeRow
from biomarkers.timepoints.completeness import CompletenessCell

Mark = Literal["value", "below", "above"]

STATUS_COLOURS: Mapping[str, str] = {
    Status.MEASURED.value: "#2b7a6f",
    Status.PENDING.value: "#8fbfe0",
    Status.MISSING.value: "#c8553d",
    Status.NOT_EVALUABLE.value: "#e0a458",
    Status.NOT_YET_DUE.value: "#dfe6ea",
    Status.NOT_EXPECTED.value: "#f7f7f7",
}
"""From much to do to nothing to do; told apart by colour-blind eyes and in grey print."""

ARM_COLOURS = ("#23566b", "#c8553d", "#7a6c9b", "#5c8a4a", "#8c6d31", "#444444")

FEWEST_FOR_CORRELATION = 5

STUDY_DAY = "study day"

BATCH_CODES = frozenset({"BATCH_CHANGED", "SCANNER_CHANGED", "MATRIX_CHANGED", "UNIT_CHANGED"})
"""Findings of a number that was measured otherwise than its baseline; its point is ringed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A mark in a panel; a bound is drawn as a triangle that points where the value may lie, a change of batch ringed."""

    x: float
    y: float
    mark: Mark
    words: str
    is_ringed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of one subject, joined."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """From one end to the other; an open end reaches the panel's edge."""

    x: float
    low: float | None
    high: float | None
    is_bound: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A line across with its name, such as a limit of the range."""

    y: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FigurePanel:
    """One plotting area; its title may be an arm, so its printed form tells none.

    Attributes
    ----------
    counts
        How many subjects have a value or a bound at each planned visit: n stands under every course.
    """

    title: str
    colour: str
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    levels: tuple[Level, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def n_words(self) -> str:
        """The counts as a line of text; empty where there are none."""
        return "n: " + " · ".join(f"{visit} {count}" for visit, count in self.counts) if self.counts else ""

    def __repr__(self) -> str:
        return f"FigurePanel({len(self.lines)} lines, {len(self.bars)} bars)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of coloured cells: each cell's colour and words; an empty colour is no cell."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    colours: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]
    shown: tuple[tuple[str, ...], ...]
    legend: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFigure:
    """A figure before it is drawn.

    Attributes
    ----------
    x_ticks
        Names of places on the x axis; empty for an axis of numbers.
    caption
        What a reader must know; stands below the figure.
    """

    title: str
    caption: str
    x_label: str = ""
    y_label: str = ""
    is_log: bool = False
    x_ticks: Mapping[float, str] | None = None
    panels: tuple[FigurePanel, ...] = ()
    grid: Grid | None = None


def course_figure(
    definition: StudyDefinition,
    rows: Iterable[TimepointRow],
    measurand: str,
    assignments: ArmAssignments | None = None,
    *,
    batch_by_run: Mapping[str, str] | None = None,
) -> StudyFigure:
    """Draw each subject's course of one measurand over study days, with the limits of the range, a panel an arm.

    Parameters
    ----------
    batch_by_run
        The kit lot or staining batch of each run, as far as known; a number from another one than its baseline is ringed.
    """
    batches = batch_by_run or {}
    here = [row for row in rows if row.measurand == measurand and row.value is not None and row.study_day is not None]
    levels = _limits(definition, here, measurand)
    visits = sorted(definition.visits, key=lambda visit: visit.number)
    panels = []
    for arm in _arms(definition, here, assignments):
        lines = []
        for subject_id in sorted({row.subject_id for row in arm.rows}):
            own = sorted((row for row in arm.rows if row.subject_id == subject_id), key=lambda row: row.study_day or 0)
            lines.append(Line(name=subject_id, points=tuple(_point(row, float(row.study_day or 0), batches) for row in own)))
        counts = tuple((visit.code, len({row.subject_id for row in arm.rows if row.visit == visit.code})) for visit in visits)
        panels.append(FigurePanel(title=arm.title, colour=arm.colour, lines=tuple(lines), levels=levels, counts=counts))
    ringed = any(point.is_ringed for panel in panels for line in panel.lines for point in line.points)
    return StudyFigure(
        title=f"{measurand} by subject",
        caption=_caption(
            definition,
            "A hollow triangle is a bound and points to where the value may lie."
            + (" A ring marks another lot, batch, scanner, matrix or unit than at baseline." if ringed else ""),
        ),
        x_label=STUDY_DAY,
        y_label=_unit_label(measurand, here),
        is_log=_is_log(definition, measurand, here),
        panels=tuple(panels),
    )


def waterfall_figure(
    definition: StudyDefinition,
    changes: Iterable[ChangeRow],
    measurand: str,
    visit: str,
    assignments: ArmAssignments | None = None,
) -> StudyFigure:
    """Draw each subject's change from baseline at one visit in ascending order, a panel an arm.

    Measurands on a logarithmic scale show the logarithm of base 2 of the fold, others the difference. A change that is only
    known between bounds is drawn from one to the other.
    """
    here = [row for row in changes if row.measurand == measurand and row.visit == visit]
    is_log = any(row.scale == "log" for row in here)
    zero = (Level(y=0.0, name="baseline"),)
    panels = []
    for arm in _arms_of_changes(definition, here, assignments):
        ends = sorted(((row, *_ends(row, is_log=is_log)) for row in arm.changes), key=_waterfall_order)
        bars = tuple(
            Bar(
                x=float(place),
                low=low,
                high=high,
                is_bound=row.change is None,
                words=f"{row.subject_id}: {_change_words(row, low, high)}",
            )
            for place, (row, low, high) in enumerate(ends, start=1)
        )
        panels.append(FigurePanel(title=arm.title, colour=arm.colour, bars=bars, levels=zero, counts=((visit, len(bars)),)))
    unit = here[0].change_unit if here else ""
    return StudyFigure(
        title=f"{measurand}: change from baseline at {visit}",
        caption=_caption(definition, "A pale bar is a change known only between its ends.", visit=visit),
        x_label="subjects in ascending order",
        y_label="log2 fold change from baseline" if is_log else f"change from baseline ({unit_words(unit)})",
        panels=tuple(panels),
    )


def paired_figure(
    definition: StudyDefinition,
    rows: Iterable[TimepointRow],
    measurand: str,
    visit: str,
    assignments: ArmAssignments | None = None,
) -> StudyFigure:
    """Draw baseline and one visit of each subject who has both, joined, a panel an arm."""
    places = {BASELINE_VISIT: 0.0, visit: 1.0}
    here = [row for row in rows if row.measurand == measurand and row.value is not None and row.visit in places]
    paired = {row.subject_id for row in here if row.visit == visit and row.baseline_run_id is not None}
    here = [row for row in here if row.subject_id in paired]
    levels = _limits(definition, here, measurand)
    panels = []
    for arm in _arms(definition, here, assignments):
        lines = []
        for subject_id in sorted({row.subject_id for row in arm.rows}):
            own = sorted((row for row in arm.rows if row.subject_id == subject_id), key=lambda row: places[row.visit])
            lines.append(Line(name=subject_id, points=tuple(_point(row, places[row.visit], {}) for row in own)))
        count = f"{len(lines)} pairs"
        title = f"{arm.title} ({count})" if arm.title else count
        panels.append(FigurePanel(title=title, colour=arm.colour, lines=tuple(lines), levels=levels))
    return StudyFigure(
        title=f"{measurand}: baseline and {visit}",
        caption=_caption(definition, "Subjects with both alone. A triangle is a bound.", visit=visit),
        y_label=_unit_label(measurand, here),
        is_log=_is_log(definition, measurand, here),
        x_ticks={place: name for name, place in places.items()},
        panels=tuple(panels),
    )


def completeness_figure(definition: StudyDefinition, cells: Iterable[CompletenessCell]) -> StudyFigure:
    """Draw what is known of every subject, visit and assay; no arm appears here, whoever asks."""
    listed = list(cells)
    columns = sorted({(cell.visit_number, cell.visit, cell.assay) for cell in listed})
    subjects = sorted({cell.subject_id for cell in listed})
    by_place = {(cell.subject_id, cell.visit, cell.assay): cell for cell in listed}
    grid = [[by_place.get((subject_id, visit, assay)) for _, visit, assay in columns] for subject_id in subjects]
    return StudyFigure(
        title="Completeness",
        caption=_caption(definition, "Bounds count as measured. Hover over a cell for its reason and specimens."),
        grid=Grid(
            columns=tuple(f"{visit} {assay}" for _, visit, assay in columns),
            rows=tuple(subjects),
            colours=tuple(tuple("" if cell is None else STATUS_COLOURS[cell.status] for cell in line) for line in grid),
            words=tuple(tuple("" if cell is None else _cell_words(cell) for cell in line) for line in grid),
            shown=tuple(tuple("" for _ in line) for line in grid),
            legend={status.replace("_", " "): colour for status, colour in STATUS_COLOURS.items()},
        ),
    )


def correlation_figure(definition: StudyDefinition, rows: Iterable[TimepointRow], visit: str) -> StudyFigure:
    """Draw the rank correlation of all measurands at one visit, across assays; bounds tie at their end of the range.

    Pairs of measurands with fewer than five subjects are left empty.
    """
    here = [row for row in rows if row.visit == visit and row.value is not None]
    measurands = list(dict.fromkeys(row.measurand for row in sorted(here, key=lambda row: (row.assay, row.measurand))))
    values: dict[str, dict[str, float]] = {measurand: {} for measurand in measurands}
    for row in here:
        value = row.value or 0.0
        values[row.measurand][row.subject_id] = {"<": -math.inf, ">": math.inf}.get(row.comparator or "", value)
    found = [[rank_correlation(values[one], values[other]) for other in measurands] for one in measurands]
    return StudyFigure(
        title=f"Rank correlation at {visit}",
        caption=_caption(
            definition, "Spearman's coefficient over subjects; bounds tie at their end of the range.", visit=visit
        ),
        grid=Grid(
            columns=tuple(measurands),
            rows=tuple(measurands),
            colours=tuple(tuple("" if one.value is None else _diverging(one.value) for one in line) for line in found),
            words=tuple(
                tuple(
                    f"{first} and {second}: {'too few' if one.value is None else format(one.value, '.2f')} (n = {one.count})"
                    for second, one in zip(measurands, line, strict=True)
                )
                for first, line in zip(measurands, found, strict=True)
            ),
            shown=tuple(tuple("" if one.value is None else f"{one.value:.1f}" for one in line) for line in found),
            legend={"-1": _diverging(-1.0), "0": _diverging(0.0), "1": _diverging(1.0)},
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """Spearman's coefficient over the subjects both measurands have; None for too few, or without spread."""

    value: float | None
    count: int


def rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> RankCorrelation:
    """Correlate the ranks of two measurands over the subjects they share; equal values share their rank."""
    shared = sorted(set(one) & set(other))
    if len(shared) < FEWEST_FOR_CORRELATION:
        return RankCorrelation(value=None, count=len(shared))
    first, second = (rankdata([values[subject] for subject in shared]) for values in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(value=None, count=len(shared))
    return RankCorrelation(value=float(np.corrcoef(first, second)[0, 1]), count=len(shared))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Arm:
    title: str
    colour: str
    rows: tuple[TimepointRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()


def _arms(definition: StudyDefinition, rows: Sequence[TimepointRow], assignments: ArmAssignments | None) -> list[_Arm]:
    if assignments is None:
        return [_Arm(title="", colour=ARM_COLOURS[0], rows=tuple(rows))]
    return [
        _Arm(title=title, colour=colour, rows=tuple(row for row in rows if assignments.arm(row.subject_id) == code))
        for code, title, colour in _arm_styles(definition)
    ]


def _arms_of_changes(
    definition: StudyDefinition, changes: Sequence[ChangeRow], assignments: ArmAssignments | None
) -> list[_Arm]:
    if assignments is None:
        return [_Arm(title="", colour=ARM_COLOURS[0], changes=tuple(changes))]
    return [
        _Arm(title=title, colour=colour, changes=tuple(row for row in changes if assignments.arm(row.subject_id) == code))
        for code, title, colour in _arm_styles(definition)
    ]


def _arm_styles(definition: StudyDefinition) -> list[tuple[str, str, str]]:
    return [
        (arm.code, f"{arm.code}: {arm.label}", ARM_COLOURS[at % len(ARM_COLOURS)]) for at, arm in enumerate(definition.arms)
    ]


def _point(row: TimepointRow, x: float, batches: Mapping[str, str]) -> Point:
    mark: Mark = "below" if row.comparator == "<" else "above" if row.comparator == ">" else "value"
    words = f"{row.subject_id} {row.visit}: {row.comparator or ''}{row.value:.4g} {row.unit or ''}".strip()
    if row.findings:
        words = f"{words} [{row.findings}]"
    batch, before = batches.get(row.run_id or "", ""), batches.get(row.baseline_run_id or "", "")
    if batch:
        words = f"{words}, {batch}"
    is_ringed = not BATCH_CODES.isdisjoint(row.findings.split(";")) or bool(batch and before and batch != before)
    return Point(x=x, y=row.value or 0.0, mark=mark, words=words, is_ringed=is_ringed)


def _limits(definition: StudyDefinition, rows: Sequence[TimepointRow], measurand: str) -> tuple[Level, ...]:
    """Return the limits of the range as reported, with the dilution; where nothing lies beyond them, as declared."""
    analyte = definition.analyte(measurand)
    lower = [row.value for row in rows if row.comparator == "<" and row.value is not None]
    upper = [row.value for row in rows if row.comparator == ">" and row.value is not None]
    if not lower and analyte is not None:
        lower = [analyte.limits.lloq]
    if not upper and analyte is not None:
        upper = [analyte.limits.uloq]
    return (
        *(Level(y=value, name="lower limit") for value in sorted(set(lower))),
        *(Level(y=value, name="upper limit") for value in sorted(set(upper))),
    )


def _is_log(definition: StudyDefinition, measurand: str, rows: Sequence[TimepointRow]) -> bool:
    declared = definition.measurand(measurand)
    return declared is not None and declared.scale == "log" and all((row.value or 0.0) > 0 for row in rows)


def _unit_label(measurand: str, rows: Sequence[TimepointRow]) -> str:
    unit = next((row.unit for row in rows if row.unit), "")
    told = unit_words(unit or "")
    return f"{measurand} ({told})" if told else measurand


def _ends(row: ChangeRow, *, is_log: bool) -> tuple[float | None, float | None]:
    """Return from where to where a bar reaches: from 0 to a number, or from bound to bound."""
    exact = row.fold_change if is_log else row.change
    if row.change is not None and exact is not None and (not is_log or exact > 0):
        value = math.log2(exact) if is_log else exact
        return min(0.0, value), max(0.0, value)
    if not is_log:
        return row.change_bound_lower, row.change_bound_upper
    return tuple(math.log2(end) if end else None for end in (row.fold_bound_lower, row.fold_bound_upper))  # type: ignore[return-value]  # two ends


def _waterfall_order(ends: tuple[ChangeRow, float | None, float | None]) -> tuple[float, str]:
    row, low, high = ends
    known = [end for end in (low, high) if end is not None]
    return (sum(known) if known else 0.0), row.subject_id


def _change_words(row: ChangeRow, low: float | None, high: float | None) -> str:
    if row.change is not None:
        fold = "" if row.fold_change is None else f", {row.fold_change:.3g} fold"
        return f"{row.change:+.4g} {row.change_unit}{fold}"
    return f"between {'no end' if low is None else format(low, '.3g')} and {'no end' if high is None else format(high, '.3g')}"


def _cell_words(cell: CompletenessCell) -> str:
    words = f"{cell.subject_id} {cell.visit} {cell.assay}: {cell.status.replace('_', ' ')}"
    if cell.reason:
        words = f"{words} ({cell.reason})"
    return f"{words}, {cell.n_reported} of {cell.n_due}" + "".join(f", {one}" for one in cell.accession_ids)


def _diverging(value: float) -> str:
    """Blue for -1, white for 0, red for 1."""
    ends = (35, 86, 107) if value < 0 else (200, 85, 61)
    part = min(1.0, abs(value))
    return "#" + "".join(f"{round(255 + part * (end - 255)):02x}" for end in ends)


def _caption(definition: StudyDefinition, words: str, *, visit: str = "") -> str:
    left = "" if visit == BASELINE_VISIT else " Late visits hold the subjects still on study."
    arms = "" if definition.study.comparative else " Arms are described, not compared."
    return f"{words}{left}{arms} Study: {definition.study.masking}."
