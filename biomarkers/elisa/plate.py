"""Plates as a technician sees them: wells, the reusable layout, today's plate map, and what the reader read.

Knows where a well is and what it is for. Must not know files, curves or concentrations in specimens.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import total_ordering
from typing import Literal, Self, TypeAlias

from biomarkers.errors import Fault
from biomarkers.provenance import content_digest

WellFlag: TypeAlias = Literal["", "overflow", "masked", "missing"]

WAVELENGTH_TOLERANCE_NM = 5.0
"""Half the usual 10 nm pass band of a plate reader's filter: 562 nm and 560 nm name the same reading, 540 nm does not."""

_POSITION = re.compile(r"([A-Za-z]{1,2})\s*0*([1-9][0-9]?)")
_LARGEST_ROWS = 32
_LARGEST_COLUMNS = 48


@total_ordering
@dataclass(frozen=True, slots=True, kw_only=True)
class WellPosition:
    """Where a well is; row and column count from 0, the printed form is the plate's own: ``A01``.

    Examples
    --------
    >>> str(WellPosition(row=7, column=11))
    'H12'
    >>> WellPosition.parse("h12") == WellPosition(row=7, column=11)
    True
    """

    row: int
    column: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a well's name such as ``A1``, ``a01`` or ``P24``; None where the text is no well of any plate up to 1536."""
        found = _POSITION.fullmatch(text.strip())
        if found is None:
            return None
        row, column = row_index(found[1]), int(found[2]) - 1
        if row is None or row >= _LARGEST_ROWS or column >= _LARGEST_COLUMNS:
            return None
        return cls(row=row, column=column)

    def __str__(self) -> str:
        return f"{row_letters(self.row)}{self.column + 1:02d}"

    def __lt__(self, other: WellPosition) -> bool:
        return (self.row, self.column) < (other.row, other.column)


def row_letters(row: int) -> str:
    """Name a row counted from 0: A to Z, then AA.

    Examples
    --------
    >>> row_letters(0), row_letters(15), row_letters(26)
    ('A', 'P', 'AA')
    """
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


def row_index(letters: str) -> int | None:
    """Count a row's letters from 0; None where they name no row of a plate."""
    letters = letters.strip().upper()
    if re.fullmatch(r"[A-Z]", letters):
        return ord(letters) - ord("A")
    if re.fullmatch(r"A[A-F]", letters):
        return 26 + ord(letters[1]) - ord("A")
    return None


