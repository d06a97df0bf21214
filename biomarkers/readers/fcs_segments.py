"""The layout of an FCS 2.0-3.2 file: HEADER, TEXT, and where DATA truly lies.

Knows the standard's bytes and keywords. Must not know what events mean. Segments are located here rather than by FlowIO,
because a dropped file may lie about its offsets and FlowIO follows them wherever they point; tests hold this against FlowIO.

References
----------
Spidlen J et al. Data File Standard for Flow Cytometry, version FCS 3.2. Cytometry A 2021;99:100-102.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from biomarkers.errors import SourceFileError

HEADER_BYTES = 58
LARGEST_TEXT_BYTES = 16_000_000
"""The keywords of a real file take kilobytes, spectral ones a megabyte."""

MOST_CHANNELS = 4096
"""Beyond any instrument; keeps a lying $PAR from costing time."""

MOST_KEYWORDS = 100_000
"""Twenty for each of :data:`MOST_CHANNELS` and room beside; keeps a TEXT of nothing but separators from costing time."""

MOST_DATA_SETS = 64
"""Tubes one file may chain; keeps a file that points at itself a thousand times from costing time."""

KNOWN_VERSIONS = ("FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """First and last byte of a stretch of the file, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes in it."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What HEADER and TEXT say.

    Attributes
    ----------
    base
        Where the data set begins; every place is counted from there, as the standard says.
    file_bytes
        Bytes from there to the end of the file.
    text_bytes
        Bytes of TEXT read, with its supplement.
    keywords
        Upper-case names to values as written, white space at both ends removed.
    data_by_place
        Where DATA is said to lie, by who says it: ``"TEXT"``, ``"HEADER"``; only those that say something.
    """

    version: str
    base: int
    file_bytes: int
    text_bytes: int
    keywords: Mapping[str, str]
    data_by_place: Mapping[str, Segment]


def read_layout(file: BinaryIO, name: str, base: int = 0) -> Layout:
    """Read HEADER and TEXT of the data set that begins at byte ``base``.

    Raises
    ------
    SourceFileError
        The file is no FCS file, is cut off, or its TEXT cannot be read.
    """
    where = f"File '{name}'." if base == 0 else f"File '{name}', data set at byte {base}."
    file_bytes = file.seek(0, 2) - base
    file.seek(base)
    header = file.read(HEADER_BYTES)
    version = header[:6].decode("latin-1")
    if version not in KNOWN_VERSIONS:
        raise SourceFileError(
            what="The file is empty." if not header else "This is no FCS file: it does not begin with an FCS version.",
            where=where,
            remedy="Drop the FCS file as the cytometer exported it.",
        )
    if len(header) < HEADER_BYTES:
        raise SourceFileError(
            what=f"The file ends after {len(header)} bytes, inside its HEADER.", where=where, remedy="Copy the file again."
        )
    text = _segment(header[10:18].decode("latin-1"), header[18:26].decode("latin-1"))
    if text is None or text.size < 2 or text.size > LARGEST_TEXT_BYTES or text.first < HEADER_BYTES:
        raise SourceFileError(
            what="The HEADER does not say where TEXT lies, or says something impossible.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    if text.last >= file_bytes:
        raise SourceFileError(
            what=f"TEXT is said to end at byte {text.last}, but the file has {file_bytes} bytes.",
            where=where,
            remedy="The file was cut off: copy it again.",
        )
    keywords = _read_keywords(file, base, text, where)
    text_bytes = text.size
    supplement = _segment(keywords.get("$BEGINSTEXT", "0"), keywords.get("$ENDSTEXT", "0"))
    if supplement is not None and supplement != text and 2 <= supplement.size <= LARGEST_TEXT_BYTES:
        if supplement.last >= file_bytes:
            raise SourceFileError(
                what=f"Supplemental TEXT is said to end at byte {supplement.last}, but the file has {file_bytes} bytes.",
                where=where,
                remedy="The file was cut off: copy it again.",
            )
        keywords = _read_keywords(file, base, supplement, where) | keywords
        text_bytes += supplement.size
    said = {
        "TEXT": _segment(keywords.get("$BEGINDATA", ""), keywords.get("$ENDDATA", "")),
        "HEADER": _segment(header[26:34].decode("latin-1"), header[34:42].decode("latin-1")),
    }
    return Layout(
        version=version,
        base=base,
        file_bytes=file_bytes,
        text_bytes=text_bytes,
        keywords=keywords,
        data_by_place={place: segment for place, segment in said.items() if segment is not None},
    )


def read_layouts(file: BinaryIO, name: str) -> tuple[tuple[Layout, ...], str]:
    """Read HEADER and TEXT of every data set, following $NEXTDATA.

    Returns
    -------
    tuple of Layout
        At least one.
    str
        Why the chain breaks off before its end; empty where it does not.

    Raises
    ------
    SourceFileError
        The first data set cannot be read, or the file chains more than :data:`MOST_DATA_SETS`.
    """
    layouts = [read_layout(file, name)]
    while True:
        following = layouts[-1].keywords.get("$NEXTDATA", "0")
        if not following.isascii() or not following.isdigit() or not following.strip("0"):
            return tuple(layouts), ""
        if len(layouts) == MOST_DATA_SETS or sum(layout.text_bytes for layout in layouts) > LARGEST_TEXT_BYTES:
            raise SourceFileError(
                what=f"The file chains more than {MOST_DATA_SETS} data sets, or more keywords than any instrument writes.",
                where=f"File '{name}', keyword $NEXTDATA.",
                remedy="Export each data set to a file of its own.",
            )
        step = int(following[:20])
        if step < HEADER_BYTES or step >= layouts[-1].file_bytes:
            return tuple(layouts), f"$NEXTDATA says that another data set begins after {following[:20]} bytes, which none does"
        try:
            layouts.append(read_layout(file, name, layouts[-1].base + step))
        except SourceFileError as error:
            return tuple(layouts), f"the data set {following[:20]} bytes further on cannot be read: {error.what.rstrip('.')}"


def locate_data(layout: Layout, event_bytes: int, event_count: int | None, name: str) -> tuple[Segment, str]:
    """Decide where DATA lies, trusting arithmetic more than either of the two places that state it.

    Parameters
    ----------
    event_bytes
        Bytes of one event.
    event_count
        $TOT; None where the file does not state it, as FCS 2.0 allows.

    Returns
    -------
    Segment
        Exactly the bytes of the events.
    str
        What had to be decided; empty where both places agree with the number of events.

    Raises
    ------
    SourceFileError
        No place, or more than one, fits the number of events and the file's size.
    """
    where = f"File '{name}'."
    fitting: dict[str, Segment] = {}
    for place, segment in layout.data_by_place.items():
        exact = _fit(segment, event_bytes, event_count, layout.file_bytes)
        if exact is not None:
            fitting[place] = exact
    said = "; ".join(f"{place} says bytes {s.first} to {s.last}" for place, s in layout.data_by_place.items())
    wanted = "whole events" if event_count is None else f"{event_count} events of {event_bytes} bytes"
    if not fitting:
        raise SourceFileError(
            what=f"No stated place of DATA holds {wanted}: {said or 'none is stated'}; the file has {layout.file_bytes} bytes.",
            where=where,
            remedy="The file was cut off or edited: copy it again, or export it again from the acquisition software.",
        )
    if len({segment.first for segment in fitting.values()}) > 1:
        raise SourceFileError(
            what=f"HEADER and TEXT contradict each other about DATA and both could be right: {said}.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    place, segment = next(iter(fitting.items()))
    decided = []
    ignored = [other for other in layout.data_by_place if other not in fitting]
    if ignored:
        decided.append(f"{said}; only {place} fits {wanted} and was used.")
    if layout.data_by_place[place].size == segment.size + 1:
        decided.append(f"DATA is stated one byte too long ({said}); the last byte was left out.")
    return segment, " ".join(decided)


def _fit(stated: Segment, event_bytes: int, event_count: int | None, file_bytes: int) -> Segment | None:
    """Return the stretch of whole events when the statement fits, allowing the common mistake of one byte too many."""
    if stated.first < HEADER_BYTES:
        return None
    size = event_count * event_bytes if event_count is not None else stated.size - stated.size % event_bytes
    if stated.size - size not in (0, 1):
        return None
    exact = Segment(first=stated.first, last=stated.first + size - 1)
    return exact if exact.last < file_bytes else None


def _segment(first: str, last: str) -> Segment | None:
    numbers = [text.strip() for text in (first, last)]
    if not all(number.isascii() and number.isdigit() and len(number) <= 20 for number in numbers):
        return None
    begin, end = (int(number) for number in numbers)
    return Segment(first=begin, last=end) if end >= begin > 0 else None


def _read_keywords(file: BinaryIO, base: int, segment: Segment, where: str) -> dict[str, str]:
    file.seek(base + segment.first)
    raw = file.read(segment.size)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what instruments of the FCS 2.0 days wrote
    delimiter, body = text[0], text[1:].rstrip("\0 \r\n")
    if delimiter.isalnum() or delimiter == "$":
        raise SourceFileError(
            what=f"TEXT begins with {delimiter!r}, which cannot separate keywords.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    if body.count(delimiter) > 2 * MOST_KEYWORDS:
        raise SourceFileError(
            what=f"TEXT holds more than {MOST_KEYWORDS} keywords, which no instrument writes.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    keywords = _split(body, delimiter, doubled_is_escaped=True)
    if not _is_complete(keywords):
        # The standard forbids empty values, so that a doubled delimiter is an escaped one; instruments write them all the same.
        loose = _split(body, delimiter, doubled_is_escaped=False)
        if _is_complete(loose):
            return loose
    return keywords


def _split(body: str, delimiter: str, *, doubled_is_escaped: bool) -> dict[str, str]:
    body = body.removesuffix(delimiter)
    if doubled_is_escaped:
        stand_in = "\ufffe"  # a code point that is no character
        pieces = [piece.replace(stand_in, delimiter) for piece in body.replace(delimiter * 2, stand_in).split(delimiter)]
    else:
        pieces = body.split(delimiter)
    return {key.strip().upper(): value.strip() for key, value in zip(pieces[::2], pieces[1::2], strict=False)}


def _is_complete(keywords: Mapping[str, str]) -> bool:
    count = keywords.get("$PAR", "")
    if "$DATATYPE" not in keywords or not (count.isascii() and count.isdigit()) or len(count) > 5 or int(count) > MOST_CHANNELS:
        return False
    return all(f"$P{number}N" in keywords and f"$P{number}B" in keywords for number in range(1, int(count) + 1))
