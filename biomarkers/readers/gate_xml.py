"""XML of foreign software, read without trusting it.

Knows what makes an XML file dangerous and how attributes of Gating-ML are found. Must not know gates. Refused before anything
is expanded: document types (and with them entities), encodings in which they could hide, files too large or too deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree as ET

from biomarkers.errors import SourceFileError

GATING = "http://www.isac-net.org/std/Gating-ML/v2.0/gating"
TRANSFORMS = "http://www.isac-net.org/std/Gating-ML/v2.0/transformations"
DATA_TYPE = "http://www.isac-net.org/std/Gating-ML/v2.0/datatypes"

MOST_BYTES = 40_000_000
"""A FlowJo workspace of a hundred samples of sixty channels has about this size."""

MOST_ELEMENTS = 1_500_000
"""With :data:`MOST_BYTES` it bounds memory: an element takes some 400 bytes."""

DEEPEST = 200
"""Nested elements; a FlowJo population takes two levels, and nobody nests eighty."""

LONGEST_NAME = 300
"""Characters of a name."""

LARGEST_NUMBER = 1e30
"""No instrument measures beyond 1e10; up to here squares and single precision hold, so that arithmetic cannot fail."""

ENCODINGS = {"utf-8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}
"""In these a '<' is the byte '<', so that nothing hides from the search for document types."""

NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_DECLARATION = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


class _Guard(ET.TreeBuilder):
    """Builds the tree and stops where it becomes too large or declares a document type."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self._count += 1
        self._depth += 1
        if self._count > MOST_ELEMENTS or self._depth > DEEPEST:
            raise ValueError("it has more or deeper elements than any file of gates")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_: object) -> NoReturn:
        raise ValueError("it declares a document type")


def read_xml(path: Path) -> ET.Element:
    """Parse a file and return its root.

    Raises
    ------
    SourceFileError
        It cannot be read, is no XML, or might be meant to harm.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be read: {error.strerror or error}.",
            where=f"File '{path.name}'.",
            remedy="Check that it exists and that this account may read it.",
        ) from error
    try:
        return parse_xml(content)
    except ValueError as error:
        raise SourceFileError(
            what=f"The file is refused: {error}.",
            where=f"File '{path.name}'.",
            remedy="Drop the workspace or Gating-ML file as FlowJo or other cytometry software saved it.",
        ) from error


def parse_xml(content: bytes) -> ET.Element:
    """Parse a document.

    Raises
    ------
    ValueError
        Saying why it is refused.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES // 1_000_000} MB")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in content[:4]:
        raise ValueError("its encoding is not UTF-8")
    declared = _DECLARATION.search(content[:400])
    if declared and declared[1].decode("ascii").casefold() not in ENCODINGS:
        raise ValueError(f"its encoding '{declared[1].decode('ascii')}' is not UTF-8")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares a document type")
    parser = ET.XMLParser(target=_Guard())  # noqa: S314  - what makes XML dangerous was refused above
    try:
        parser.feed(content)
        root: ET.Element = parser.close()
    except (ET.ParseError, LookupError) as error:
        raise ValueError(f"it is not well-formed XML ({error})") from error
    return root


def local_name(element: ET.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def attribute(element: ET.Element, namespace: str, name: str) -> str | None:
    """Return an attribute written with its namespace, or without any as some software does."""
    value = element.get(f"{{{namespace}}}{name}")
    return element.get(name) if value is None else value


def text_of(element: ET.Element, namespace: str, name: str) -> str:
    """Return an attribute that must be there.

    Raises
    ------
    ValueError
        It is absent, empty or longer than any name.
    """
    value = attribute(element, namespace, name)
    if not value or len(value) > LONGEST_NAME:
        raise ValueError(f"a '{local_name(element)}' has no usable '{name}'")
    return value


def number_of(element: ET.Element, namespace: str, name: str) -> float:
    """Return an attribute that must be a finite number.

    Raises
    ------
    ValueError
        It is absent or something else.
    """
    return to_number(attribute(element, namespace, name), f"'{name}' of a '{local_name(element)}'")


def number_or_none(element: ET.Element, namespace: str, name: str) -> float | None:
    """Return an attribute that may be absent and must otherwise be a finite number."""
    value = attribute(element, namespace, name)
    return None if value is None else to_number(value, f"'{name}' of a '{local_name(element)}'")


def to_number(text: str | None, what: str) -> float:
    """Read a finite number as XML writes it.

    Raises
    ------
    ValueError
        It is none.
    """
    if text is None or len(text) > 60 or not NUMBER.fullmatch(text):
        raise ValueError(f"{what} is no number" if text is None else f"{what} says '{text[:20]}', no number")
    value = float(text)
    if abs(value) > LARGEST_NUMBER:
        raise ValueError(f"{what} says '{text[:20]}', which is too large")
    return value


def children(element: ET.Element, namespace: str, name: str) -> Iterator[ET.Element]:
    """Go through an element's children of one name."""
    yield from element.findall(f"{{{namespace}}}{name}")


def child(element: ET.Element, namespace: str, name: str) -> ET.Element:
    """Return the first child of a name.

    Raises
    ------
    ValueError
        There is none.
    """
    found = element.find(f"{{{namespace}}}{name}")
    if found is None:
        raise ValueError(f"a '{local_name(element)}' has no '{name}'")
    return found
