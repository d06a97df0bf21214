"""The $Pn keywords of an FCS data set: how each channel is stored and what its numbers mean.

Knows the standard's data types, byte orders, bit masks, amplification and gain. Must not know bytes of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.fcs_segments import MOST_CHANNELS

DataType: TypeAlias = Literal["I", "F", "D"]

BYTES_IN_ORDER = {
    "1,2,3,4": (0, 1, 2, 3),
    "1,2": (0, 1, 2, 3),
    "1,2,3,4,5,6,7,8": (0, 1, 2, 3),
    "4,3,2,1": (3, 2, 1, 0),
    "2,1": (3, 2, 1, 0),
    "8,7,6,5,4,3,2,1": (3, 2, 1, 0),
    "3,4,1,2": (2, 3, 0, 1),
    "2,1,4,3": (1, 0, 3, 2),
}
"""Significance of each byte of a 32-bit word as it lies in the file, 0 the least, by $BYTEORD."""

LITTLE, BIG = (0, 1, 2, 3), (3, 2, 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FcsParameter:
    """One channel as its keywords describe it.

    Attributes
    ----------
    detector, marker
        $PnN and $PnS.
    kind, width
        Data type, and the bytes of one value.
    byte_order
        Significance of each byte of a word as it lies in the file, 0 the least.
    bit_mask
        Bits that carry the value; None where all do.
    range, decades, offset, gain
        $PnR, the two numbers of $PnE, $PnG.
    """

    detector: str
    marker: str
    kind: DataType
    width: int
    byte_order: tuple[int, ...]
    bit_mask: int | None
    range: float
    decades: float
    offset: float
    gain: float

    @property
    def is_integer(self) -> bool:
        """Stored as whole numbers."""
        return self.kind == "I"

    @property
    def is_logarithmic(self) -> bool:
        """Stored as steps of a logarithmic amplifier; the standard allows that for integers alone."""
        return self.is_integer and self.decades > 0

    @property
    def is_time(self) -> bool:
        """Whether the channel is the clock."""
        return self.detector.casefold() == "time"

    @property
    def top(self) -> float:
        """Upper end of the channel's range on the scale of its linear values."""
        top = 10.0**self.decades * self.offset if self.is_logarithmic else self.range
        return top / (self.gain or 1.0)

    @property
    def storage(self) -> str | None:
        """How numpy calls the bytes of one value; None where it has no name for them."""
        if self.byte_order not in (LITTLE, BIG) or self.width not in (1, 2, 4, 8):
            return None
        letter = "u" if self.is_integer else "f"
        return f"{'<' if self.byte_order == LITTLE else '>'}{letter}{self.width}"


def read_parameters(keywords: Mapping[str, str], name: str) -> tuple[FcsParameter, ...]:
    """Read every $Pn block.

    Raises
    ------
    SourceFileError
        With all faults of the keywords together.
    """
    where = f"File '{name}'."
    count = keywords.get("$PAR", "")
    if not (count.isascii() and count.isdigit()) or not 0 < int(count[:6]) <= MOST_CHANNELS:
        raise SourceFileError(
            what=f"The keyword $PAR says '{count[:20]}', no number of channels.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    mode = keywords.get("$MODE", "L")
    if mode.upper() != "L":
        raise SourceFileError(
            what=f"The file holds histograms ($MODE '{mode[:20]}'), not events.", where=where, remedy="Export list mode data."
        )
    parameters: list[FcsParameter] = []
    faults: list[Fault] = []
    for number in range(1, int(count[:6]) + 1):
        try:
            parameters.append(_parameter(keywords, number))
        except ValueError as error:
            faults.append(
                Fault(
                    where=f"{where[:-1]}, channel {number:03d}.", what=f"{error}.", remedy="Export the file again as FCS 3.1."
                )
            )
    detectors = [parameter.detector.casefold() for parameter in parameters]
    faults.extend(
        Fault(where=where, what=f"Two channels are called '{detector}' ($PnN).", remedy="Rename one and export again.")
        for detector in sorted({detector for detector in detectors if detectors.count(detector) > 1})
    )
    if faults:
        raise SourceFileError.gathered(faults)
    return tuple(parameters)


def _parameter(keywords: Mapping[str, str], number: int) -> FcsParameter:
    detector = keywords.get(f"$P{number}N", "")
    if not detector:
        raise ValueError(f"$P{number}N, the channel's name, is missing")
    kind = keywords.get(f"$P{number}DATATYPE", "") or keywords.get("$DATATYPE", "")
    bits = keywords.get(f"$P{number}B", "")
    stored, width = _stored_as(kind.upper(), bits)
    largest = non_negative(keywords.get(f"$P{number}R", ""), f"$P{number}R")
    decades, offset = _amplification(keywords.get(f"$P{number}E", "0,0"), number)
    gain = keywords.get(f"$P{number}G", "")
    return FcsParameter(
        detector=detector,
        marker=keywords.get(f"$P{number}S", ""),
        kind=stored,
        width=width,
        byte_order=_byte_order(keywords.get("$BYTEORD", ""), width),
        bit_mask=_bit_mask(largest, 8 * width) if stored == "I" else None,
        range=largest,
        decades=decades,
        offset=offset,
        gain=non_negative(gain, f"$P{number}G") if gain else 1.0,
    )


def _stored_as(kind: str, bits: str) -> tuple[DataType, int]:
    if kind == "I" and bits in {"8", "16", "24", "32", "40", "48", "56", "64"}:
        return "I", int(bits) // 8
    if kind == "F" and bits == "32":
        return "F", 4
    if kind == "D" and bits == "64":
        return "D", 8
    raise ValueError(f"data type '{kind[:10]}' with '{bits[:10]}' bits is not supported")


def non_negative(text: str, keyword: str) -> float:
    """Read a keyword's number.

    Raises
    ------
    ValueError
        It is no finite number from 0 on.
    """
    try:
        value = float(text[:40])
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise ValueError(f"{keyword} says '{text[:20]}', no number")
    return value


def _byte_order(text: str, width: int) -> tuple[int, ...]:
    order = BYTES_IN_ORDER.get(text.replace(" ", ""))
    if order is None:
        raise ValueError(f"$BYTEORD '{text[:20]}' is not supported")
    if order not in (LITTLE, BIG) and width != 4:
        raise ValueError(f"$BYTEORD '{text[:20]}' says how 32-bit words lie, and the channel has {8 * width} bits")
    return order


def _amplification(text: str, number: int) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise ValueError(f"$P{number}E says '{text[:20]}', not two numbers")
    decades, offset = (non_negative(part, f"$P{number}E") for part in parts)
    if decades > 20 or offset > 1e6:
        raise ValueError(f"$P{number}E says '{text[:20]}', which no amplifier does")
    # "4,0" is written for "4,1"; the standard asks readers to understand it so.
    return decades, offset or 1.0


def _bit_mask(largest: float, bits: int) -> int | None:
    """Bits above the range are to be ignored, says the standard; None where the range fills the word."""
    if largest <= 1 or largest >= 2**bits:
        return None
    return int((1 << (int(largest) - 1).bit_length()) - 1)
