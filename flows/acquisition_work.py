"""Acquisitions, in a child process: read an FCS file, gate it, give the frequencies the study reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import analyse_acquisition, parameters
from biomarkers.errors import IdentifierError, StudyDefinitionError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.panels import read_panel
from biomarkers.results import Assay, run_identity
from biomarkers.study.cellular import PanelReference
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import accession_from_fcs_name, is_accession_id
from flows.work import Analysis, Outcome, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionWork:
    """An FCS file."""

    folder: LabFolder
    file: WorkFile
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime


def analyse_fcs_file(work: AcquisitionWork) -> Outcome:
    """Read and gate an FCS file."""
    return outcome_of(lambda: _analyses(work))


def _analyses(work: AcquisitionWork) -> tuple[Analysis, ...]:
    name = work.file.name
    with at_fault(name):
        with opened(work.folder, work.file) as place:
            acquisition = read_fcs(place / name)
        accession_id = _accession(acquisition, work)
        materials = tuple(dict.fromkeys(m for panel in work.definition.panels for m in panel.materials))
        raise_all(work.specimens.check(accession_id, materials, f"File '{name}'."))
        reference = _reference(work.definition, work.specimens.material_by_accession[accession_id])
        path = work.folder.panels / f"{reference.name}.toml"
        panel = read_panel(path)
        provenance = Provenance(
            sources=(Source(role="instrument", name=name, sha256=work.file.sha256),),
            inputs=(
                Input(kind="panel", name=panel.name, sha256=content_digest(panel.model_dump(mode="json"))),
                Input(kind="measurands", name=reference.name, sha256=_measurands_digest(reference)),
            ),
            software=software_version(),
            parameters=canonical_json(parameters(panel)),
            computed_at=work.computed_at,
        )
        analysis = analyse_acquisition(
            acquisition,
            panel,
            measurands=reference.measurands,
            accession_id=accession_id,
            run_id=run_identity(Assay.CYTOMETRY, work.file.sha256),
            provenance=provenance,
        )
    return (analysis,)


def _accession(acquisition: Acquisition, work: AcquisitionWork) -> str:
    """Find whose tube this is by the file's name and by its keyword; where both speak they must agree."""
    patterns, name = work.definition.identifiers, work.file.name
    by_name = accession_from_fcs_name(patterns, name)
    keyword = acquisition.keywords.get(patterns.fcs_keyword.upper(), "").strip()
    by_keyword = keyword if is_accession_id(patterns, keyword) else None
    if by_name and by_keyword and by_name != by_keyword:
        raise IdentifierError(
            what=f"The file's name says accession '{by_name}', its keyword {patterns.fcs_keyword} says '{by_keyword}'.",
            where=f"File '{name}'.",
            remedy="Find out whose tube it is; rename the file or correct the keyword in the acquisition software.",
        )
    found = by_name or by_keyword
    if not found:
        raise IdentifierError(
            what="Neither the file's name nor a keyword says whose tube it is.",
            where=f"File '{name}'.",
            remedy=f"Name it '{patterns.fcs_file}', or write the keyword {patterns.fcs_keyword}.",
        )
    return found


def _reference(definition: StudyDefinition, material: Material) -> PanelReference:
    fitting = [panel for panel in definition.panels if material in panel.materials]
    if len(fitting) != 1:
        names = ", ".join(f"'{panel.name}'" for panel in fitting) or "none"
        raise StudyDefinitionError(
            what=f"The study must name one panel for {material}; it names {names}.",
            where="File 'study.toml', panels.",
            remedy="Declare one panel for each material.",
        )
    return fitting[0]


def _measurands_digest(reference: PanelReference) -> str:
    return content_digest([measurand.model_dump(mode="json") for measurand in reference.measurands])
