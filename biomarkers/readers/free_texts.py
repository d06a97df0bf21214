"""What people wrote into an instrument's file, beside its measurements.

Knows where each format keeps keywords, notes and properties, and reads those alone. Must not judge them. A file that cannot be
read here yields nothing: the reader of its kind refuses it in its own words.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from biomarkers.errors import BiomarkersError, SourceFileError, TemporarilyUnavailableError, is_of_the_machine
from biomarkers.study.identifying import FILE_NAME, FreeText, is_heading

MOST_CHARACTERS = 4_000_000
"""Read of one text; notes stand at its beginning, and what follows are measurements."""

LONGEST_VALUE = 20_000
MOST_PAGES = 64
LARGEST_PROPERTIES_BYTES = 1_000_000

_PAIR = re.compile(r"([^=:;|\n\r<>\"]{1,60})[=:] ?([^;|\n\r<>\"]{1,400})")
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w.:-]{1,60})\s*=\s*["']([^"'<>]{1,400})["']""")
_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]{1,60})(?:\s[^<>]{0,400})?>([^<>]{1,2000})<")
_KEYWORD = re.compile(r"""\bname\s*=\s*["']([^"'<>]{1,80})["']\s+value\s*=\s*["']([^"'<>]{1,400})["']""", re.IGNORECASE)
_PROPERTY = re.compile(r'name="([^"]{1,80})"[^>]{0,400}>\s{0,40}<[^<>]{1,40}>([^<>]{1,400})<')
_ASCII = 2
"""The type of a TIFF's tag that holds text."""

_LABEL_LINE = re.compile(r"^\s{0,4}(label|macro)\b", re.IGNORECASE | re.MULTILINE)
_WRITTEN = re.compile(r"[^\W\d_]|\d[ -]\d")
"""Neither an empty cell nor a plain number."""
_MEMBER = re.compile(r'"([^"\\]{1,60})"\s*:\s*"([^"\\]{1,2000})"')


def file_name_text(name: str) -> FreeText:
    """Return a file's name as a text somebody wrote; its ending is no part of it."""
    return FreeText(where="In the file's name.", text=name, name=FILE_NAME)


def free_texts(path: Path) -> Iterator[FreeText]:
    """Read what people may have written into a file, in the order of the file.

    FCS keywords, the cells of text files and workbooks with the workbooks' properties, tags and XML of slides, notes of PNG and
    JPEG pictures, names in gate files and annotations. No pixels and no events are read.

    Raises
    ------
    TemporarilyUnavailableError
        The file cannot be read at the moment, or is gone.
    SourceFileError
        The file may not be read.
    MemoryError
        Its texts do not fit into memory; nobody knows then what they hold.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        with warnings.catch_warnings(action="ignore"):
            yield from _reader(start)(path)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  - what else is wrong is for its reader to say; libraries raise what they like on damage
        return


def _unreadable(path: Path, error: OSError) -> BiomarkersError:
    where = f"File '{path.name}'."
    if isinstance(error, FileNotFoundError) or is_of_the_machine(error):
        return TemporarilyUnavailableError(
            what=f"The file cannot be looked at for the moment: {error.strerror}.",
            where=where,
            remedy="Nothing to do; it is tried again.",
        )
    return SourceFileError(what=f"The file cannot be read: {error.strerror}.", where=where, remedy="Check its rights.")


def _reader(start: bytes) -> Callable[[Path], Iterator[FreeText]]:
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<", b"{", b"[{", b"[\n")):
        return _marked_up
    return next((reader for beginning, reader in _READERS.items() if start.startswith(beginning)), _cells)


def _fcs(path: Path) -> Iterator[FreeText]:
    from biomarkers.readers.fcs_segments import read_layouts  # noqa: PLC0415  - brings the numeric libraries

    with path.open("rb") as file:
        layouts, _ = read_layouts(file, path.name)
    for layout in layouts:
        for keyword, value in layout.keywords.items():
            yield FreeText(where=f"In the keyword '{keyword[:40]}'.", text=value[:LONGEST_VALUE], name=keyword)


def _workbook(path: Path) -> Iterator[FreeText]:
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.filename.startswith("docProps/") and part.file_size < LARGEST_PROPERTIES_BYTES:
                text = archive.read(part).decode("utf-8", "replace")
                for name, value in _ELEMENT.findall(text):
                    yield FreeText(where=f"In the document's property '{name[:40]}'.", text=value, name=name.rpartition(":")[2])
                for name, value in _PROPERTY.findall(text):
                    yield FreeText(where=f"In the document's property '{name[:40]}'.", text=value, name=name)
    yield from _cells(path)


def _cells(path: Path) -> Iterator[FreeText]:
    """Give each row, and each cell that stands beside or below the heading of identifying data."""
    from biomarkers.readers.sheets import read_sheets  # noqa: PLC0415  - most files of other kinds never need it

    for sheet in read_sheets(path):
        if sheet.name:
            yield FreeText(where="In the name of a sheet.", text=sheet.name)
        place = f"In sheet '{sheet.name[:40]}', row" if sheet.name else "In line"
        headed: dict[int, str] = {}
        left = MOST_CHARACTERS
        for number, row in enumerate(sheet.rows, start=1):
            headings = {column: cell for column, cell in enumerate(row) if cell and is_heading(cell)}
            yield from _row(f"{place} {number}.", row, headings, headed)
            headed = headings or (headed if any(row) else {})
            left -= sum(len(cell) for cell in row)
            if left < 0:
                break


def _row(where: str, row: Sequence[str], headings: Mapping[int, str], headed: Mapping[int, str]) -> Iterator[FreeText]:
    """Give a row's cells: by the heading at its beginning, by those above them, and all together."""
    if list(headings) == [0] and len(row) > 1:
        yield FreeText(where=where, text=row[1][:LONGEST_VALUE], name=headings[0])
    for column, heading in headed.items():
        if column < len(row):
            yield FreeText(where=where, text=row[column][:LONGEST_VALUE], name=heading)
    words = [cell for cell in row if _WRITTEN.search(cell)]
    if words:
        yield from _noted(where, " ; ".join(words)[:LONGEST_VALUE])


