"""The study's own files: study.toml, and the full lists of subjects, specimens, visits, kit lots and allocations.

Knows their columns and how their faults are told, all at once, each with its line. Must not know what is already recorded.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from importlib import resources
from pathlib import Path

from biomarkers.elisa.lots import ControlRange, KitLot
from biomarkers.readers.declarations import parse_declaration, read_declaration
from biomarkers.readers.list_tables import ListRow, ListTable
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.definition import UNSUMMARISED_VISITS, StudyDefinition
from biomarkers.study.identifiers import is_accession_id, is_subject_id
from biomarkers.study.roster import ActualVisit, Moment, Specimen, Subject

PACKAGED_STUDY = "targeting_atr_sts.toml"


def packaged_study_text() -> str:
    """Return the text of the packaged study's definition, comments and all."""
    return resources.files("biomarkers.study").joinpath(PACKAGED_STUDY).read_text(encoding="utf-8")


def packaged_study() -> StudyDefinition:
    """Return the packaged study *targeting-atr-sts*."""
    return parse_declaration(packaged_study_text(), StudyDefinition, name=PACKAGED_STUDY)


def read_study(path: Path) -> StudyDefinition:
    """Read study.toml.

    Raises
    ------
    StudyDefinitionError
        With all that is wrong at once.
    """
    return read_declaration(path, StudyDefinition)


def read_roster(path: Path, definition: StudyDefinition) -> tuple[Subject, ...]:
    """Read roster.csv, the full list of subjects, in the order of its lines.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    rows = ListTable.read(path, required=("subject_id", "site", "treatment_start"), optional=_ROSTER_OPTIONAL)
    subjects = [
        Subject(
            subject_id=row.matching("subject_id", lambda text: is_subject_id(definition.identifiers, text), "a subject id"),
            site=row.text("site"),
            treatment_start=row.moment("treatment_start"),
            randomised_on=row.day("randomised_on"),
            treatment_end=row.day("treatment_end"),
            progression_date=row.day("progression_date"),
            next_therapy_start=row.day("next_therapy_start"),
            off_study_date=row.day("off_study_date"),
            off_study_reason=row.text("off_study_reason"),
            death_date=row.day("death_date"),
            consent_withdrawn_on=row.day("consent_withdrawn_on"),
        )
        for row in rows.rows()
    ]
    rows.no_doubles("subject_id", [subject.subject_id for subject in subjects])
    rows.finish()
    return tuple(subjects)


_ROSTER_OPTIONAL = (
    "randomised_on",
    "treatment_end",
    "progression_date",
    "next_therapy_start",
    "off_study_date",
    "off_study_reason",
    "death_date",
    "consent_withdrawn_on",
)


def read_specimens(path: Path, definition: StudyDefinition) -> tuple[Specimen, ...]:
    """Read specimens.csv, the full list of specimens, in the order of its lines.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    required = ("accession_id", "subject_id", "material", "collected_at", "nominal_visit")
    rows = ListTable.read(path, required=required, optional=_SPECIMEN_OPTIONAL)
    labels = {visit.code for visit in definition.visits} | set(UNSUMMARISED_VISITS) | {""}
    specimens = []
    for row in rows.rows():
        collected = row.moment("collected_at")
        if collected is None:
            row.fault("collected_at", "is empty", "Enter the date of collection as YYYY-MM-DD.")
        label = row.text("nominal_visit")
        if label not in labels:
            row.fault("nominal_visit", f"is '{label}', which is no visit", f"Use one of {', '.join(sorted(labels - {''}))}.")
        specimens.append(
            Specimen(
                accession_id=row.matching(
                    "accession_id", lambda text: is_accession_id(definition.identifiers, text), "an accession id"
                ),
                subject_id=row.matching("subject_id", lambda text: is_subject_id(definition.identifiers, text), "a subject id"),
                material=row.one_of("material", {member.value: member for member in Material}, Material.PLASMA),
                collected_at=collected or Moment(day=date.min),
                nominal_visit=label,
                parent_accession_id=row.text("parent_accession_id"),
                received_at=row.moment("received_at"),
                condition=row.text("condition"),
                anticoagulant=row.text("anticoagulant"),
                processed_at=row.moment("processed_at"),
                frozen_at=row.moment("frozen_at"),
                freeze_thaw=row.number("freeze_thaw", int, "a whole number of cycles"),
                hemolysis=row.text("hemolysis"),
                volume_ul=row.number("volume_ul", float, "a volume in microlitres"),
                fixed_at=row.moment("fixed_at"),
                tissue_source=row.text("tissue_source"),
                lesion=row.text("lesion"),
                block=row.text("block"),
            )
        )
    rows.no_doubles("accession_id", [specimen.accession_id for specimen in specimens])
    rows.finish()
    return tuple(specimens)


