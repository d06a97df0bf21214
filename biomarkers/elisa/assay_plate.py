"""What one analyte needs of a plate: its wells, its accessions, and the response at the wavelengths it declares.

Knows how read, map, layout and study are brought together. Must not know curves or concentrations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import fmean

from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import (
    LayoutWell,
    MapEntry,
    PlateLayout,
    PlateMap,
    PlateRead,
    WellPosition,
    WellRead,
    WellRole,
    map_faults,
    read_at,
    response,
)
from biomarkers.elisa.quantitation import Range
from biomarkers.errors import AssayError
from biomarkers.results import Finding, Severity
from biomarkers.study.soluble import Analyte


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadsOfAnalyte:
    """The responses one analyte is read from, the reference wavelength subtracted where it declares one and it was read."""

    wells: tuple[WellRead, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalytePlate:
    """One analyte's share of a plate.

    Attributes
    ----------
    wells
        Those of the layout that hold this analyte, with the lot's values where its certificate is known.
    entries
        Those of the plate map that are about it, by slot.
    reads
        What was read of the wells, by position.
    blank_response
        Mean blank already subtracted from the reads; None where the method subtracts none.
    lot
        The lot's certificate; None where it is not known.
    findings
        What was noticed while all this was brought together.
    """

    analyte: Analyte
    plate_id: str
    wells: tuple[LayoutWell, ...]
    entries: Mapping[str, MapEntry]
    reads: Mapping[WellPosition, WellRead]
    blank_response: float | None
    lot: KitLot | None
    findings: tuple[Finding, ...]

    @property
    def where(self) -> str:
        """Place for messages."""
        return f"Plate '{self.plate_id}', analyte '{self.analyte.code}'."

    @property
    def kit_lot(self) -> str:
        """The one lot the map names; empty where it names none or several."""
        lots = {entry.kit_lot for entry in self.entries.values()} - {""}
        return next(iter(lots)) if len(lots) == 1 else ""

    @property
    def limits(self) -> Range:
        """Limits of quantification in the calibrators' unit, at the least dilution specimens stand on the plate in."""
        if not self.analyte.limits.dilution_included:
            return self.limits_at(1.0)
        dilutions = [self.dilution_of(well) for well in self.wells if well.role is WellRole.SAMPLE]
        return self.limits_at(min(dilutions, default=1.0))

    def limits_at(self, dilution: float) -> Range:
        """Limits of quantification before dilution, for a specimen diluted so."""
        limits = self.analyte.limits
        factor = dilution if limits.dilution_included else 1.0
        return Range(lloq=limits.lloq / factor, uloq=limits.uloq / factor)

    def read_of(self, well: LayoutWell) -> WellRead:
        """Return what was read of a well; missing where the export does not hold it."""
        found = self.reads.get(well.position)
        return found or WellRead(position=well.position, raw_text="", value=None, flag="missing")

    def wells_of(self, role: WellRole) -> tuple[LayoutWell, ...]:
        """Return the wells of one role."""
        return tuple(well for well in self.wells if well.role is role)

    def entry_of(self, well: LayoutWell) -> MapEntry | None:
        """Return the map's entry of a specimen well; None for other wells and slots without accession."""
        return self.entries.get(well.slot) if well.role in (WellRole.SAMPLE, WellRole.SPIKE) else None

    def dilution_of(self, well: LayoutWell) -> float:
        """Return the dilution factor: the map's, else the layout's."""
        entry = self.entry_of(well)
        return well.dilution if entry is None or entry.dilution_factor is None else entry.dilution_factor

    def wells_by_accession(self, role: WellRole = WellRole.SAMPLE) -> Mapping[str, Mapping[float, list[LayoutWell]]]:
        """Group the specimen wells by accession and dilution factor, in the order of the map."""
        grouped: dict[str, dict[float, list[LayoutWell]]] = {
            entry.accession_id: defaultdict(list) for entry in self.entries.values()
        }
        for well in self.wells:
            entry = self.entry_of(well)
            if entry is not None and well.role is role:
                grouped[entry.accession_id][self.dilution_of(well)].append(well)
        return {accession_id: dict(wells) for accession_id, wells in grouped.items() if wells}


