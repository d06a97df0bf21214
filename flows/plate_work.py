"""Plates, in a child process: read an export and its map, analyse every plate in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate, parameters
from biomarkers.elisa.plate import PlateLayout, PlateMap, PlateRead, reads_by_plate
from biomarkers.errors import BiomarkersError, Fault, SourceFileError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.results import Assay, run_identity
from biomarkers.study.definition import StudyDefinition
from flows.work import Analysis, Outcome, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateWork:
    """An export with its plate map."""

    folder: LabFolder
    export: WorkFile
    plate_map: WorkFile
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime


def analyse_plate_file(work: PlateWork) -> Outcome:
    """Read an export and its map, and analyse every plate in it."""
    return outcome_of(lambda: _plates(work))


def probe_export(work: PlateWork) -> tuple[str, ...] | BiomarkersError:
    """Name the plates of an export that has no map yet, or say why it cannot be read."""
    try:
        with opened(work.folder, work.export) as place:
            return tuple(reads_by_plate(read_plates(place / work.export.name)))
    except BiomarkersError as error:
        return error


def probe_map(work: PlateWork) -> tuple[str, ...] | BiomarkersError:
    """Name the plates of a map that has no export yet, or say why it cannot be read."""
    try:
        with opened(work.folder, work.plate_map) as place:
            return tuple(plate_map.plate_id for plate_map in read_plate_map(place / work.plate_map.name))
    except BiomarkersError as error:
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
    provenance = Provenance(
        sources=(
            Source(role="instrument", name=work.export.name, sha256=work.export.sha256),
            Source(role="plate_map", name=work.plate_map.name, sha256=work.plate_map.sha256),
        ),
        inputs=(
            Input(kind="layout", name=layout.name, sha256=layout.digest()),
            *(
                Input(kind="analyte", name=code, sha256=content_digest(analyte.model_dump(mode="json")))
                for code, analyte in analytes.items()
            ),
        ),
        software=software_version(),
        parameters=canonical_json(parameters(analytes)),
        computed_at=work.computed_at,
    )
    return analyse_plate(
        reads,
        plate_map,
        layout,
        analytes=analytes,
        run_id=run_identity(Assay.ELISA, work.export.sha256, plate_id),
        provenance=provenance,
    )
