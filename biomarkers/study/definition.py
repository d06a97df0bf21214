"""The trial as declared in study.toml.

Knows arms, visits with their windows, what is due when and from which material. Must not know files, methods or results.
Every declaration says whether the protocol states it or the laboratory assumes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from biomarkers.provenance import content_digest
from biomarkers.results import Assay
from biomarkers.study.cellular import CELLS_PER_UL, PanelReference, TubePattern
from biomarkers.study.declaration import Code, Declaration, DeclarationSource, Material, Scale
from biomarkers.study.soluble import Analyte, RatioReference
from biomarkers.study.tissue import IHC_SCALES, IHC_UNITS, SlidePattern, StainReference


class Anchor(StrEnum):
    """The event a visit is counted from."""

    FIRST_DOSE = "first_dose"
    PROGRESSION = "progression"


BASELINE_VISIT = "BASELINE"
"""Code of the visit every change is counted from."""

UNSUMMARISED_VISITS = ("UNSCHEDULED", "END_OF_TREATMENT")
"""Visit labels that are kept and shown, never due and never summarised."""


class StudyIdentity(Declaration):
    """What the trial is called and how it is masked."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
    title: str
    comparative: bool
    masking: str


class Cycle(Declaration):
    """Length of a treatment cycle in days."""

    length_days: Annotated[int, Field(gt=0, le=366)]


