"""Results in SkanIt workbooks: blank subtraction and the formulas of calculated steps.

Knows which sheet holds which step and what each step started from. Must not compute.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from biomarkers.elisa.plate import WellPosition
from biomarkers.elisa.vendor_export import Term, VendorCalculation, VendorExport, WellKey
from biomarkers.readers.plate_reads.differences import half_digit
from biomarkers.readers.plate_reads.plate_tables import trimmed
from biomarkers.readers.plate_reads.readings import parse_number
from biomarkers.readers.plate_reads.skanit import MEASURED, SAMPLES, SkanItTable, tables_of
from biomarkers.readers.sheets import Sheet
from biomarkers.readers.vendor_results.printed import parse_printed

_SUBTRACTED = "Blank subtracted"
_CALCULATED = "Value"
_BLANK = re.compile(r"Blank\d*", re.IGNORECASE)

_Texts = Mapping[WellPosition, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Formula:
    """A calculated step: its formula, and the step each variable stands for."""

    text: str
    step_by_variable: Mapping[str, str]


def read(sheets: Sequence[Sheet], *, stem: str) -> VendorExport:
    """Read every blank-subtracted and every calculated number with what it was calculated from."""
    tables = list(tables_of(sheets, stem=stem))
    formulas = {step: formula for sheet in sheets for step, formula in _formulas(sheet)}
    calculations = [*_subtractions(tables), *_calculations(tables, formulas)]
    understood = (MEASURED, SAMPLES, _SUBTRACTED, _CALCULATED)
    rest = dict.fromkeys(f"{one.step}: {one.table.corner}" for one in tables if one.table.corner not in understood)
    return VendorExport(curves=(), calculations=tuple(calculations), not_recomputed=tuple(rest))


def _subtractions(tables: Sequence[SkanItTable]) -> Iterator[VendorCalculation]:
    """Find readings less the mean of the blanks at their wavelength: the plate's own blanks, else those of the session."""
    measured = {(one.plate, one.wavelength_nm): one.table.texts() for one in tables if one.table.corner == MEASURED}
    blanks: dict[str, set[WellPosition]] = defaultdict(set)
    for one in tables:
        if one.table.corner == SAMPLES:
            blanks[one.plate] |= {position for position, text in one.table.texts().items() if _BLANK.fullmatch(text)}
    for one in tables:
        readings = measured.get((one.plate, one.wavelength_nm))
        if one.table.corner != _SUBTRACTED or readings is None:
            continue
        plates = [one.plate] if blanks[one.plate] else list(blanks)
        found = [
            measured.get((plate, one.wavelength_nm), {}).get(position, "") for plate in plates for position in blanks[plate]
        ]
        blank = [text for text in found if parse_number(text) is not None]
        names = [f"blank{number}" for number in range(1, len(blank) + 1)]
        formula = f"reading - ({' + '.join(names)}) / {len(names)}" if names else "reading"
        finest = _finest([*readings.values(), *blank])
        for position in one.table.texts():
            terms = dict(zip(["reading", *names], [readings.get(position, ""), *blank], strict=True))
            yield from _calculation(one, position, formula, terms, finest)


def _calculations(tables: Sequence[SkanItTable], formulas: Mapping[str, _Formula]) -> Iterator[VendorCalculation]:
    by_step: dict[tuple[str, str], _Texts] = {}
    for one in tables:
        if one.table.corner in (MEASURED, _SUBTRACTED, _CALCULATED):
            by_step.setdefault((one.step, one.plate), one.table.texts())
    for one in tables:
        formula = formulas.get(one.step)
        if one.table.corner != _CALCULATED or formula is None:
            continue
        for position in one.table.texts():
            terms = {
                variable: by_step.get((step, one.plate), {}).get(position, "")
                for variable, step in formula.step_by_variable.items()
            }
            yield from _calculation(one, position, formula.text, terms, 0.0)


def _calculation(
    table: SkanItTable, position: WellPosition, formula: str, terms: Mapping[str, str], finest: float
) -> Iterator[VendorCalculation]:
    """Make one calculation; ``finest`` is half the last digit of readings, of which a workbook drops the zeros at the end."""
    texts = table.table.texts()
    printed = parse_printed(texts[position])
    numbers = {name: parse_number(term) for name, term in terms.items()}
    if printed is None or None in numbers.values():
        return
    yield VendorCalculation(
        step=table.step if table.wavelength_nm is None else f"{table.step}, {table.wavelength_nm:g} nm",
        well=WellKey(plate_id=table.plate, position=position),
        formula=formula,
        terms={
            name: Term(value=number, half_digit=finest or _last_digit(terms[name], terms.values()))
            for name, number in numbers.items()
            if number is not None
        },
        printed=replace(printed, half_digit=_last_digit(printed.text, texts.values())) if printed.kind == "number" else printed,
    )


def _finest(texts: Iterable[str]) -> float:
    return min((half_digit(text) for text in texts if parse_number(text) is not None and "." in text), default=0.0)


def _last_digit(text: str, others: Iterable[str]) -> float:
    """Half of a number's last digit; of a whole number, which a workbook writes without decimals, that of its neighbours."""
    return half_digit(text) if "." in text else _finest(others)


def _formulas(sheet: Sheet) -> Iterator[tuple[str, _Formula]]:
    lines = [cells[0] for row in sheet.rows for cells in [trimmed(row)] if cells and cells[0]]
    text = next((line.removeprefix("Formula:").strip() for line in lines if line.startswith("Formula:")), "")
    step_by_variable = {}
    variable = ""
    for line in lines:
        if line.startswith("Variable:"):
            variable = line.removeprefix("Variable:").strip()
        elif line.startswith("Source step:") and variable:
            step_by_variable[variable] = line.removeprefix("Source step:").strip()
    step = trimmed(sheet.rows[4])[:1] if len(sheet.rows) > 4 else ()
    if text and step:
        yield step[0], _Formula(text=text, step_by_variable=step_by_variable)
