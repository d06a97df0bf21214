"""Plates, in a child process: read an export and its map, analyse every plate in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate, parameters
from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import PlateLayout, PlateMap, PlateRead, reads_by_plate
from biomarkers.elisa.plate_inputs import plate_inputs
from biomarkers.errors import BiomarkersError, Fault, SourceFileError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Provenance, Source, canonical_json, software_version
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.reading_days import reading_day
from biomarkers.results import Assay, run_identity
from biomarkers.study.definition import StudyDefinition
from flows.work import Analysis, Outcome, Refused, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all, sparing_files


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateWork:
    """An export with its plate map.

    Attributes
    ----------
    lots
        Certificates of kit lots as they stand.
    masks_by_run
        Wells a person has left out, with the reason of each.
    """

    folder: LabFolder
    export: WorkFile
    plate_map: WorkFile
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime
    lots: tuple[KitLot, ...] = ()
    masks_by_run: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def analyse_plate_file(work: PlateWork) -> Outcome:
    """Read an export and its map, and analyse every plate in it."""
    return outcome_of(lambda: _plates(work))


def probe_export(work: PlateWork) -> tuple[str, ...] | BiomarkersError:
    """Name the plates of an export that has no map yet, or say why it cannot be read."""
    try:
        with sparing_files(), opened(work.folder, work.export) as place:
            return tuple(reads_by_plate(read_plates(place / work.export.name)))
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return error


def probe_map(work: PlateWork) -> tuple[str, ...] | BiomarkersError:
    """Name the plates of a map that has no export yet, or say why it cannot be read."""
    try:
        with sparing_files(), opened(work.folder, work.plate_map) as place:
            return tuple(plate_map.plate_id for plate_map in read_plate_map(place / work.plate_map.name))
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return error


def _plates(work: PlateWork) -> tuple[Analysis, ...]:
    export, plate_map = work.export.name, work.plate_map.name
    with opened(work.folder, work.export, work.plate_map) as place:
        with at_fault(export):
            reads = reads_by_plate(read_plates(place / export))
        with at_fault(plate_map):
            maps = _matched(read_plate_map(place / plate_map), reads, work)
            layouts = {found.layout: _layout(found.layout, work) for found in maps.values()}
            raise_all(fault for found in maps.values() for fault in _map_faults(found, layouts[found.layout], work))
    with at_fault(export, plate_map):
        return tuple(_plate(plate_id, reads[plate_id], found, layouts[found.layout], work) for plate_id, found in maps.items())


def _matched(maps: tuple[PlateMap, ...], reads: Mapping[str, tuple[PlateRead, ...]], work: PlateWork) -> dict[str, PlateMap]:
    """Pair each map with its plate; a single plate may be called by the file's stem."""
    if len(reads) == len(maps) == 1 and maps[0].plate_id == Path(work.export.name).stem:
        return {next(iter(reads)): maps[0]}
    by_plate = {plate_map.plate_id: plate_map for plate_map in maps}
    there = ", ".join(f"'{plate_id}'" for plate_id in reads)
    faults = [
        Fault(
            where=f"File '{work.plate_map.name}', plate_id '{plate_id}'.",
            what=f"The export holds no such plate; it holds {there}.",
            remedy="Correct the plate_id.",
        )
        for plate_id in by_plate
        if plate_id not in reads
    ]
    faults += [
        Fault(
            where=f"File '{work.plate_map.name}'.",
            what=f"The export's plate '{plate_id}' is not in the map.",
            remedy="Add its rows to the map.",
        )
        for plate_id in reads
        if plate_id not in by_plate
    ]
    if faults:
        raise SourceFileError.gathered(faults)
    return {plate_id: by_plate[plate_id] for plate_id in reads}


