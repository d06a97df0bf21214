"""Whether a text holds what tells who a subject is: a name, a date of birth, a hospital's number.

Knows how such data look, and the laboratory's policy. Must not know files. What was found is never repeated: a finding says of
what kind it is and where it stands. Words without a form of their own cannot be told from others: a surname alone, or a place,
is not found, and names of staff (operators, analysts) are not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator

from biomarkers.study.definition import IdentifierPatterns
from biomarkers.study.given_names import GIVEN_NAMES, NO_SURNAMES


class Handling(StrEnum):
    """What becomes of a file in which something was found."""

    REFUSE = "refuse"
    FLAG = "flag"
    ACCEPT = "accept"


_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class IdentifyingPolicy(BaseModel):
    """What the laboratory does with files that seem to tell who a subject is.

    Attributes
    ----------
    certain
        For what has the form of a name, a date of birth or a hospital's number, or stands under such a heading.
    possible
        For what may be such data or not: another patient id than the study's, or a picture of a slide's label.
    numbers
        Regular expressions of numbers by which hospitals here know people.
    allowed
        Regular expressions of texts that look identifying and are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certain: Handling = Handling.REFUSE
    possible: Handling = Handling.FLAG
    numbers: tuple[_Pattern, ...] = ()
    allowed: tuple[_Pattern, ...] = ()

    @field_validator("numbers", "allowed")
    @classmethod
    def _compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                empty = re.compile(pattern).match("")
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
            if empty:
                raise ValueError(f"'{pattern}' fits every text")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeText:
    """A text somebody may have written by hand.

    Attributes
    ----------
    where
        The place in the words of its reader, without the text: keyword, cell, document property.
    text
        At most what stands at that place.
    name
        What the place is called, such as ``"PATIENT NAME"``; empty for a file name or a note.
    is_label_picture
        It is no text but a picture of a slide's label.
    """

    where: str
    text: str
    name: str = ""
    is_label_picture: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifying:
    """Something found: what kind of data, where, and whether its form leaves no doubt."""

    kind: str
    where: str
    is_certain: bool


REMEDY = (
    "Take it out, or export or rename the file without it, and drop the file again; what identifies nobody is let through by "
    "an entry 'allowed' under [identifying] in lab.toml."
)
"""What a technician can do about any of it."""

NAME, BIRTH, NUMBER = "a person's name", "a date of birth", "a hospital's or insurance number"
OTHER_ID, LABEL = "another id of a person than the study's", "a name or number in the picture of its label"

_KIND_BY_HEADING = {
    **dict.fromkeys(
        ("patientname", "patientsname", "nameofpatient", "subjectname", "donorname", "surname", "lastname", "familyname",
         "firstname", "forename", "givenname", "maidenname", "patientlastname", "patientfirstname", "patientsurname",
         "patientenname", "nachname", "vorname"),
        NAME,
    ),
    **dict.fromkeys(
        ("dob", "dateofbirth", "birthdate", "birthday", "patientdob", "patientbirthdate", "patientsbirthdate",
         "patientdateofbirth", "born", "geburtsdatum"),
        BIRTH,
    ),
    **dict.fromkeys(
        ("mrn", "medicalrecordnumber", "medicalrecordno", "hospitalnumber", "hospitalno", "hospitalid", "nhsnumber", "nhsno",
         "ssn", "socialsecuritynumber", "insurancenumber", "patientaddress", "patientphone", "patientmrn"),
        NUMBER,
    ),
    **dict.fromkeys(("patient", "patientid", "patientno", "patientnumber"), OTHER_ID),
}  # fmt: skip

_NOTHING = re.compile(
    r"(default\b.*|anonym\w*|unknown|none|null|n/?a|not (applicable|given|known)|pseudonym\w*|test|x+|[-_.?*0\s]*)",
    re.IGNORECASE,
)

_DAY = r"(?:\d{1,2}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ](?:19|20)?\d\d|(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2})"
_LABELLED = (
    (
        NAME,
        re.compile(
            r"\b(?:patient(?:'?s)?(?:[ _-]*name)?|subject[ _-]*name|surname|last[ _-]?name|first[ _-]?name)\s*[:=]"
            r"\s*(?P<value>[^\s:=|;,][^|;\n]*)",
            re.IGNORECASE,
        ),
    ),
    (
        BIRTH,
        re.compile(
            rf"\b(?:d\.?o\.?b\.?|(?:date[ _]of[ _])?birth(?:[ _]?date)?|born|geb\.)\W{{0,4}}(?:on )?(?P<value>{_DAY})",
            re.IGNORECASE,
        ),
    ),
    (
        NUMBER,
        re.compile(
            r"\b(?:MRN|NHS|SSN|hospital (?:no|number|id)|medical record (?:no|number))\W{0,4}(?:no\W{0,2}|number\W{0,2})?"
            r"(?P<value>[A-Z]{0,3}\d[\d -]{4,})",
            re.IGNORECASE,
        ),
    ),
)
_PERSON = re.compile(r"(?<![\w^])[^\W\d_]{2,}\^[^\W\d_]{2,}(?![\w])|\b(?:Mr|Mrs|Herr|Frau)\b\.?\s+[A-Z][a-z]{2,}")
_SOCIAL_SECURITY = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_HEALTH_SERVICE = re.compile(r"(?<![\d.-])(\d{3})[ -](\d{3})[ -](\d{4})(?![\d.-])")
_MONTH, _DAY_OF_MONTH = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_BIRTHDAY_IN_NAME = re.compile(
    rf"(?<!\d)(?:19\d\d([-_. ]){_MONTH}\1{_DAY_OF_MONTH}|{_DAY_OF_MONTH}([-_. ]){_MONTH}\2(?:19\d\d)"
    rf"|19\d\d{_MONTH}{_DAY_OF_MONTH})(?!\d)"
)
"""No instrument of a trial of today measured in the last century; subjects were born in it."""

