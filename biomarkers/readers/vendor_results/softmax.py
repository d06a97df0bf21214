"""Results in SoftMax Pro exports: group tables, whose columns say by their formulas how they were computed.

Knows those formulas and which plates a group's wells lie on. The export does not name the curve's model; neither does this
module. Must not compute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from biomarkers.elisa.plate import PlateRead, WellPosition, reads_by_plate
from biomarkers.elisa.vendor_export import (
    Printed,
    ResponseSet,
    SummaryKind,
    VendorConcentration,
    VendorCurve,
    VendorExport,
    VendorLevel,
    VendorSummary,
    WellKey,
)
from biomarkers.readers.plate_reads import softmax
from biomarkers.readers.plate_reads.differences import MOST_READS
from biomarkers.readers.plate_reads.plate_tables import told_apart
from biomarkers.readers.plate_reads.readings import parse_number
from biomarkers.readers.plate_reads.softmax import Section
from biomarkers.readers.vendor_results.printed import nominal_rounding, parse_printed

LONGEST_FORMULA = 1000
_STANDARDS = re.compile(r"(?:std|standard|cal)", re.IGNORECASE)
_NOMINAL_FORMULAS = ("!Conc", "!Concentration", "!SampleDescriptor")
_INTERPOLATED = r"InterpX\([^,()]+,\s*(?P<of>[^(),]+)\)"
_SUMMARY = re.compile(r"(?P<how>Average|Stdev|I?Cv)\((?P<of>[^()]+|InterpX\([^()]*\))\)(?:\s*\*\s*(?P<factor>[!\w.]+))?")
_KINDS: Mapping[str, SummaryKind] = {"Average": "mean", "Stdev": "sd", "Cv": "cv", "ICv": "cv"}

_DEFAULT_SOURCE = "SoftMax Pro's ELISA protocols fit four parameters without weights through the mean of each level"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One column of a group table; ``decimals`` is None where it prints powers of ten."""

    index: int
    name: str
    formula: str
    decimals: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row of a group table; it has at least as many cells as the table has columns."""

    well: WellKey
    cells: tuple[str, ...]
    masked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One group table: its columns, and its rows by sample in the order of the export."""

    name: str
    columns: tuple[_Column, ...]
    samples: tuple[tuple[_Row, ...], ...]

    def named(self, *formulas: str) -> _Column | None:
        """Return the first column with one of these formulas."""
        return next((column for column in self.columns if column.formula in formulas), None)


@dataclass(slots=True, kw_only=True)
class _Experiment:
    """Plates and the group tables that follow them."""

    plate_ids: list[str] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=list)


def read(text: str, *, file_name: str) -> VendorExport:
    """Read every experiment of an export: its standards, and every column computed from the curve or from readings.

    Raises
    ------
    SourceFileError
        The export is damaged or not understood, as for its readings.
    """
    reads = reads_by_plate(told_apart(softmax.read(text, file_name=file_name)))
    curves = [curve for one in _experiments(text, tuple(reads), file_name) for curve in _curves(one, reads)]
    return VendorExport(curves=tuple(curves), calculations=(), not_recomputed=())


def _experiments(text: str, plate_ids: Sequence[str], file_name: str) -> list[_Experiment]:
    experiments: list[_Experiment] = []
    numbers = iter(plate_ids)
    for section in softmax.sections_of(text, file_name):
        if section.kind == "Plate":
            if not experiments or experiments[-1].groups:
                experiments.append(_Experiment())
            experiments[-1].plate_ids.append(next(numbers))
        elif section.kind == "Group" and experiments:
            group = _group(section, experiments[-1].plate_ids)
            if group is not None:
                experiments[-1].groups.append(group)
    return experiments


def _group(section: Section, plate_ids: Sequence[str]) -> _Group | None:
    header = softmax.group_header(section)
    if header is None:
        return None
    columns = tuple(column for column in _columns(section) if column.index < len(header))
    well = softmax.well_column(section, header)
    value = next((column.index for column in columns if column.formula == "!WellValues"), well + 1)
    plate = next((column.index for column in columns if column.formula == "!WellPlateName"), None)
    samples: list[list[_Row]] = []
    for row in section.rows[section.rows.index(header) + 1 :]:
        cells = (*row, *[""] * len(header))
        if not any(row) or row[0] == "Group Column":
            break
        position = WellPosition.parse(cells[well])
        if position is None:
            continue
        if cells[0] or not samples:
            samples.append([])
        named = cells[plate] if plate is not None else ""
        key = WellKey(plate_id=named if named in plate_ids else plate_ids[-1], position=position)
        samples[-1].append(_Row(well=key, cells=cells, masked=cells[value].casefold() == "masked"))
    return _Group(name=section.name, columns=columns, samples=tuple(map(tuple, samples)))


