"""What part a slide plays and whose section it shows, by its file's name and its sidecar.

Knows the study's patterns. Must not know which accessions exist, nor how a slide is scored. Nothing is guessed: a name that
fits no pattern needs a sidecar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from biomarkers.errors import IdentifierError
from biomarkers.study.definition import IdentifierPatterns
from biomarkers.study.identifiers import slide_from_name
from biomarkers.study.tissue import HE_STAIN, SlidePattern, SlideRole

_Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
_Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=60, pattern=r"^[A-Za-z0-9-]*$")]


class SlideSidecar(BaseModel):
    """What a file NAME.toml beside a slide may say of it, and who answers for a corrected annotation or a further scan.

    Attributes
    ----------
    section
        Tells several sections of one specimen and stain apart; a further scan of one section has its name.
    batch
        Slides that were stained together.
    scanner
        Which scanner made the picture, where the file does not say.
    by, reason
        Who answers, and why.
    replaces
        A further scan of a section counts in place of the first; otherwise it is kept beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accession_id: str | None = None
    stain: str | None = None
    pixel_size_um: float | None = Field(default=None, gt=0)
    role: SlideRole | None = None
    section: _Label = ""
    batch: _Label = ""
    scanner: _Words = ""
    by: _Words = ""
    reason: _Words = ""
    replaces: bool = False

    @model_validator(mode="after")
    def _signed_whole(self) -> Self:
        if bool(self.by) != bool(self.reason):
            raise ValueError("a signature needs both by and reason")
        if self.replaces and not self.by:
            raise ValueError("replaces is a person's word; it needs by and reason")
        return self

    @property
    def is_signed(self) -> bool:
        """Whether somebody answers for what lies beside the sidecar."""
        return bool(self.by)

    @property
    def describes(self) -> bool:
        """Whether it says anything of the slide itself, and is more than a signature."""
        return not self.is_signed or any(
            (self.accession_id, self.stain, self.pixel_size_um, self.role, self.section, self.batch, self.scanner)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideIdentity:
    """Who a slide is.

    Attributes
    ----------
    accession_id
        Of a specimen; may be empty for controls.
    stain
        As written; ``HE`` for a section stained with haematoxylin and eosin.
    section
        Which of several sections of the specimen; empty where there is but one.
    batch
        Slides stained together; empty where nobody said.
    """

    role: SlideRole
    accession_id: str
    stain: str
    section: str = ""
    batch: str = ""


def slide_of(name: str, patterns: IdentifierPatterns, sidecar: SlideSidecar | None = None) -> SlideIdentity:
    """Tell a slide's part, specimen and stain; where name and sidecar both speak of specimen or stain they must agree.

    A pattern of ``identifiers.slide_roles`` goes before the specimens' own pattern.

    Raises
    ------
    IdentifierError
        Name and sidecar do not say it, or contradict each other; or patterns of different roles fit the name.
    """
    said = sidecar or SlideSidecar()
    by_role = [one for pattern in patterns.slide_roles if (one := _by_pattern(name, patterns, pattern)) is not None]
    if len({one.role for one in by_role}) > 1:
        raise IdentifierError(
            what=f"The file's name fits the patterns of {' and '.join(sorted({one.role for one in by_role}))}.",
            where=f"File '{name}'.",
            remedy="Make the patterns in study.toml, identifiers.slide_roles, exclude each other, or rename the file.",
        )
    named = by_role[0] if by_role else None
    role = said.role or (SlideRole.SPECIMEN if named is None else named.role)
    whole = bool(said.accession_id and said.stain)
    if named is None and not whole and role is SlideRole.SPECIMEN:
        found = slide_from_name(patterns, name)
        named = SlideIdentity(
            role=role, accession_id=found.accession_id, stain=found.stain, section=found.section, batch=found.batch
        )
    claims = (
        (said.role, named and named.role),
        (said.accession_id, named and named.accession_id),
        (said.stain, named and named.stain),
        (said.section, named and named.section),
        (said.batch, named and named.batch),
    )
    for claimed, by_name in claims:
        if claimed and by_name and claimed.casefold() != by_name.casefold():
            raise IdentifierError(
                what=f"The sidecar says '{claimed}', the file's name says '{by_name}'.",
                where=f"File '{name}'.",
                remedy="Find out which is right and correct the other.",
            )
    stain = said.stain or (named.stain if named else HE_STAIN if role is SlideRole.HE else "")
    if not stain:
        raise IdentifierError(
            what=f"Neither the file's name nor its sidecar says with what the {role} slide is stained.",
            where=f"File '{name}'.",
            remedy='Write stain = "..." into the sidecar.',
        )
    return SlideIdentity(
        role=role,
        accession_id=said.accession_id or (named.accession_id if named else ""),
        stain=stain,
        section=said.section or (named.section if named else ""),
        batch=said.batch or (named.batch if named else ""),
    )


def _by_pattern(name: str, patterns: IdentifierPatterns, pattern: SlidePattern) -> SlideIdentity | None:
    places = {
        "{accession_id}": f"(?P<accession_id>{patterns.accession_id})",
        "{stain}": r"(?P<stain>[A-Za-z0-9-]+)",
        "{section}": r"(?P<section>[A-Za-z0-9-]+)",
        "{batch}": r"(?P<batch>[A-Za-z0-9-]+)",
    }
    parts = re.split(r"(\{[a-z_]+\})", pattern.pattern)
    expression = "".join(places.get(part, re.escape(part)) for part in parts) + r"(?:\.[A-Za-z0-9]+)+"
    found = re.fullmatch(expression, name, flags=re.IGNORECASE)
    if found is None:
        return None
    held = found.groupdict()
    return SlideIdentity(
        role=pattern.role,
        accession_id=held.get("accession_id") or "",
        stain=held.get("stain") or HE_STAIN,
        section=held.get("section") or "",
        batch=held.get("batch") or "",
    )