class WellRole(StrEnum):
    """What a well is for."""

    CALIBRATOR = "CALIBRATOR"
    CONTROL = "CONTROL"
    BLANK = "BLANK"
    SAMPLE = "SAMPLE"
    EMPTY = "EMPTY"
    SPIKE = "SPIKE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutWell:
    """What one well of a layout is for.

    Attributes
    ----------
    slot
        Wells of one slot and dilution hold the same material: ``STD1``, ``CTRL2``, ``S07``; empty for EMPTY wells.
    concentration
        Nominal, in the analyte's unit, of calibrators and controls; None where nothing is known.
    dilution
        Dilution factor: 4 means one part in four.
    analyte
        Code of the analyte; empty where the layout serves any analyte and the plate map says which.
    """

    position: WellPosition
    role: WellRole
    slot: str
    concentration: float | None
    dilution: float
    analyte: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateLayout:
    """A reusable plate design: which well is for what. ``wells`` lists every well, row by row."""

    name: str
    rows: int
    columns: int
    wells: tuple[LayoutWell, ...]

    @property
    def used_wells(self) -> tuple[LayoutWell, ...]:
        """Wells that hold anything."""
        return tuple(well for well in self.wells if well.role is not WellRole.EMPTY)

    @property
    def analytes(self) -> tuple[str, ...]:
        """Codes of the analytes named, each once, in the order of the wells."""
        return tuple(dict.fromkeys(well.analyte for well in self.used_wells if well.analyte))

    def slots(self, role: WellRole, analyte: str = "") -> tuple[str, ...]:
        """Names of the slots of one role, each once, in the order of the wells; all analytes unless one is named."""
        wells = (well for well in self.used_wells if well.role is role and analyte in ("", well.analyte))
        return tuple(dict.fromkeys(well.slot for well in wells))

    def wells_of(self, slot: str, analyte: str = "") -> tuple[LayoutWell, ...]:
        """Wells of one slot, in the order of the wells; of all analytes unless one is named."""
        return tuple(well for well in self.used_wells if well.slot == slot and analyte in ("", well.analyte))

    @property
    def is_routine(self) -> bool:
        """Whether every specimen stands on it in one way; a layout with spikes or dilution series is for validation."""
        slots = self.slots(WellRole.SAMPLE)
        return not self.slots(WellRole.SPIKE) and not any(self.is_dilution_series(slot) for slot in slots)

    def digest(self) -> str:
        """SHA-256 of what the wells are for, the same however the file was laid out; the name is not part of it."""
        wells = [
            [str(well.position), str(well.role), well.slot, well.concentration, well.dilution, well.analyte]
            for well in self.used_wells
        ]
        return content_digest({"rows": self.rows, "columns": self.columns, "wells": wells})

    def is_dilution_series(self, slot: str) -> bool:
        """Whether a slot stands on the plate in several dilutions."""
        return len({well.dilution for well in self.wells_of(slot)}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MapEntry:
    """Which accession sits in a slot today.

    Attributes
    ----------
    dilution_factor
        Replaces the layout's; None keeps the layout's.
    kit_lot
        As written on the kit; empty where not recorded.
    """

    slot: str
    accession_id: str
    analyte: str
    dilution_factor: float | None
    kit_lot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateMap:
    """One plate's map; ``layout`` is the name of a layout."""

    plate_id: str
    layout: str
    entries: tuple[MapEntry, ...]

    @property
    def accession_ids(self) -> tuple[str, ...]:
        """Accessions on the plate, each once, in the map's order."""
        return tuple(dict.fromkeys(entry.accession_id for entry in self.entries))

    def entry(self, slot: str, analyte: str) -> MapEntry | None:
        """Return the entry of a slot; an entry without analyte serves them all."""
        return next((entry for entry in self.entries if entry.slot == slot and entry.analyte in ("", analyte)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WellRead:
    """What the reader said of one well.

    Attributes
    ----------
    raw_text
        The reader's own text, verbatim.
    value
        Optical density; None where the text is no number. A masked well keeps its number.
    flag
        ``""``, ``"overflow"``, ``"masked"`` or ``"missing"``: three different things, never a 0.
    mask_reason
        Who or what left the well out; empty unless masked.
    is_mask_explained
        Whether that says why; reader software marks a well without saying why it did.
    """

    position: WellPosition
    raw_text: str
    value: float | None
    flag: WellFlag = ""
    mask_reason: str = ""
    is_mask_explained: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateRead:
    """One plate read at one wavelength; a plate read at two wavelengths is two of these with the same ``plate_id``.

    Attributes
    ----------
    plate_id
        The plate's name in the export; the second plate of an equal name in one file is ``Plate1#2``.
    wavelength_nm
        None where the export does not say.
    reference_nm
        Wavelength the export has already subtracted from these values; None where they are as measured.
    acquired_at
        The instrument's own words; empty where it does not say.
    wells
        Every well the export holds, row by row.
    """

    plate_id: str
    rows: int
    columns: int
    wavelength_nm: float | None
    reference_nm: float | None
    acquired_at: str
    wells: tuple[WellRead, ...]

    def by_position(self) -> Mapping[WellPosition, WellRead]:
        """Return the wells by their position."""
        return {well.position: well for well in self.wells}


def reads_by_plate(reads: Iterable[PlateRead]) -> Mapping[str, tuple[PlateRead, ...]]:
    """Group the reads of a file by plate id, plates and wavelengths in the file's order."""
    grouped: dict[str, list[PlateRead]] = defaultdict(list)
    for read in reads:
        grouped[read.plate_id].append(read)
    return {plate_id: tuple(plate) for plate_id, plate in grouped.items()}


def read_at(reads: Sequence[PlateRead], wavelength_nm: float) -> PlateRead | None:
    """Return the read nearest to a wavelength, within :data:`WAVELENGTH_TOLERANCE_NM`, or None."""
    near = [
        (abs(read.wavelength_nm - wavelength_nm), index)
        for index, read in enumerate(reads)
        if read.wavelength_nm is not None and abs(read.wavelength_nm - wavelength_nm) <= WAVELENGTH_TOLERANCE_NM
    ]
    return reads[min(near)[1]] if near else None


def response(read: PlateRead, reference: PlateRead | None = None) -> tuple[WellRead, ...]:
    """Wells with the reference wavelength subtracted, well by well; the wells as they are where no reference was read.

    A well that is flagged at either wavelength stays flagged, and without a number at either it has none: an overflow is never
    turned into a small difference. ``raw_text`` shows both readings.
    """
    if reference is None:
        return read.wells
    other = reference.by_position()
    return tuple(_subtracted(well, other.get(well.position)) for well in read.wells)


def _subtracted(well: WellRead, reference: WellRead | None) -> WellRead:
    if reference is None:
        return WellRead(position=well.position, raw_text=well.raw_text, value=None, flag=well.flag or "missing")
    both = None if well.value is None or reference.value is None else well.value - reference.value
    return WellRead(
        position=well.position,
        raw_text=f"{well.raw_text} - {reference.raw_text}",
        value=both,
        flag=_graver(well.flag, reference.flag),
        mask_reason=well.mask_reason or reference.mask_reason,
        is_mask_explained=well.is_mask_explained if well.mask_reason else reference.is_mask_explained,
    )


def _graver(one: WellFlag, other: WellFlag) -> WellFlag:
    order: tuple[WellFlag, ...] = ("masked", "overflow", "missing", "")
    return min(one, other, key=order.index)


def layout_faults(layout: PlateLayout) -> Iterator[Fault]:
    """Find all that is wrong with a layout, each with its wells."""
    yield from _well_faults(layout)
    yield from _slot_faults(layout)


def _well_faults(layout: PlateLayout) -> Iterator[Fault]:
    for well in layout.used_wells:
        where = f"Layout '{layout.name}', well {well.position}."
        if not well.slot and well.role is not WellRole.BLANK:
            yield Fault(where=where, what=f"A {well.role} well has no slot.", remedy="Name its slot in the block 'slot'.")
        if well.role is WellRole.CALIBRATOR and well.concentration is None:
            yield Fault(
                where=where,
                what="A calibrator has no concentration.",
                remedy="Write its nominal concentration into the block 'concentration'; the zero calibrator is 0.",
            )


def _slot_faults(layout: PlateLayout) -> Iterator[Fault]:
    wells_by_slot: dict[str, list[LayoutWell]] = defaultdict(list)
    for well in layout.used_wells:
        if well.slot:
            wells_by_slot[well.slot].append(well)
    for slot, wells in wells_by_slot.items():
        positions = ", ".join(str(well.position) for well in wells)
        where = f"Layout '{layout.name}', slot '{slot}', wells {positions}."
        roles = sorted({well.role for well in wells})
        if len(roles) > 1:
            yield Fault(where=where, what=f"One slot has the roles {', '.join(roles)}.", remedy="Give each role its own slot.")
        nominal = {(well.analyte, well.concentration) for well in wells}
        if roles[0] is WellRole.CALIBRATOR and len(nominal) > len({well.analyte for well in wells}):
            yield Fault(
                where=where,
                what="One calibrator slot has several concentrations.",
                remedy="Give each level its own slot.",
            )


def map_faults(plate_map: PlateMap, layout: PlateLayout) -> Iterator[Fault]:
    """Find all that is wrong with a plate map held against its layout, each with its slot."""
    slots = set(layout.slots(WellRole.SAMPLE)) | set(layout.slots(WellRole.SPIKE))
    analytes = layout.analytes
    measured = {(well.slot, well.analyte) for well in layout.used_wells}
    dilutions: dict[str, set[float]] = defaultdict(set)
    for well in layout.used_wells:
        dilutions[well.slot].add(well.dilution)
    taken: dict[tuple[str, str], str] = {}
    for entry in plate_map.entries:
        where = f"Plate '{plate_map.plate_id}', slot '{entry.slot}', accession '{entry.accession_id}'."
        if entry.slot not in slots:
            yield Fault(
                where=where,
                what=f"The layout '{layout.name}' has no specimen slot '{entry.slot}'.",
                remedy="Correct the slot in the plate map, or name the right layout.",
            )
        elif entry.analyte and analytes and (entry.slot, entry.analyte) not in measured:
            named = ", ".join(f"'{code}'" for code in analytes)
            yield Fault(
                where=where,
                what=f"The plate map says analyte '{entry.analyte}', but the layout '{layout.name}' measures {named} there.",
                remedy="Correct the analyte in the plate map, or name the right layout.",
            )
        if entry.dilution_factor is not None and len(dilutions[entry.slot]) > 1:
            yield Fault(
                where=where,
                what="The plate map gives a dilution factor, but the layout holds a dilution series there.",
                remedy="Leave dilution_factor empty for this slot.",
            )
        before = taken.setdefault((entry.slot, entry.analyte), entry.accession_id)
        if before != entry.accession_id:
            yield Fault(
                where=where,
                what=f"The slot already holds accession '{before}' for the same analyte.",
                remedy="Give each accession its own slot.",
            )
