"""What a child process does with one file: read it, analyse it, and say what became of it.

Knows the order reader, science, outcome for each kind of file. Must not know the store or Prefect: it runs in a process pool,
or on another machine, and returns frozen records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.analysis import parameters as plate_parameters
from biomarkers.elisa.plate import PlateLayout, PlateMap, PlateRead, reads_by_plate
from biomarkers.errors import BiomarkersError, Fault, IdentifierError, SourceFileError, UnknownAccessionError
from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.results import Assay, run_identity
from biomarkers.study.definition import Material, StudyDefinition

Analysis: TypeAlias = PlateAnalysis | AcquisitionAnalysis | SlideAnalysis


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFile:
    """A file to be read: its own name, under which a link to its archived bytes lies, and their digest."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimens:
    """What the analysis of a file may know of specimens: which accessions exist, and of what material they are."""

    material_by_accession: Mapping[str, Material]

    def check(self, accession_id: str, materials: tuple[Material, ...], where: str) -> Iterator[Fault]:
        """Find what speaks against a file belonging to an accession."""
        material = self.material_by_accession.get(accession_id)
        if material is None:
            yield _unknown(accession_id, where)
        elif material not in materials:
            expected = " or ".join(materials)
            yield Fault(
                where=where,
                what=f"Accession '{accession_id}' is {material}; this file needs {expected}.",
                remedy="Check the accession; correct the file's name, its map or specimens.csv.",
            )


def _unknown(accession_id: str, where: str) -> Fault:
    return Fault(
        where=where,
        what=f"Accession '{accession_id}' is not in the specimen list.",
        remedy="Correct it, or drop a specimens.csv that lists it; the file is then tried again by itself.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """A file's analyses, ready to be recorded in one transaction."""

    analyses: tuple[Analysis, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a file cannot be used, and which of the files worked on together are at fault."""

    error: BiomarkersError
    files: tuple[str, ...]


Outcome: TypeAlias = Analysed | Refused


class _Blame(Exception):  # noqa: N818  - not an error of its own; carries one out of the block that knows the file
    def __init__(self, error: BiomarkersError, files: tuple[str, ...]) -> None:
        super().__init__(error, files)
        self.error = error
        self.files = files


@contextmanager
def _at_fault(*files: str) -> Iterator[None]:
    try:
        yield
    except BiomarkersError as error:
        if error.is_transient:
            raise
        raise _Blame(error, files) from error


def _outcome(analyses: Callable[[], tuple[Analysis, ...]]) -> Outcome:
    try:
        return Analysed(analyses=analyses())
    except _Blame as blame:
        return Refused(error=blame.error, files=blame.files)


def _raise_all(faults: Iterator[Fault]) -> None:
    found = list(faults)
    if not found:
        return
    kind = UnknownAccessionError if all("is not in the specimen list" in fault.what for fault in found) else IdentifierError
    raise kind.gathered(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateWork:
    """An export with its plate map."""

    place: Path
    export: WorkFile
    plate_map: WorkFile
    layouts: Path
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime


def analyse_plate_file(work: PlateWork) -> Outcome:
    """Read an export and its map, and analyse every plate in it."""
    return _outcome(lambda: _plates(work))


def _plates(work: PlateWork) -> tuple[Analysis, ...]:
    with _at_fault(work.export.name):
        reads = reads_by_plate(read_plates(work.place / work.export.name))
    with _at_fault(work.plate_map.name):
        maps = _matched(read_plate_map(work.place / work.plate_map.name), reads, work)
        layouts = {plate_map.layout: _layout(plate_map.layout, work) for plate_map in maps.values()}
        _raise_all(fault for plate_map in maps.values() for fault in _map_faults(plate_map, layouts[plate_map.layout], work))
    with _at_fault(work.export.name, work.plate_map.name):
        return tuple(
            _plate(plate_id, reads[plate_id], plate_map, layouts[plate_map.layout], work)
            for plate_id, plate_map in maps.items()
        )


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
    path = work.layouts / f"{name}.csv"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not path.is_file():
        known = ", ".join(sorted(f"'{known.stem}'" for known in work.layouts.glob("*.csv")))
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
        parameters=canonical_json(plate_parameters(analytes)),
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
