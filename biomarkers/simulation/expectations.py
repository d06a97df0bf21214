"""Which status each due cell of the timepoint table should have at the data cut.

Knows what was simulated: who left when, what was lost, what waits. States it from there, not by the rules of the table, so that
the table can be held against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from biomarkers.simulation.bench import TOO_FEW_EVENTS
from biomarkers.simulation.plates import Mishap
from biomarkers.simulation.study import SimulatedStudy
from biomarkers.simulation.subjects import SimulatedSubject
from biomarkers.study.definition import Anchor, Measurand, Visit


class Expected(StrEnum):
    """Statuses of the timepoint table; ``resulted`` is measured, below or above range, as the number falls."""

    RESULTED = "resulted"
    NOT_EVALUABLE = "not_evaluable"
    PENDING = "pending"
    MISSING = "missing"
    NOT_YET_DUE = "not_yet_due"
    NOT_EXPECTED = "not_expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCell:
    """One due cell of the timepoint table."""

    subject_id: str
    visit: str
    measurand: str
    status: Expected


def expected_cells(study: SimulatedStudy) -> Iterator[ExpectedCell]:
    """Yield the status of every subject, visit and measurand that is due by the study's plan."""
    status_by_file = _status_by_measurand(study)
    received = {(one.subject_id, one.visit, one.specimen.material) for one in study.specimens}
    for person in study.subjects:
        for visit in study.definition.visits:
            for measurand in study.definition.measurands:
                if visit.code not in measurand.due:
                    continue
                status = status_by_file.get((person.subject_id, visit.code, measurand.code))
                if status is None:
                    arrived = any((person.subject_id, visit.code, material) in received for material in measurand.materials)
                    status = Expected.PENDING if arrived else _without_specimen(person, visit, measurand, study)
                yield ExpectedCell(subject_id=person.subject_id, visit=visit.code, measurand=measurand.code, status=status)


def _status_by_measurand(study: SimulatedStudy) -> Mapping[tuple[str, str, str], Expected]:
    statuses: dict[tuple[str, str, str], Expected] = {}
    for plate in study.plates:
        status = Expected.RESULTED if plate.mishap is Mishap.NONE else Expected.NOT_EVALUABLE
        for placed in plate.specimens:
            statuses[placed.subject_id, placed.visit, plate.analyte.code] = status
    for ratio in study.definition.ratios:
        for (subject_id, visit, code), status in list(statuses.items()):
            other = statuses.get((subject_id, visit, ratio.denominator))
            if code == ratio.numerator and other is not None:
                # Not evaluable comes after resulted: a ratio is as good as the worse of its parts.
                statuses[subject_id, visit, ratio.code] = status if other is Expected.RESULTED else other
    for run in study.acquisitions:
        status = Expected.NOT_EVALUABLE if run.events <= TOO_FEW_EVENTS else Expected.RESULTED
        for code in (*(measurand.code for measurand in run.measurands), *(counted.code for counted in run.counts)):
            statuses[run.subject_id, run.visit, code] = status
    for slide in study.slides:
        status = Expected.NOT_EVALUABLE if slide.is_scrap else Expected.RESULTED
        for score in slide.scores:
            statuses[slide.subject_id, slide.visit, f"{slide.stain}_{score}"] = status
    return statuses


def _without_specimen(person: SimulatedSubject, visit: Visit, measurand: Measurand, study: SimulatedStudy) -> Expected:
    if visit.code in person.visit_dates:
        is_lost = any(
            (one.subject_id, one.visit) == (person.subject_id, visit.code) and one.material in measurand.materials
            for one in study.lost
        )
        # What was taken just before the data cut is still on its way, and its window still open.
        return Expected.MISSING if is_lost else Expected.NOT_YET_DUE
    left = person.subject.off_study_date is not None
    progressed = person.subject.progression_date is not None and visit.anchor is Anchor.FIRST_DOSE
    return Expected.NOT_EXPECTED if left or progressed else Expected.NOT_YET_DUE