_SPECIMEN_OPTIONAL = (
    "parent_accession_id",
    "received_at",
    "condition",
    "anticoagulant",
    "processed_at",
    "frozen_at",
    "freeze_thaw",
    "hemolysis",
    "volume_ul",
    "fixed_at",
    "tissue_source",
    "lesion",
    "block",
)


def read_visits(path: Path, definition: StudyDefinition) -> tuple[ActualVisit, ...]:
    """Read visits.csv, the full list of actual visits, in the order of its lines.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    rows = ListTable.read(path, required=("subject_id", "visit", "actual_date"), optional=("status", "reason"))
    codes = {visit.code for visit in definition.visits} | set(UNSUMMARISED_VISITS)
    visits = [
        ActualVisit(
            subject_id=row.matching("subject_id", lambda text: is_subject_id(definition.identifiers, text), "a subject id"),
            visit=row.matching("visit", lambda text: text in codes, f"a visit ({', '.join(sorted(codes))})"),
            actual_date=row.day("actual_date"),
            status=row.text("status"),
            reason=row.text("reason"),
        )
        for row in rows.rows()
    ]
    planned = [f"{visit.subject_id} {visit.visit}" for visit in visits if visit.visit not in UNSUMMARISED_VISITS]
    rows.no_doubles("subject_id and visit", planned)
    rows.finish()
    return tuple(visits)


def read_lots(path: Path, definition: StudyDefinition) -> tuple[KitLot, ...]:
    """Read lots.csv, the full list of kit lots: analyte, kit_lot, expiry, slot, value, lower, upper.

    A line is one slot of one lot. A calibrator's line holds its concentration in ``value``; a control's holds its range in
    ``lower`` and ``upper``, and in ``value`` its nominal concentration where the maker states one; in the analyte's unit.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    rows = ListTable.read(path, required=("analyte", "kit_lot", "slot"), optional=("expiry", "value", "lower", "upper"))
    codes = {analyte.code for analyte in definition.analytes}
    lots: dict[tuple[str, str], KitLot] = {}
    slots = []
    for row in rows.rows():
        analyte = row.matching("analyte", lambda text: text in codes, "an analyte of the study")
        kit_lot = row.matching("kit_lot", bool, "a lot")
        slot = row.matching("slot", bool, "a slot of the layout, such as STD1 or CTRL1")
        slots.append(f"{analyte} {kit_lot} {slot}")
        before = lots.get((analyte, kit_lot))
        expiry = row.day("expiry")
        if before is not None and before.expires_on != expiry:
            row.fault("expiry", "differs from the lot's line above", "Give a lot one expiry on all its lines.")
        lots[analyte, kit_lot] = _with_slot(
            before or KitLot(analyte=analyte, kit_lot=kit_lot, expires_on=expiry, calibrators={}, controls={}), slot, row
        )
    rows.no_doubles("analyte, kit_lot and slot", slots)
    rows.finish()
    return tuple(lots.values())


def _with_slot(lot: KitLot, slot: str, row: ListRow) -> KitLot:
    """Add a line to its lot; a line with a range is a control's."""
    value, lower, upper = (row.number(column, float, "a concentration") for column in ("value", "lower", "upper"))
    for column, number in (("value", value), ("lower", lower), ("upper", upper)):
        if number is not None and number < 0:
            row.fault(column, f"holds {number:g}, which is below 0", "Enter a concentration.")
    if lower is None and upper is None:
        if value is None:
            row.fault("value", "is empty", "Enter the calibrator's concentration, or the control's range in lower and upper.")
            return lot
        return replace(lot, calibrators={**lot.calibrators, slot: value})
    if lower is None or upper is None or lower >= upper:
        row.fault("lower", "and 'upper' are no range", "Enter both, the lower one first.")
        return lot
    return replace(lot, controls={**lot.controls, slot: ControlRange(lower=lower, upper=upper, nominal=value)})


def read_arms(path: Path, definition: StudyDefinition) -> ArmAssignments:
    """Read arms.csv: subject_id, arm.

    Raises
    ------
    SourceFileError
        With every faulty line. No message repeats an arm, so that it can be shown to anyone.
    """
    rows = ListTable.read(path, required=("subject_id", "arm"), optional=())
    codes = {arm.code for arm in definition.arms}
    arm_by_subject: dict[str, str] = {}
    subjects = []
    for row in rows.rows():
        subject = row.matching("subject_id", lambda text: is_subject_id(definition.identifiers, text), "a subject id")
        arm = row.text("arm")
        if arm not in codes:
            row.fault("arm", "holds no arm of the study", "Use the arm codes of study.toml.")
        subjects.append(subject)
        arm_by_subject[subject] = arm
    rows.no_doubles("subject_id", subjects)
    rows.finish()
    return ArmAssignments(arm_by_subject=arm_by_subject)
