"""Printed results understood: a number with its last digit, a bound, or a word.

Knows the words of plate-reader software for a concentration it does not give. Must not know where they stand.
"""

from __future__ import annotations

from biomarkers.elisa.vendor_export import Printed, PrintedKind
from biomarkers.readers.plate_reads.differences import half_digit
from biomarkers.readers.plate_reads.readings import parse_number, parse_reading

_OUTSIDE = frozenset({"range?", "nan", "nonum", "out of range", "oor"})


def parse_printed(text: str, *, decimals: int | None = None) -> Printed | None:
    """Understand a printed result; None where nothing is printed or the text is no result.

    Parameters
    ----------
    decimals
        Decimals the export says it prints; a spreadsheet may have dropped zeros at the end since.

    Examples
    --------
    >>> parse_printed("13.84", decimals=3)
    Printed(text='13.84', kind='number', value=13.84, half_digit=0.0005)
    >>> parse_printed("<0.000").kind, parse_printed("Range?").kind
    ('below', 'outside')
    """
    text = text.strip()
    number = parse_number(text)
    if number is not None:
        scientific = "e" in text.casefold()
        digit = half_digit(text) if decimals is None or scientific else 0.5 * 10.0**-decimals
        return Printed(text=text, kind="number", value=number, half_digit=digit)
    if text[:1] in ("<", ">"):
        bound = parse_number(text[1:])
        kind: PrintedKind = "below" if text[0] == "<" else "above"
        return None if bound is None else Printed(text=text, kind=kind, value=bound, half_digit=half_digit(text[1:]))
    if text.casefold() in _OUTSIDE:
        return Printed(text=text, kind="outside", value=None, half_digit=0.0)
    word = parse_reading(text) if text else None
    if word is None:
        return None
    return Printed(text=text, kind="masked" if word.flag == "masked" else "missing", value=None, half_digit=0.0)


def nominal_rounding(text: str) -> float:
    """How far a nominal concentration may lie from its print: whole numbers are meant, ``333.33`` is cut off."""
    return half_digit(text) if "." in text.replace(",", ".") else 0.0
