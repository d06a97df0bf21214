"""What one analyte needs of a plate: its wells, its accessions, and the response at the wavelengths it declares.

Knows how read, map, layout and study are brought together. Must not know curves or concentrations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import (
    LayoutWell,
    MapEntry,
    PlateLayout,
    PlateMap,
    PlateRead,
    WellRead,
    WellRole,
    map_faults,
    read_at,
    response,
)
from biomarkers.elisa.quantitation import Range
from biomarkers.errors import AssayError
from biomarkers.results import Finding, Severity
from biomarkers.study.definition import Analyte


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
        Those of the layout that hold this analyte.
    entries
        Those of the plate map that are about it.
    """

    analyte: Analyte
    plate_id: str
    wells: tuple[LayoutWell, ...]
    entries: tuple[MapEntry, ...]
    reads: ReadsOfAnalyte

    @property
    def where(self) -> str:
        """Place for messages."""
        return f"Plate '{self.plate_id}', analyte '{self.analyte.code}'."

    @property
    def limits(self) -> Range:
        """Limits of quantification before dilution."""
        return Range(lloq=self.analyte.limits.lloq, uloq=self.analyte.limits.uloq)

    def read_of(self, well: LayoutWell) -> WellRead:
        """Return what was read of a well; missing where the export does not hold it."""
        found = next((read for read in self.reads.wells if read.position == well.position), None)
        return found or WellRead(position=well.position, raw_text="", value=None, flag="missing")

    def entry_of(self, well: LayoutWell) -> MapEntry | None:
        """Return the map's entry of a specimen well; None for other wells and slots without accession."""
        if well.role not in (WellRole.SAMPLE, WellRole.SPIKE):
            return None
        return next((entry for entry in self.entries if entry.slot == well.slot), None)

    def dilution_of(self, well: LayoutWell) -> float:
        """Return the dilution factor: the map's, else the layout's."""
        entry = self.entry_of(well)
        return well.dilution if entry is None or entry.dilution_factor is None else entry.dilution_factor

    def wells_by_accession(self) -> Mapping[str, Mapping[float, list[LayoutWell]]]:
        """Group the specimen wells by accession and dilution factor, in the order of the map."""
        grouped: dict[str, dict[float, list[LayoutWell]]] = {entry.accession_id: defaultdict(list) for entry in self.entries}
        for well in self.wells:
            entry = self.entry_of(well)
            if entry is not None and well.role is WellRole.SAMPLE:
                grouped[entry.accession_id][self.dilution_of(well)].append(well)
        return {accession_id: dict(wells) for accession_id, wells in grouped.items() if wells}


def analyte_plates(
    reads: Sequence[PlateRead], plate_map: PlateMap, layout: PlateLayout, analytes: Mapping[str, Analyte]
) -> tuple[AnalytePlate, ...]:
    """Divide a plate by analyte.

    Parameters
    ----------
    reads
        The plate at every wavelength it was read at.

    Raises
    ------
    AssayError
        Map, layout, study and read do not fit together; every fault is named.
    """
    _require_fit(reads[0], plate_map, layout)
    codes = _analyte_codes(plate_map, layout, analytes)
    return tuple(
        AnalytePlate(
            analyte=analytes[code],
            plate_id=reads[0].plate_id,
            wells=_wells_of(code, codes, layout),
            entries=tuple(entry for entry in plate_map.entries if entry.analyte in ("", code)),
            reads=_chosen_reads(reads, analytes[code], f"Plate '{reads[0].plate_id}', analyte '{code}'."),
        )
        for code in codes
    )


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
