"""Plate-reader exports of every known kind, recognised by what they contain.

Knows which reader understands a file, and how plates of equal name are told apart. Must not know what any well is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import envision, gen5, grid, kaleido, magellan, mars, skanit, softmax
from biomarkers.readers.plate_reads.plate_tables import told_apart
from biomarkers.readers.sheets import Sheet, is_workbook, read_sheets, read_text, text_sheet

KNOWN_FORMS = (
    "SoftMax Pro, Gen5, SkanIt, Magellan, MARS, EnVision and Kaleido exports, and plain grids (a row 1 to 12, then rows A to "
    "H) or well lists as CSV, TSV or XLSX with nothing else in the file"
)


class SheetReader(Protocol):
    """A module that reads one kind of export from cells."""

    def recognise(self, sheets: Sequence[Sheet]) -> bool:
        """Whether the sheets are an export of this kind."""
        ...

    def read(self, sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
        """Read every plate of the export."""
        ...


_READERS: tuple[SheetReader, ...] = (gen5, skanit, mars, envision, kaleido, magellan, grid)
"""The plain grid last: it takes whatever is drawn as a plate and says little more."""


def read_plates(path: Path) -> tuple[PlateRead, ...]:
    """Read every plate of an export, one read a plate and wavelength.

    The second plate of an equal name is called ``Plate1#2``, the third ``Plate1#3``; a plate without a name takes the file's
    stem. Several wavelengths of one plate share its name. Where an export holds the reference-corrected values beside those it
    measured, they are one more read, with its ``reference_nm``.

    Raises
    ------
    SourceFileError
        No reader understands the file, or the one that does finds it damaged.
    """
    if is_workbook(path):
        sheets = read_sheets(path)
        text = softmax.text_in(sheets)
    else:
        text = read_text(path)
        sheets = () if softmax.recognise(text) else (text_sheet(text, path),)
    if softmax.recognise(text):
        return told_apart(softmax.read(text, file_name=path.name))
    for reader in _READERS:
        if reader.recognise(sheets):
            return told_apart(reader.read(sheets, file_name=path.name, stem=path.stem))
    raise SourceFileError(
        what="No plate was found in the file in any known form.",
        where=f"File '{path.name}'.",
        remedy=f"Drop one of these: {KNOWN_FORMS}.",
    )