def analyte_plates(
    reads: Sequence[PlateRead],
    plate_map: PlateMap,
    layout: PlateLayout,
    analytes: Mapping[str, Analyte],
    *,
    lots: Sequence[KitLot] = (),
    read_on: date | None = None,
) -> tuple[AnalytePlate, ...]:
    """Divide a plate by analyte.

    Parameters
    ----------
    reads
        The plate at every wavelength it was read at.
    lots
        Certificates of kit lots; the one the map names is used.
    read_on
        Day of the reading, to hold against a lot's expiry; None where it is not known.

    Raises
    ------
    AssayError
        Map, layout, study and read do not fit together; every fault is named.
    """
    _require_fit(reads[0], plate_map, layout)
    codes = _analyte_codes(plate_map, layout, analytes)
    return tuple(_analyte_plate(code, codes, reads, plate_map, layout, analytes[code], lots, read_on) for code in codes)


def _analyte_plate(  # noqa: PLR0917  - the parts of a plate, in the order in which the caller has them
    code: str,
    codes: Sequence[str],
    reads: Sequence[PlateRead],
    plate_map: PlateMap,
    layout: PlateLayout,
    analyte: Analyte,
    lots: Sequence[KitLot],
    read_on: date | None,
) -> AnalytePlate:
    where = f"Plate '{reads[0].plate_id}', analyte '{code}'."
    entries: dict[str, MapEntry] = {}
    for entry in plate_map.entries:
        if entry.analyte in ("", code):
            entries.setdefault(entry.slot, entry)
    chosen = _chosen_reads(reads, analyte, where)
    wells = _wells_of(code, codes, layout)
    lot, of_lot = _lot_of(entries.values(), code, lots, read_on, where)
    by_position = {read.position: read for read in chosen.wells}
    subtracts = analyte.calibration.subtract_blank
    blank, of_blank = _mean_blank(wells, by_position, where) if subtracts else (None, ())
    if blank is not None:
        by_position = {
            position: read if read.value is None else replace(read, value=read.value - blank)
            for position, read in by_position.items()
        }
    return AnalytePlate(
        analyte=analyte,
        plate_id=reads[0].plate_id,
        wells=wells if lot is None else tuple(lot.apply(well) for well in wells),
        entries=entries,
        reads=by_position,
        blank_response=blank,
        lot=lot,
        findings=(*chosen.findings, *of_blank, *of_lot),
    )


def _mean_blank(
    wells: Sequence[LayoutWell], reads: Mapping[WellPosition, WellRead], where: str
) -> tuple[float | None, tuple[Finding, ...]]:
    """Mean of the readable blanks; None, and said, where there are none."""
    found = [reads.get(well.position) for well in wells if well.role is WellRole.BLANK]
    values = [read.value for read in found if read is not None and read.value is not None and not read.flag]
    if values:
        return fmean(values), ()
    missing = Finding(
        code="BLANK_NOT_READ",
        severity=Severity.WARNING,
        where=where,
        message="The study declares that the blank is subtracted, and no blank well of the plate has a reading; none was.",
        remedy="Add BLANK wells to the layout, or repeat the plate.",
    )
    return None, (missing,)


def _lot_of(
    entries: Iterable[MapEntry], code: str, lots: Sequence[KitLot], read_on: date | None, where: str
) -> tuple[KitLot | None, tuple[Finding, ...]]:
    """Find the certificate of the lot the map names, and what is to be said of it."""
    named = sorted({entry.kit_lot for entry in entries} - {""})
    if len(named) > 1:
        several = Finding(
            code="LOTS_MIXED",
            severity=Severity.WARNING,
            where=where,
            message=f"The plate map names the kit lots {', '.join(repr(lot) for lot in named)}; no certificate is used.",
            remedy="Calibrators and specimens of one plate belong to one lot; correct the plate map.",
        )
        return None, (several,)
    lot = next((lot for lot in lots if named and lot.analyte == code and lot.kit_lot == named[0]), None)
    if lot is None or lot.expires_on is None or read_on is None or read_on <= lot.expires_on:
        return lot, ()
    expired = Finding(
        code="KIT_EXPIRED",
        severity=Severity.WARNING,
        where=where,
        message=f"The kit lot '{lot.kit_lot}' expired on {lot.expires_on.isoformat()}, the plate is of {read_on.isoformat()}.",
        remedy="Repeat the specimens with a lot in date, or record why these results may be used.",
    )
    return lot, (expired,)


