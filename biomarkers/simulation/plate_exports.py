"""Plate readings as reader software writes them: a plain grid, a grid of continental Europe, and SoftMax Pro's text.

Knows file formats. Must not know what is in a well. The plain grid holds one wavelength, the others two. Forms follow
exports of real instruments: SoftMax Pro 6 in its time and plate formats with carriage returns, one in Latin-1, one in UTF-16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from biomarkers.elisa.plate import row_letters

OVERFLOW = "OVRFLW"
"""What readers write where more light was absorbed than they can tell."""


class ExportForm(StrEnum):
    """How an export is written."""

    SOFTMAX_TIME = "softmax-time"
    GRID = "grid"
    GRID_EUROPEAN = "grid-european"
    SOFTMAX_PLATE = "softmax-plate"

    @property
    def suffix(self) -> str:
        """The extension people give such a file."""
        return ".txt" if self in {ExportForm.SOFTMAX_TIME, ExportForm.SOFTMAX_PLATE} else ".csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A plate as read: optical densities by row, None where the reader overflowed."""

    plate_id: str
    read_on: date
    wavelength_nm: float
    reference_nm: float
    measured: Sequence[Sequence[float | None]]
    reference: Sequence[Sequence[float | None]]

    @property
    def rows(self) -> int:
        """Rows of the plate."""
        return len(self.measured)

    @property
    def columns(self) -> int:
        """Columns of the plate."""
        return len(self.measured[0])


def export_bytes(reading: Reading, form: ExportForm) -> bytes:
    """Write a reading in the given form."""
    return _WRITERS[form](reading)


def _number(value: float | None) -> str:
    if value is None:
        return OVERFLOW
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _grid_lines(values_by_row: Sequence[Sequence[float | None]], separator: str, decimal: str) -> Iterator[str]:
    yield separator.join(["", *(str(column + 1) for column in range(len(values_by_row[0])))])
    for row, values in enumerate(values_by_row):
        numbers = (OVERFLOW if value is None else f"{value:.3f}".replace(".", decimal) for value in values)
        yield separator.join([row_letters(row), *numbers])


def _grid(reading: Reading) -> bytes:
    return "\r\n".join([*_grid_lines(reading.measured, ",", "."), ""]).encode()


def _grid_european(reading: Reading) -> bytes:
    lines = [
        f"{reading.wavelength_nm:g} nm",
        *_grid_lines(reading.measured, ";", ","),
        "",
        f"{reading.reference_nm:g} nm",
        *_grid_lines(reading.reference, ";", ","),
        "",
    ]
    # Spreadsheet programs put a byte order mark before UTF-8.
    return "\r\n".join(lines).encode("utf-8-sig")


def _softmax_header(reading: Reading, layout: str) -> str:
    wavelengths = f"{reading.wavelength_nm:g} {reading.reference_nm:g} "
    count = reading.rows * reading.columns
    fields = ["Plate:", reading.plate_id, "1.3", layout, "Endpoint", "Absorbance", "Raw", "FALSE", "1"]
    fields += [""] * 5 + ["2", wavelengths, "1", str(reading.columns), str(count), "1", str(reading.rows)]
    return "\t".join(fields)


def _softmax_end(reading: Reading) -> str:
    day = reading.read_on
    return f"Original Filename: {reading.plate_id}; Date Last Saved: {day.month}/{day.day}/{day.year} 2:05:49 PM"


def _softmax_time(reading: Reading) -> bytes:
    wells = [f"{row_letters(row)}{column + 1}" for row in range(reading.rows) for column in range(reading.columns)]
    lines = [
        "##BLOCKS= 1",
        _softmax_header(reading, "TimeFormat"),
        # The degree sign is SoftMax Pro's own slip: 0xA1 is one in the Macintosh character set alone.
        "\t".join(["", "Temperature(\xa1C)", *wells]),
    ]
    for block in (reading.measured, reading.reference):
        numbers = [_number(value) for row in block for value in row]
        lines += ["\t".join(["", "24.6", *numbers]), "\t" * (len(wells) + 1)]
    lines += ["~End", _softmax_end(reading), ""]
    return "\r\n".join(lines).encode("latin-1")


def _softmax_plate(reading: Reading) -> bytes:
    header = [str(column + 1) for column in range(reading.columns)]
    lines = [
        "##BLOCKS= 1",
        _softmax_header(reading, "PlateFormat"),
        "\t".join(["", "Temperature(\xb0C)", *header, "", *header]),
    ]
    for row in range(reading.rows):
        temperature = "24.6" if row == 0 else ""
        measured = [_number(value) for value in reading.measured[row]]
        reference = [_number(value) for value in reading.reference[row]]
        lines.append("\t".join(["", temperature, *measured, "", *reference]))
    lines += ["", "~End", _softmax_end(reading), ""]
    return ("\ufeff" + "\r\n".join(lines)).encode("utf-16-le")


_WRITERS: Mapping[ExportForm, Callable[[Reading], bytes]] = MappingProxyType(
    {
        ExportForm.SOFTMAX_TIME: _softmax_time,
        ExportForm.GRID: _grid,
        ExportForm.GRID_EUROPEAN: _grid_european,
        ExportForm.SOFTMAX_PLATE: _softmax_plate,
    }
)