def _columns(section: Section) -> Iterator[_Column]:
    """Columns by the list of formulas below a group's table, which counts them from 1."""
    start = next((index for index, row in enumerate(section.rows) if row[0] == "Group Column"), len(section.rows))
    for row in section.rows[start + 1 :]:
        if len(row) < 2 or not re.fullmatch(r"\d{1,3}", row[0], re.ASCII) or int(row[0]) < 1:
            return
        digits = (
            re.match(r"\d{1,2}", row[3], re.ASCII) if len(row) > 3 and not (len(row) > 4 and row[4] == "Scientific") else None
        )
        yield _Column(
            index=int(row[0]) - 1,
            name=row[1],
            formula=row[2].strip('"') if len(row) > 2 else "",
            decimals=int(digits[0]) if digits else None,
        )


def _curves(experiment: _Experiment, reads: Mapping[str, Sequence[PlateRead]]) -> Iterator[VendorCurve]:
    standards = [group for group in experiment.groups if _STANDARDS.match(group.name) and group.named(*_NOMINAL_FORMULAS)]
    if len(standards) != 1:
        return
    parts = [_understood(group) for group in experiment.groups]
    concentrations = tuple(one for part in parts for one in part.concentrations)
    if not concentrations:
        return
    yield VendorCurve(
        vendor="SoftMax Pro",
        plate_ids=tuple(experiment.plate_ids),
        responses=(_response(experiment, reads),),
        levels=tuple(_levels(standards[0])),
        concentrations=concentrations,
        summaries=tuple(one for part in parts for one in part.summaries),
        stated_model=None,
        default_model="4pl",
        default_replicates="mean",
        default_source=_DEFAULT_SOURCE,
        parameters={},
        r_squared=None,
        not_recomputed=tuple(one for part in parts for one in part.left_out),
    )


def _levels(group: _Group) -> Iterator[VendorLevel]:
    column = group.named(*_NOMINAL_FORMULAS)
    assert column is not None
    for sample in group.samples:
        text = sample[0].cells[column.index]
        nominal = parse_number(text)
        wells = tuple(row.well for row in sample if not row.masked)
        if nominal is not None and wells:
            yield VendorLevel(nominal=nominal, rounding=_rounded(text, column), wells=wells)


def _rounded(text: str, column: _Column) -> float:
    """How far a nominal may lie from its print: a fraction that fills its decimals was cut off, ``320.000`` was not."""
    fraction = text.replace(",", ".").partition(".")[2].rstrip("0")
    return nominal_rounding(text) if fraction and len(fraction) == column.decimals else 0.0


def _response(experiment: _Experiment, reads: Mapping[str, Sequence[PlateRead]]) -> ResponseSet:
    """Return the readings behind the groups' values: a wavelength or a difference of two, whichever gives every value printed.

    Where none does, the printed values themselves, rounded as they are.
    """
    printed = dict(_printed_values(experiment))
    by_plate = [reads[plate_id] for plate_id in experiment.plate_ids]
    count = min(len(of_plate) for of_plate in by_plate)
    measured = [index for index in range(count) if by_plate[0][index].reference_nm is None][:MOST_READS]
    singles = [(index, None) for index in range(count)]
    for primary, reference in [*singles, *permutations(measured, 2)]:
        values = {
            WellKey(plate_id=well_plate, position=position): value
            for well_plate, of_plate in zip(experiment.plate_ids, by_plate, strict=True)
            for position, value in _difference(of_plate, primary, reference).items()
        }
        if printed and all(
            well in values and one.value is not None and abs(values[well] - one.value) <= one.half_digit * (1 + 1e-9) + 1e-12
            for well, one in printed.items()
        ):
            return ResponseSet(name=_response_name(by_plate[0], primary, reference), value_by_well=values, rounding=0.0)
    return ResponseSet(
        name="values as printed in the group tables",
        value_by_well={well: one.value for well, one in printed.items() if one.value is not None},
        rounding=max((one.half_digit for one in printed.values()), default=0.0),
    )


def _printed_values(experiment: _Experiment) -> Iterator[tuple[WellKey, Printed]]:
    for group in experiment.groups:
        column = group.named("!WellValues")
        for sample in group.samples if column is not None else ():
            for row in sample:
                assert column is not None
                found = (
                    parse_printed(row.cells[column.index], decimals=column.decimals) if column.index < len(row.cells) else None
                )
                if found is not None and found.kind == "number":
                    yield row.well, found


