"""Plate-reader exports of every known kind, recognised by what they contain.

Knows which reader understands a file, and how plates of equal name are told apart. Must not know what any well is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import grid, softmax
from biomarkers.readers.sheets import is_workbook, read_sheets, read_text


def read_plates(path: Path) -> tuple[PlateRead, ...]:
    """Read every plate of an export, one read a plate and wavelength.

    The second plate of an equal name is called ``Plate1#2``, the third ``Plate1#3``; a plate without a name takes the file's
    stem. Several wavelengths of one plate share its name.

    Raises
    ------
    SourceFileError
        No reader understands the file, or the one that does finds it damaged.
    """
    if is_workbook(path):
        sheets = read_sheets(path)
        if grid.recognise(sheets):
            return _told_apart(grid.read(sheets, file_name=path.name, stem=path.stem))
        raise _unknown(path)
    text = read_text(path)
    if softmax.recognise(text):
        return _told_apart(softmax.read(text, file_name=path.name))
    sheets = read_sheets(path)
    if grid.recognise(sheets):
        return _told_apart(grid.read(sheets, file_name=path.name, stem=path.stem))
    raise _unknown(path)


def _unknown(path: Path) -> SourceFileError:
    return SourceFileError(
        what="No plate was found in the file in any known form.",
        where=f"File '{path.name}'.",
        remedy=(
            "Drop a SoftMax Pro text export, or a plain grid (a row 1 to 12, then rows A to H) or well list as CSV, TSV "
            "or XLSX with nothing else in the file."
        ),
    )


def _told_apart(plates: Iterable[tuple[PlateRead, ...]]) -> tuple[PlateRead, ...]:
    """Give plates of equal name numbers."""
    taken: set[str] = set()
    named: list[PlateRead] = []
    for reads in plates:
        name, number = reads[0].plate_id, 1
        while name in taken:
            number += 1
            name = f"{reads[0].plate_id}#{number}"
        taken.add(name)
        named.extend(replace(read, plate_id=name) for read in reads)
    return tuple(named)