def _layout(name: str, work: PlateWork) -> PlateLayout:
    path = work.folder.layouts / f"{name}.csv"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not path.is_file():
        known = ", ".join(sorted(f"'{known.stem}'" for known in work.folder.layouts.glob("*.csv")))
        raise SourceFileError(
            what=f"The map names the layout '{name}', which the laboratory does not have.",
            where=f"File '{work.plate_map.name}', column 'layout'.",
            remedy=f"Use one of {known}, or put the layout into the folder plate_layouts.",
        )
    state = path.stat()
    return _read_once(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _read_once(path: Path, _mtime_ns: int, _size: int) -> PlateLayout:
    """Read a layout; all plates of a kit share it, until its file changes."""
    return read_layout(path)


def _map_faults(plate_map: PlateMap, layout: PlateLayout, work: PlateWork) -> Iterator[Fault]:
    for entry in plate_map.entries:
        where = f"File '{work.plate_map.name}', plate '{plate_map.plate_id}', slot '{entry.slot}'."
        codes = (entry.analyte,) if entry.analyte else layout.analytes
        analytes = [work.definition.analyte(code) for code in codes]
        for code, analyte in zip(codes, analytes, strict=True):
            if analyte is None:
                yield Fault(
                    where=where,
                    what=f"Analyte '{code}' is not declared in study.toml.",
                    remedy="Correct the analyte in the map, or declare it.",
                )
        materials = tuple(dict.fromkeys(m for analyte in analytes if analyte for m in analyte.materials))
        if materials:
            yield from work.specimens.check(entry.accession_id, materials, where)


def _plate(
    plate_id: str, reads: tuple[PlateRead, ...], plate_map: PlateMap, layout: PlateLayout, work: PlateWork
) -> PlateAnalysis:
    named = {entry.analyte for entry in plate_map.entries if entry.analyte} or set(layout.analytes)
    analytes = {analyte.code: analyte for analyte in work.definition.analytes if analyte.code in named}
    run_id = run_identity(Assay.ELISA, work.export.sha256, plate_id)
    masks = work.masks_by_run.get(run_id, {})
    provenance = Provenance(
        sources=(
            Source(role="instrument", name=work.export.name, sha256=work.export.sha256),
            Source(role="plate_map", name=work.plate_map.name, sha256=work.plate_map.sha256),
        ),
        inputs=plate_inputs(plate_map, layout, analytes=tuple(analytes.values()), lots=work.lots, masks=masks),
        software=software_version(),
        parameters=canonical_json(parameters(analytes)),
        computed_at=work.computed_at,
    )
    return analyse_plate(
        # The laboratory knows the plate by the name its map gives it; several readers call every plate 'Plate1'.
        tuple(_masked(replace(read, plate_id=plate_map.plate_id), masks) for read in reads),
        plate_map,
        layout,
        analytes=analytes,
        run_id=run_id,
        provenance=provenance,
        lots=work.lots,
        read_on=reading_day(reads[0].acquired_at),
    )


def _masked(read: PlateRead, masks: Mapping[str, str]) -> PlateRead:
    """Leave out the wells a person has masked, with the reason of each."""
    if not masks:
        return read
    wells = (
        replace(well, flag="masked", mask_reason=masks[str(well.position)], is_mask_explained=True)
        if str(well.position) in masks
        else well
        for well in read.wells
    )
    return replace(read, wells=tuple(wells))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateBatch:
    """Recorded plates to be analysed again in one go, so that what they share crosses to the child process once.

    Attributes
    ----------
    shared
        Everything but the files; its own export and map are those of the first.
    files
        Export and map of each.
    recorded
        Content of each run's current analysis by run, so that an equal one need not travel back.
    """

    shared: PlateWork
    files: tuple[tuple[WorkFile, WorkFile], ...]
    recorded: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """A file whose every run came out as it is on record."""

    runs: int


def analyse_plate_files(batch: PlateBatch) -> tuple[Outcome | Unchanged, ...]:
    """Analyse recorded plates again; in the order given."""
    works = (replace(batch.shared, export=export, plate_map=plate_map) for export, plate_map in batch.files)
    return tuple(_unless_equal(analyse_plate_file(work), batch.recorded) for work in works)


def _unless_equal(outcome: Outcome, recorded: Mapping[str, str]) -> Outcome | Unchanged:
    if isinstance(outcome, Refused):
        return outcome
    equal = all(recorded.get(analysis.run.run_id) == analysis.run.analysis_id for analysis in outcome.analyses)
    return Unchanged(runs=len(outcome.analyses)) if equal else outcome