def _difference(reads: Sequence[PlateRead], primary: int, reference: int | None) -> dict[WellPosition, float]:
    subtrahend = {} if reference is None else reads[reference].by_position()
    found = {}
    for well in reads[primary].wells:
        other = 0.0 if reference is None else subtrahend[well.position].value
        if well.value is not None and other is not None:
            found[well.position] = well.value - other
    return found


def _response_name(reads: Sequence[PlateRead], primary: int, reference: int | None) -> str:
    def named(wavelength_nm: float | None) -> str:
        return "reading" if wavelength_nm is None else f"{wavelength_nm:g} nm"

    subtracted = reads[primary].reference_nm if reference is None else reads[reference].wavelength_nm
    own = named(reads[primary].wavelength_nm)
    return own if reference is None and subtracted is None else f"{own} - {named(subtracted)}"


@dataclass(slots=True, kw_only=True)
class _Part:
    """What a group's columns say."""

    concentrations: list[VendorConcentration] = field(default_factory=list)
    summaries: list[VendorSummary] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def _understood(group: _Group) -> _Part:
    part = _Part()
    responses = {"!WellValues", *(column.name for column in group.columns if column.formula == "!WellValues")}
    means = {column.name for column in group.columns if column.formula in {f"Average({name})" for name in responses}}
    interpolated: set[str] = set()
    averaged: set[str] = set()
    for column in group.columns:
        if len(column.formula) > LONGEST_FORMULA:
            part.left_out.append(f"{group.name}: {column.name}")
            continue
        found = re.fullmatch(_INTERPOLATED, column.formula)
        guarded = re.findall(_INTERPOLATED, column.formula) if "MakeErr" in column.formula and "*" not in column.formula else []
        of = found["of"].strip() if found else guarded[0].strip() if len(guarded) == 1 else ""
        summary = _SUMMARY.fullmatch(column.formula)
        if of in responses | means:
            interpolated.add(column.name)
            part.concentrations.extend(_concentrations(group, column, mean=of in means, limited=not found))
        elif summary and (known := _summary_of(summary["of"], responses, interpolated)):
            averaged |= {column.name} if summary["how"] == "Average" and not summary["factor"] else set()
            part.summaries.extend(_summaries(group, column, _KINDS[summary["how"]], known, summary["factor"] or ""))
        elif (product := re.fullmatch(r"(.+?)\s*\*\s*(!?\w+)", column.formula)) and product[1] in averaged:
            part.summaries.extend(_summaries(group, column, "adjusted", "concentration", product[2]))
        elif column.formula and not column.formula.startswith("!") and column.formula != "Index":
            part.left_out.append(f"{group.name}: {column.name}")
    return part


def _summary_of(of: str, responses: set[str], interpolated: set[str]) -> str:
    """Say what a summary is of; nothing where its column is not understood."""
    inner = re.fullmatch(_INTERPOLATED, of)
    if of in responses:
        return "response"
    return "concentration" if of in interpolated or (inner and inner["of"].strip() in responses) else ""


def _concentrations(group: _Group, column: _Column, *, mean: bool, limited: bool) -> Iterator[VendorConcentration]:
    for sample in group.samples:
        for row in sample[:1] if mean else sample:
            printed = (
                parse_printed(row.cells[column.index], decimals=column.decimals) if column.index < len(row.cells) else None
            )
            wells = tuple(one.well for one in sample if not one.masked) if mean else (row.well,)
            if printed is not None and printed.text and wells:
                yield VendorConcentration(wells=wells, printed=printed, masked=row.masked, limited=limited)


def _summaries(group: _Group, column: _Column, kind: SummaryKind, of: str, factor: str) -> Iterator[VendorSummary]:
    by_name = {one.name: one for one in group.columns} | {one.formula: one for one in group.columns if one.formula == "!Factor"}
    for sample in group.samples:
        cells = sample[0].cells
        printed = parse_printed(cells[column.index], decimals=column.decimals)
        multiplier = parse_number(cells[by_name[factor].index]) if factor in by_name else None if factor else 1.0
        wells = tuple(row.well for row in sample if not row.masked)
        if printed is None or not printed.text or printed.kind == "masked" or multiplier is None or not wells:
            continue
        yield VendorSummary(
            column=f"{group.name}: {column.name}",
            kind=kind,
            of="response" if of == "response" else "concentration",
            wells=wells,
            factor=multiplier,
            printed=printed,
        )