class Arm(Declaration):
    """A randomised treatment; ``ratio`` is its share in the allocation."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    label: str
    ratio: Annotated[int, Field(gt=0)]


class Window(Declaration):
    """The days within which a specimen of some materials counts for a visit, both ends included.

    For visits anchored on the first dose these are study days (there is no day 0); for visits anchored on progression they
    are days after the progression date, which is 0. ``first_day`` may be left out where archival material is allowed.
    """

    materials: Annotated[tuple[Material, ...], Field(min_length=1)]
    first_day: int | None = None
    last_day: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first_day is not None and self.first_day > self.last_day:
            raise ValueError(f"the window ends on day {self.last_day}, before it begins on day {self.first_day}")
        return self


class Visit(Declaration):
    """A planned visit.

    ``target_day`` is a study day for visits anchored on the first dose, and days after progression otherwise.
    """

    code: Code
    number: Annotated[int, Field(gt=0)]
    label: str
    anchor: Anchor
    target_day: int
    is_baseline: bool = False
    windows: Annotated[tuple[Window, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _days_exist(self) -> Self:
        if self.anchor is Anchor.FIRST_DOSE:
            days = [self.target_day, *(w.last_day for w in self.windows), *(w.first_day or 1 for w in self.windows)]
            if 0 in days or any(window.first_day == 0 for window in self.windows):
                raise ValueError(f"visit '{self.code}' uses study day 0, which does not exist")
        seen = Counter(material for window in self.windows for material in window.materials)
        doubled = sorted(material for material, count in seen.items() if count > 1)
        if doubled:
            raise ValueError(f"visit '{self.code}' declares more than one window for {', '.join(doubled)}")
        return self

    def window(self, material: Material) -> Window | None:
        """Return the window for a material, or None where the visit takes no such material."""
        return next((window for window in self.windows if material in window.materials), None)


class IdentifierPatterns(Declaration):
    """How ids look, and how they are found in file names.

    ``accession_id`` and ``subject_id`` are regular expressions for the whole id. File patterns hold ``{accession_id}`` and,
    for slides, ``{stain}``; the slide pattern is matched without the file's extension, and may hold ``{section}`` and
    ``{batch}``. That of FCS files may hold ``{batch}`` too, or a keyword of theirs named by ``fcs_batch_keyword``, such as
    ``EXPERIMENT NAME``, tells the staining batch.
    """

    accession_id: str
    subject_id: str
    fcs_file: str = "{accession_id}.fcs"
    fcs_keyword: str = "ACCESSION_ID"
    fcs_batch_keyword: str = ""
    fcs_roles: tuple[TubePattern, ...] = ()
    slide_file: str = "{accession_id}_{stain}"
    slide_roles: tuple[SlidePattern, ...] = ()

    @field_validator("accession_id", "subject_id")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"'{value}' is no regular expression: {error}") from error
        return value

    @field_validator("fcs_file", "slide_file")
    @classmethod
    def _names_the_accession(cls, value: str) -> str:
        if "{accession_id}" not in value:
            raise ValueError(f"the file pattern '{value}' does not hold {{accession_id}}")
        return value


class SignatureRules(Declaration):
    """Who may sign what. With ``two_persons`` nobody releases results that only they themselves have reviewed."""

    two_persons: bool = False


class SpecimenRules(Declaration):
    """From when on what befell a specimen before it was measured is told of its numbers.

    Attributes
    ----------
    most_freeze_thaw_cycles
        More of them are told; a frozen specimen is thawed once to be measured.
    no_haemolysis
        What specimens.csv says, in any case, of a specimen that is not haemolysed, or not enough to be told; every other word
        is a degree of it.
    """

    most_freeze_thaw_cycles: int = Field(default=1, ge=0)
    no_haemolysis: tuple[str, ...] = ("NONE", "NO", "ABSENT", "NEGATIVE", "0", "-")

    def is_haemolysed(self, told: str) -> bool:
        """Whether a word of specimens.csv tells of haemolysis; an empty cell does not."""
        word = told.strip().upper()
        return bool(word) and word not in {one.strip().upper() for one in self.no_haemolysis}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurand:
    """What is reported, where it comes from and when it is due; derived from the declarations above."""

    code: str
    assay: Assay
    unit: str
    scale: Scale
    materials: tuple[Material, ...]
    due: tuple[str, ...]
    source: DeclarationSource


class StudyDefinition(BaseModel):
    """The whole trial as data; refuses to exist while it contradicts itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: StudyIdentity
    cycle: Cycle
    identifiers: IdentifierPatterns
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    visits: Annotated[tuple[Visit, ...], Field(min_length=1)]
    analytes: tuple[Analyte, ...] = ()
    ratios: tuple[RatioReference, ...] = ()
    panels: tuple[PanelReference, ...] = ()
    stains: tuple[StainReference, ...] = ()
    signatures: SignatureRules | None = None
    specimens: SpecimenRules = SpecimenRules(source="assumption")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *self._doubled_names(),
            *self._broken_ratios(),
            *self._unknown_visits(),
            *self._overlapping_windows(),
            *self._baselines(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _doubled_names(self) -> Iterator[str]:
        named: dict[str, Sequence[str | int]] = {
            "arm": [arm.code for arm in self.arms],
            "visit": [visit.code for visit in self.visits],
            "visit number": [visit.number for visit in self.visits],
            "measurand": [measurand.code for measurand in self.measurands],
        }
        for kind, names in named.items():
            for name, count in Counter(names).items():
                if count > 1:
                    yield f"{kind} '{name}' is declared {count} times"

    def _broken_ratios(self) -> Iterator[str]:
        for ratio in self.ratios:
            for code in (ratio.numerator, ratio.denominator):
                analyte = self.analyte(code)
                if analyte is None:
                    yield f"the ratio '{ratio.code}' is made of '{code}', which is no analyte"
                elif not set(ratio.materials) <= set(analyte.materials):
                    yield f"the ratio '{ratio.code}' names a material '{code}' is not measured in"

    def _unknown_visits(self) -> Iterator[str]:
        known = {visit.code: visit for visit in self.visits}
        for measurand in self.measurands:
            for code in measurand.due:
                if code not in known:
                    yield f"'{measurand.code}' is due at '{code}', which is no visit"
                elif not any(known[code].window(material) for material in measurand.materials):
                    materials = ", ".join(measurand.materials)
                    yield f"'{measurand.code}' is due at '{code}', which has no window for {materials}"

    def _overlapping_windows(self) -> Iterator[str]:
        for one, other in combinations(self.visits, 2):
            if one.anchor is not other.anchor:
                continue  # an event may fall into a planned window; the label decides then
            for material in Material:
                a, b = one.window(material), other.window(material)
                if a is None or b is None:
                    continue
                a_first = float("-inf") if a.first_day is None else a.first_day
                b_first = float("-inf") if b.first_day is None else b.first_day
                if a_first <= b.last_day and b_first <= a.last_day:
                    yield f"the windows of '{one.code}' and '{other.code}' overlap for {material}"

    def _baselines(self) -> Iterator[str]:
        count = sum(visit.is_baseline for visit in self.visits)
        if count != 1:
            yield f"{count} visits are declared is_baseline; exactly one must be"
        elif self.baseline.code != BASELINE_VISIT:
            yield f"the baseline visit is coded '{self.baseline.code}'; the tables know it as {BASELINE_VISIT}"

    @cached_property
    def measurands(self) -> tuple[Measurand, ...]:
        """Everything the study reports, in the order of its declaration."""
        soluble = [
            Measurand(
                code=analyte.code,
                assay=Assay.ELISA,
                unit=analyte.unit,
                scale=analyte.scale,
                materials=analyte.materials,
                due=analyte.due,
                source=analyte.source,
            )
            for analyte in self.analytes
        ]
        ratios = [
            Measurand(
                code=ratio.code,
                assay=Assay.ELISA,
                unit=ratio.unit,
                scale=ratio.scale,
                materials=ratio.materials,
                due=self._due_with(ratio),
                source=ratio.source,
            )
            for ratio in self.ratios
        ]
        cellular = [
            Measurand(
                code=measurand.code,
                assay=Assay.CYTOMETRY,
                unit="%" if measurand.kind == "frequency" else "ratio",
                scale=measurand.scale,
                materials=panel.materials,
                due=panel.due,
                source=panel.source,
            )
            for panel in self.panels
            for measurand in panel.measurands
        ]
        counted = [
            Measurand(
                code=measurand.code,
                assay=Assay.CYTOMETRY,
                unit=CELLS_PER_UL,
                scale=measurand.scale,
                materials=panel.materials,
                due=panel.due,
                source=panel.source,
            )
            for panel in self.panels
            for measurand in panel.counts
        ]
        tissue = [
            Measurand(
                code=f"{stain.code}_{score}",
                assay=Assay.IHC,
                unit=IHC_UNITS[score],
                scale=IHC_SCALES[score],
                materials=stain.materials,
                due=stain.due,
                source=stain.source,
            )
            for stain in self.stains
            for score in stain.scores
        ]
        return (*soluble, *ratios, *cellular, *counted, *tissue)

    def _due_with(self, ratio: RatioReference) -> tuple[str, ...]:
        """Name the visits at which both parts of a ratio are due."""
        parts = [analyte.due for code in (ratio.numerator, ratio.denominator) if (analyte := self.analyte(code)) is not None]
        return tuple(visit for visit in parts[0] if all(visit in due for due in parts)) if parts else ()

    @property
    def releasing_takes_two(self) -> bool:
        """Whether results reviewed by one person alone are released by another only."""
        return self.signatures is not None and self.signatures.two_persons

    @property
    def baseline(self) -> Visit:
        """The visit every change is counted from."""
        return next(visit for visit in self.visits if visit.is_baseline)

    def visit(self, code: str) -> Visit | None:
        """Return the planned visit of that code, or None."""
        return next((visit for visit in self.visits if visit.code == code), None)

    def measurand(self, code: str) -> Measurand | None:
        """Return the measurand of that code, or None."""
        return next((measurand for measurand in self.measurands if measurand.code == code), None)

    def analyte(self, code: str) -> Analyte | None:
        """Return the analyte of that code, or None."""
        return next((analyte for analyte in self.analytes if analyte.code == code), None)

    def stain(self, code: str) -> StainReference | None:
        """Return the stain of that code, whatever its case, or None."""
        return next((stain for stain in self.stains if stain.code.casefold() == code.casefold()), None)

    def digest(self) -> str:
        """SHA-256 of the definition's content, the same for equal content however the file was laid out."""
        return content_digest(self.model_dump(mode="json"))

    def assumptions(self) -> tuple[str, ...]:
        """Name every declaration the laboratory assumes because the protocol does not state it, by its path."""
        return tuple(_assumptions(self, ""))


def _assumptions(declared: BaseModel, path: str) -> Iterator[str]:
    if getattr(declared, "source", None) == "assumption":
        yield path
    for name in type(declared).model_fields:
        value = getattr(declared, name)
        place = f"{path}.{name}" if path else name
        if isinstance(value, BaseModel):
            yield from _assumptions(value, place)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    label = getattr(item, "code", None) or getattr(item, "name", None) or str(index + 1)
                    yield from _assumptions(item, f"{place}[{label}]")