_WORDS = re.compile(r"[^\W\d_]{2,}")
_STAFF = re.compile(
    r"\b(users?|operator|author|creator|analyst|experimenter|investigator|supervisor|reader|owner|modified|read by|"
    r"export|signed|manager|technician|\$?op)\b",
    re.IGNORECASE,
)


def identifying(texts: Iterable[FreeText], policy: IdentifyingPolicy, ids: IdentifierPatterns) -> Iterator[Identifying]:
    """Find what tells who a subject is; each place and kind once.

    Parameters
    ----------
    ids
        What accession and subject ids look like: they identify nobody outside the laboratory and are passed over.
    """
    passed_over = [re.compile(pattern) for pattern in (ids.accession_id, ids.subject_id, *policy.allowed)]
    numbers = [re.compile(pattern) for pattern in policy.numbers]
    told: set[tuple[str, str]] = set()
    for one in texts:
        for found in _found(one, passed_over, numbers):
            if (found.kind, found.where) not in told:
                told.add((found.kind, found.where))
                yield found


def _found(one: FreeText, passed_over: Sequence[re.Pattern[str]], numbers: Sequence[re.Pattern[str]]) -> Iterator[Identifying]:
    if one.is_label_picture:
        yield Identifying(kind=LABEL, where=one.where, is_certain=False)
        return
    text = one.text
    for pattern in passed_over:
        text = pattern.sub(" ", text)
    if _NOTHING.fullmatch(text.strip()):
        return
    heading = _KIND_BY_HEADING.get(_plain(one.name))
    if heading is not None and re.search(r"\w", text):
        yield Identifying(kind=heading, where=one.where, is_certain=heading is not OTHER_ID)
    for kind in _kinds_by_form(text, numbers):
        yield Identifying(kind=kind, where=one.where, is_certain=True)
    if one.name == FILE_NAME and _BIRTHDAY_IN_NAME.search(text):
        yield Identifying(kind=BIRTH, where=one.where, is_certain=True)
    if not _STAFF.search(f"{one.name} {text}".replace("_", " ")) and _names_a_person(text):
        yield Identifying(kind=NAME, where=one.where, is_certain=True)


FILE_NAME = "file name"
"""The ``name`` of a text that is a file's name."""


def is_heading(text: str) -> bool:
    """Whether a text is the heading of identifying data, such as ``"Date of birth:"``."""
    return len(text) <= 60 and _plain(text) in _KIND_BY_HEADING


def _kinds_by_form(text: str, numbers: Sequence[re.Pattern[str]]) -> Iterator[str]:
    for kind, pattern in _LABELLED:
        for found in pattern.finditer(text):
            if not _NOTHING.fullmatch(found["value"].strip()):
                yield kind
                break
    if _PERSON.search(text):
        yield NAME
    if _SOCIAL_SECURITY.search(text) or any(_is_health_service(found) for found in _HEALTH_SERVICE.finditer(text)):
        yield NUMBER
    if any(pattern.search(text) for pattern in numbers):
        yield NUMBER


def _is_health_service(found: re.Match[str]) -> bool:
    """Check the eleventh-part digit of an NHS number; one number in eleven of its form passes by chance."""
    digits = [int(digit) for digit in "".join(found.groups())]
    check = 11 - sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return check % 11 == digits[-1]


def _names_a_person(text: str) -> bool:
    """Whether a frequent given name stands beside another capitalised word that is none of a laboratory's."""
    words = _WORDS.findall(text.replace("_", " "))[:2000]
    for first, second in pairwise(words):
        for given, other in ((first, second), (second, first)):
            if given.casefold() in GIVEN_NAMES and _is_like_a_surname(given, other):
                return True
    return False


def _is_like_a_surname(given: str, other: str) -> bool:
    if len(other) < 3 or other.casefold() in NO_SURNAMES:  # the shortest surnames are too like codes
        return False
    if given.istitle():
        return other.istitle() or (other.isupper() and len(other) > 4)
    return given.isupper() and other.isupper()


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold().split("\n", 1)[0]).lstrip("0123456789")
