"""What a child process is given, and what it gives back, whatever the kind of file.

Knows work files, specimens and outcomes. Must not know the store or Prefect: work is done in a process pool, or on another
machine, and returns frozen records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from biomarkers.errors import (
    BiomarkersError,
    Fault,
    IdentifierError,
    TemporarilyUnavailableError,
    UnknownAccessionError,
    is_of_the_machine,
)
from biomarkers.lab.archive import named
from biomarkers.lab.drafts import own_name
from biomarkers.lab.folders import LabFolder
from biomarkers.study.declaration import Material

if TYPE_CHECKING:
    from biomarkers.cytometry.analysis import AcquisitionAnalysis
    from biomarkers.elisa.analysis import PlateAnalysis
    from biomarkers.ihc.analysis import SlideAnalysis

Analysis: TypeAlias = "PlateAnalysis | AcquisitionAnalysis | SlideAnalysis"


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
def opened(folder: LabFolder, *files: WorkFile) -> Iterator[Path]:
    """Give archived files their own names in a folder that is this process's alone."""
    with named(folder, own_name(), {file.name: file.sha256 for file in files}) as place:
        yield place


@contextmanager
def at_fault(*files: str) -> Iterator[None]:
    """Hold files responsible for what is wrong within the block."""
    try:
        with sparing_files():
            yield
    except BiomarkersError as error:
        if error.is_transient:
            raise
        raise _Blame(error, files) from error


@contextmanager
def sparing_files() -> Iterator[None]:
    """Let what a disk, a share or a limit of this machine is guilty of pass for the moment: the file is tried again."""
    try:
        yield
    except BiomarkersError as error:
        if error.is_transient or not is_of_the_machine(error):
            raise
        raise TemporarilyUnavailableError(
            what=error.what, where=error.where, remedy="Nothing to do; the file waits and is tried again."
        ) from error


def outcome_of(analyses: Callable[[], tuple[Analysis, ...]]) -> Outcome:
    """Turn what a function returns or raises into an outcome; an error outside any block :func:`at_fault` is our own."""
    try:
        return Analysed(analyses=analyses())
    except _Blame as blame:
        return Refused(error=blame.error, files=blame.files)


def raise_all(faults: Iterable[Fault]) -> None:
    """Raise all faults together, as an unknown accession where that is all that is wrong."""
    found = list(faults)
    if not found:
        return
    kind = UnknownAccessionError if all("is not in the specimen list" in fault.what for fault in found) else IdentifierError
    raise kind.gathered(found)
