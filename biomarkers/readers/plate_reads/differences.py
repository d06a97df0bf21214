"""Tables an instrument's software computed, and whether one of them is the difference of two of its readings.

Knows how far printed digits can be trusted. Must not know any vendor; a name is never believed, the numbers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice, permutations

from biomarkers.elisa.plate import PlateRead, WellRead

MOST_READS = 6
MOST_TABLES = 24
"""An export with more of either is no plate read at a few wavelengths; comparing all with all would take for ever."""

FEWEST_WELLS = 8
"""A difference that holds in fewer wells than a column of a plate may be chance."""


def half_digit(text: str) -> float:
    """Half a unit of the last printed digit: how far the true number can lie from the print.

    Examples
    --------
    >>> half_digit("0.123"), half_digit("1,5e-3"), half_digit("12")
    (0.0005, 5e-05, 0.5)
    """
    mantissa, _, exponent = text.strip(" *").replace(",", ".").casefold().partition("e")
    decimals = len(mantissa.partition(".")[2])
    power = int(exponent) if exponent.lstrip("+-").isdigit() else 0
    return float(f"0.5e{power - decimals}")


def differences(computed: Iterable[PlateRead], reads: Sequence[PlateRead]) -> tuple[PlateRead, ...]:
    """Return those of an export's computed tables that are a difference of two of its readings, see :func:`as_difference`."""
    if not 2 <= len(reads) <= MOST_READS:
        return ()
    found = (as_difference(one, reads) for one in islice(computed, MOST_TABLES))
    return tuple(one for one in found if one is not None)


def as_difference(computed: PlateRead, reads: Sequence[PlateRead]) -> PlateRead | None:
    """Name the wavelengths of a computed table that is one reading minus another in every well; None where it is not.

    Only an export that holds both readings tells it; a table that equals a reading, or any other calculation, is None.
    """
    found = [
        (primary, reference)
        for primary, reference in permutations(reads, 2)
        if primary.wavelength_nm != reference.wavelength_nm and _is_difference(computed, primary, reference)
    ]
    if len(found) != 1:
        return None
    primary, reference = found[0]
    return replace(computed, wavelength_nm=primary.wavelength_nm, reference_nm=reference.wavelength_nm)


def _is_difference(computed: PlateRead, primary: PlateRead, reference: PlateRead) -> bool:
    minuend, subtrahend = primary.by_position(), reference.by_position()
    wells = [
        (well, minuend[well.position], subtrahend[well.position])
        for well in computed.wells
        if _has_number(well) and _has_number(minuend.get(well.position)) and _has_number(subtrahend.get(well.position))
    ]
    return (
        len(wells) >= FEWEST_WELLS
        and all(_agrees(result, one, other) for result, one, other in wells)
        and any(not _agrees(result, one, None) for result, one, _ in wells)
    )


def _has_number(well: WellRead | None) -> bool:
    return well is not None and well.value is not None and not well.flag


def _agrees(result: WellRead, one: WellRead, other: WellRead | None) -> bool:
    terms = [term for term in (result, one, other) if term is not None]
    numbers = [term.value for term in terms if term.value is not None]
    expected = numbers[1] - (numbers[2] if len(numbers) > 2 else 0.0)
    # Both readings and their difference were rounded for print, each on its own.
    rounding = sum(half_digit(term.raw_text) for term in terms) + 1e-9
    return abs(numbers[0] - expected) <= rounding