def _require_fit(read: PlateRead, plate_map: PlateMap, layout: PlateLayout) -> None:
    if (read.rows, read.columns) != (layout.rows, layout.columns):
        raise AssayError(
            what=f"The plate has {read.rows} x {read.columns} wells, its layout {layout.rows} x {layout.columns}.",
            where=f"Plate '{read.plate_id}', layout '{layout.name}'.",
            remedy="Name the right layout in the plate map.",
        )
    faults = list(map_faults(plate_map, layout))
    if faults:
        raise AssayError.gathered(faults)


def _analyte_codes(plate_map: PlateMap, layout: PlateLayout, analytes: Mapping[str, Analyte]) -> tuple[str, ...]:
    """Analytes on the plate that the map is about; the map's only one where the layout serves any."""
    named = tuple(dict.fromkeys(entry.analyte for entry in plate_map.entries if entry.analyte))
    serves_all = any(not entry.analyte for entry in plate_map.entries)
    codes = tuple(code for code in layout.analytes if serves_all or code in named) or named
    where = f"Plate '{plate_map.plate_id}', layout '{layout.name}'."
    if not codes or (not layout.analytes and len(codes) > 1):
        raise AssayError(
            what="Neither layout nor plate map says which analyte each well measures.",
            where=where,
            remedy="Fill in the block 'analyte' of the layout, or the column 'analyte' of the plate map.",
        )
    unknown = [code for code in (*codes, *named) if code not in analytes]
    if unknown:
        raise AssayError(
            what=f"The study declares no analyte '{unknown[0]}'.",
            where=where,
            remedy=f"Use one of {', '.join(sorted(analytes))}, or declare it in study.toml.",
        )
    return codes


def _wells_of(code: str, codes: Sequence[str], layout: PlateLayout) -> tuple[LayoutWell, ...]:
    only = len(codes) == 1
    return tuple(well for well in layout.used_wells if well.analyte == code or (only and not well.analyte))


def _chosen_reads(reads: Sequence[PlateRead], analyte: Analyte, where: str) -> ReadsOfAnalyte:
    """Take the wavelength an analyte declares, and subtract its reference where that was read."""
    primary = _primary_read(reads, analyte, where)
    if analyte.reference_nm is None or primary.reference_nm is not None:
        return ReadsOfAnalyte(wells=primary.wells, findings=())
    reference = read_at([read for read in reads if read is not primary], analyte.reference_nm)
    if reference is not None:
        return ReadsOfAnalyte(wells=response(primary, reference), findings=())
    missing = Finding(
        code="REFERENCE_NOT_READ",
        severity=Severity.NOTE,
        where=where,
        message=f"The reference wavelength {analyte.reference_nm:g} nm is not in the export; nothing was subtracted.",
        remedy="Read the plate at both wavelengths; calibrators and specimens were treated alike here.",
    )
    return ReadsOfAnalyte(wells=primary.wells, findings=(missing,))


def _primary_read(reads: Sequence[PlateRead], analyte: Analyte, where: str) -> PlateRead:
    if len(reads) == 1 and (analyte.wavelength_nm is None or reads[0].wavelength_nm is None):
        return reads[0]
    found = None if analyte.wavelength_nm is None else read_at(reads, analyte.wavelength_nm)
    if found is None:
        read_nm = ", ".join("not stated" if read.wavelength_nm is None else f"{read.wavelength_nm:g} nm" for read in reads)
        declared = "none" if analyte.wavelength_nm is None else f"{analyte.wavelength_nm:g} nm"
        raise AssayError(
            what=f"The plate was read at {read_nm}; the study declares {declared} for this analyte.",
            where=where,
            remedy="Read the plate at the declared wavelength, or correct wavelength_nm in study.toml.",
        )
    return found