def _noted(where: str, text: str) -> Iterator[FreeText]:
    """Give a text, and what it says of things by name."""
    text = " ".join(text.split())  # runs of blanks would let a search take its time
    yield FreeText(where=where, text=text)
    for name, value in _PAIR.findall(text):
        if is_heading(name):
            yield FreeText(where=where, text=value, name=name)


def _tiff(path: Path) -> Iterator[FreeText]:
    import tifffile  # noqa: PLC0415  - brings the numeric libraries

    from biomarkers.readers.tiff_metadata import aside_kind, chains_too_many_pages  # noqa: PLC0415

    with tifffile.TiffFile(path) as file:
        for number, held in enumerate(islice(file.pages, MOST_PAGES)):  # their count would be known only after walking all
            page = held if isinstance(held, tifffile.TiffPage) else held.aspage()
            for tag in page.tags:
                if tag.dtype != _ASCII or tag.count > MOST_CHARACTERS:
                    continue  # numbers: the places of a slide's tiles alone may be millions
                if isinstance(value := tag.value, str) and value.strip():
                    yield from _described(f"In picture {number + 1}, tag '{tag.name}'.", value[:MOST_CHARACTERS])
            if found := _LABEL_LINE.search(page.description[:LONGEST_VALUE]):
                yield _label_picture(found[1].casefold())
        if chains_too_many_pages(file):
            return  # its reader refuses it
        for series in file.series[:MOST_PAGES]:
            if (kind := aside_kind(series)) in {"label", "macro"}:
                yield _label_picture(kind)


def _label_picture(kind: str) -> FreeText:
    return FreeText(where=f"In the picture '{kind}' beside the slide.", text="", is_label_picture=True)


def _picture(path: Path) -> Iterator[FreeText]:
    import PIL.Image  # noqa: PLC0415  - as above

    with PIL.Image.open(path) as picture:
        for name, value in picture.info.items():
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if isinstance(text, str) and text.strip():
                yield FreeText(where=f"In the picture's note '{str(name)[:40]}'.", text=text[:LONGEST_VALUE], name=str(name))
        for tag, value in picture.getexif().items():
            if isinstance(value, str) and value.strip():
                yield from _described(f"In the picture's EXIF tag {tag}.", value[:LONGEST_VALUE])


def _packed(path: Path) -> Iterator[FreeText]:
    import gzip  # noqa: PLC0415  - rare

    with gzip.open(path) as file:
        yield from _described("In the file.", file.read(MOST_CHARACTERS).decode("utf-8", "replace"))


def _marked_up(path: Path) -> Iterator[FreeText]:
    with path.open("rb") as file:
        yield from _described("In the file.", file.read(MOST_CHARACTERS).decode("utf-8", "replace"))


def _described(where: str, text: str) -> Iterator[FreeText]:
    """Give what a text says of things by name: XML, JSON or lines of key and value; else the text itself."""
    begins = text.lstrip("\ufeff \r\n\t")[:1]
    if begins == "<":
        keywords = _KEYWORD.findall(text)
        text = _KEYWORD.sub("", text)  # else their values would be met a second time, without their names
        pairs = [*keywords, *_ATTRIBUTE.findall(text), *_ELEMENT.findall(text)]
    elif begins in {"{", "["}:
        pairs = _MEMBER.findall(text)
    else:
        yield from (one for line in re.split(r"[\r\n|]+", text[:LONGEST_VALUE]) if line.strip() for one in _noted(where, line))
        return
    for name, value in pairs:
        yield FreeText(where=f"{where[:-1]}, '{name[:40]}'.", text=value, name=name.rpartition(":")[2])


_READERS: dict[bytes | tuple[bytes, ...], Callable[[Path], Iterator[FreeText]]] = {
    b"FCS": _fcs,
    b"PK\x03\x04": _workbook,
    (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"): _tiff,
    (b"\x89PNG", b"\xff\xd8"): _picture,
    b"\x1f\x8b": _packed,
}
