"""The study's own files: study.toml, and the full lists of subjects, specimens, visits and allocations.

Knows their columns and how their faults are told, all at once, each with its line. Must not know what is already recorded.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import TypeVar

from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.declarations import parse_declaration, read_declaration
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.definition import UNSUMMARISED_VISITS, StudyDefinition
from biomarkers.study.identifiers import is_accession_id, is_subject_id
from biomarkers.study.roster import ActualVisit, Moment, Specimen, Subject

LARGEST_LIST_BYTES = 64_000_000
"""Some hundred thousand rows; a list of a trial has thousands."""

PACKAGED_STUDY = "targeting_atr_sts.toml"

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


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
    rows = _Table.read(path, required=("subject_id", "site", "treatment_start"), optional=_ROSTER_OPTIONAL)
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
    rows = _Table.read(path, required=required, optional=_SPECIMEN_OPTIONAL)
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
    rows = _Table.read(path, required=("subject_id", "visit", "actual_date"), optional=("status", "reason"))
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


def read_arms(path: Path, definition: StudyDefinition) -> ArmAssignments:
    """Read arms.csv: subject_id, arm.

    Raises
    ------
    SourceFileError
        With every faulty line. No message repeats an arm, so that it can be shown to anyone.
    """
    rows = _Table.read(path, required=("subject_id", "arm"), optional=())
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


@dataclass(kw_only=True)
class _Table:
    """A CSV being read; gathers every fault before it raises."""

    name: str
    lines: Sequence[tuple[int, Mapping[str, str]]]
    faults: list[Fault] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, required: Sequence[str], optional: Sequence[str]) -> _Table:
        text = _text(path)
        delimiter = ";" if ";" in text.split("\n", 1)[0] and "," not in text.split("\n", 1)[0] else ","
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except csv.Error as error:
            raise SourceFileError(
                what=f"The file is no table: {error}.", where=f"File '{path.name}'.", remedy="Save it again as CSV."
            ) from error
        cells = [(line, row) for line, row in cells if any(row)]
        if not cells:
            raise SourceFileError(
                what="The file is empty.", where=f"File '{path.name}'.", remedy="Export the list again and drop it anew."
            )
        header = [column.casefold() for column in cells[0][1]]
        table = cls(name=path.name, lines=[])
        table._check_header(header, required, optional)
        lines = []
        for line, row in cells[1:]:
            if len(row) != len(header):
                table.faults.append(
                    Fault(
                        where=f"File '{path.name}', line {line}.",
                        what=f"The line has {len(row)} cells where the header has {len(header)}.",
                        remedy="Check for a missing or stray separator.",
                    )
                )
                continue
            lines.append((line, dict(zip(header, row, strict=True))))
        table.lines = lines
        return table

    def _check_header(self, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
        problems = [
            *(f"the column '{column}' must be there" for column in required if column not in header),
            *(f"the column '{column}' is not known" for column in header if column not in {*required, *optional}),
            *(f"the column '{column}' stands {count} times" for column, count in Counter(header).items() if count > 1),
        ]
        if problems:
            raise SourceFileError(
                what=f"The header does not fit: {'; '.join(problems)}.",
                where=f"File '{self.name}', line 1; found {', '.join(header)}.",
                remedy=f"Required columns: {', '.join(required)}. Optional: {', '.join(optional) or 'none'}.",
            )

    def rows(self) -> Iterator[_Row]:
        return (_Row(table=self, line=line, cells=cells) for line, cells in self.lines)

    def no_doubles(self, column: str, values: Sequence[str]) -> None:
        for value, count in Counter(values).items():
            if count > 1 and value:
                self.faults.append(
                    Fault(
                        where=f"File '{self.name}', {column} '{value}'.",
                        what=f"It stands on {count} lines.",
                        remedy="Each may stand once; remove the others.",
                    )
                )

    def finish(self) -> None:
        if self.faults:
            raise SourceFileError.gathered(self.faults)


@dataclass(frozen=True, kw_only=True)
class _Row:
    table: _Table
    line: int
    cells: Mapping[str, str]

    def fault(self, column: str, what: str, remedy: str) -> None:
        where = f"File '{self.table.name}', line {self.line}, column '{column}'."
        self.table.faults.append(Fault(where=where, what=f"The cell {what}.", remedy=remedy))

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def matching(self, column: str, fits: Callable[[str], bool], meaning: str) -> str:
        text = self.text(column)
        if not fits(text):
            self.fault(column, f"holds '{text}', which is not {meaning}", "Correct the cell.")
        return text

    def one_of(self, column: str, values: Mapping[str, Value], otherwise: Value) -> Value:
        text = self.text(column).upper()
        if text not in values:
            self.fault(column, f"holds '{text}', which is not known", f"Use one of {', '.join(sorted(values))}.")
        return values.get(text, otherwise)

    def number(self, column: str, kind: type[Number], meaning: str) -> Number | None:
        text = self.text(column)
        if not text:
            return None
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not math.isfinite(number):
            self.fault(column, f"holds '{text}', which is not {meaning}", "Enter a number with a decimal point, or nothing.")
            return None
        return number

    def day(self, column: str) -> date | None:
        moment = self.moment(column)
        return None if moment is None else moment.day

    def moment(self, column: str) -> Moment | None:
        text = self.text(column)
        if not text:
            return None
        try:
            if len(text) <= len("YYYY-MM-DD"):
                return Moment(day=date.fromisoformat(text))
            both = datetime.fromisoformat(text)
        except ValueError:
            self.fault(column, f"holds '{text}', which is no date", "Write dates as YYYY-MM-DD or YYYY-MM-DDTHH:MM.")
            return None
        return Moment(day=both.date(), time=both.time())


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST_LIST_BYTES:
            raise SourceFileError(
                what=f"The file has {size} bytes; a list of the study has at most {LARGEST_LIST_BYTES}.",
                where=f"File '{path.name}'.",
                remedy="Check that this is the file you meant.",
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceFileError(
            what="The file is not UTF-8 text.", where=f"File '{path.name}'.", remedy="Save it as 'CSV UTF-8' and drop it again."
        ) from error
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be read: {error.strerror}.", where=f"File '{path.name}'.", remedy="Check its rights."
        ) from error
