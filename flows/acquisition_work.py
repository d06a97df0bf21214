"""Acquisitions, in a child process: read an FCS file, gate it, give the frequencies the study reports.

Knows what each part a tube may play leads to, and what follows when a person corrected the gates. Must not know the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_gating, check_measurands, parameters
from biomarkers.cytometry.corrections import compare_gates, comparison_document, corrected_gating
from biomarkers.cytometry.examined import Examined, examine, with_findings, with_warnings_of_the_tube
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.roles import Tube, control_readings, tube_of, with_batch_by_keyword
from biomarkers.errors import BiomarkersError, IdentifierError, StudyDefinitionError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, JsonValue, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.gates import read_gates
from biomarkers.readers.panels import read_panel
from biomarkers.readers.reading_days import reading_day
from biomarkers.readers.sign_offs import SignOff, read_sign_off
from biomarkers.readers.tube_sidecars import read_tube_sidecar
from biomarkers.reports.gate_corrections import ComparedGates, compared_gates
from biomarkers.reports.gate_files import gate_files
from biomarkers.results import Assay, Run, run_identity
from biomarkers.study.cellular import PanelReference, TubeRole, TubeSidecar
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import is_accession_id
from flows.control_tubes import Fmo, fmo_of, kept_finding
from flows.work import Analysis, Outcome, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all, sparing_files

UNGATED = (TubeRole.FMO, TubeRole.SINGLE_STAIN, TubeRole.BEADS)
"""Tubes that are kept for their batch and give no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeFiles:
    """An FCS file and what may belong to it: its sidecar, and gates a person corrected with the sidecar that signs them."""

    instrument: WorkFile
    sidecar: WorkFile | None = None
    gates: WorkFile | None = None
    sign_off: WorkFile | None = None

    @classmethod
    def of(cls, sources: Iterable[Source]) -> TubeFiles:
        """Take the files of a recorded run."""
        by_role = {source.role: WorkFile(name=source.name, sha256=source.sha256) for source in sources}
        return cls(
            instrument=by_role["instrument"],
            sidecar=by_role.get("sidecar"),
            gates=by_role.get("gates"),
            sign_off=by_role.get("sign_off"),
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files as a run names them, the instrument's first."""
        by_role = {
            "instrument": self.instrument,
            "sidecar": self.sidecar,
            "gates": self.gates,
            "sign_off": self.sign_off,
        }
        return tuple(
            Source(role=role, name=file.name, sha256=file.sha256) for role, file in by_role.items() if file is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionWork:
    """An FCS file with what belongs to it.

    Attributes
    ----------
    only_if_corrected
        Whether gates equal to those found give no analysis at all.
    """

    folder: LabFolder
    files: TubeFiles
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime
    only_if_corrected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesWork:
    """A file of gates to be looked into."""

    folder: LabFolder
    file: WorkFile


def analyse_fcs_file(work: AcquisitionWork) -> Outcome:
    """Read an FCS file and do what its part asks for."""
    return outcome_of(lambda: _analyses(work))


def probe_gates(work: GatesWork) -> tuple[str, ...] | BiomarkersError:
    """Name the samples a file of gates speaks of, or say why it cannot be read; Gating-ML names none."""
    try:
        with sparing_files(), opened(work.folder, work.file) as place:
            found = read_gates(place / work.file.name)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return error
    return tuple(sample for sample in (*found.strategies, *found.refused) if sample)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatedAgain:
    """A recorded acquisition gated again.

    Attributes
    ----------
    files
        A FlowJo workspace and a Gating-ML document with the gates; none where a person drew them, whose own file is kept.
    """

    gated: Gating
    examined: Examined
    files: Mapping[str, bytes]


def gated_as_recorded(folder: LabFolder, analysis: AcquisitionAnalysis) -> GatedAgain:
    """Gate a recorded acquisition again, with a person's gates where it was recorded with them."""
    files = TubeFiles.of(analysis.run.provenance.sources)
    acquisition = read_tube(folder, files)
    examined = examine(acquisition, read_panel(folder.panels / f"{analysis.panel}.toml"))
    corrected = _corrected(folder, files, acquisition, examined, _signed(folder, files))
    if corrected is not None:
        return GatedAgain(gated=corrected.gated, examined=examined, files={})
    written = gate_files(examined.gated, acquisition, file_name=files.instrument.name)
    return GatedAgain(gated=examined.gated, examined=examined, files=written)


def compared_as_recorded(folder: LabFolder, analysis: AcquisitionAnalysis) -> ComparedGates | None:
    """Put a recorded acquisition's corrected gates over those found; None where nobody corrected them."""
    files = TubeFiles.of(analysis.run.provenance.sources)
    if files.gates is None or files.sign_off is None:
        return None
    acquisition = read_tube(folder, files)
    examined = examine(acquisition, read_panel(folder.panels / f"{analysis.panel}.toml"))
    with opened(folder, files.gates) as place:
        strategy = read_gates(place / files.gates.name).strategy_for(Path(files.instrument.name).stem)
    return compared_gates(examined.gated, acquisition, compare_gates(examined.gated, acquisition, strategy))


def read_tube(folder: LabFolder, files: TubeFiles) -> Acquisition:
    """Read the archived bytes of a recorded acquisition."""
    return _events(folder, files, _sidecar(folder, files))


def _sidecar(folder: LabFolder, files: TubeFiles) -> TubeSidecar | None:
    if files.sidecar is None:
        return None
    with opened(folder, files.sidecar) as place:
        return read_tube_sidecar(place / files.sidecar.name)


def _signed(folder: LabFolder, files: TubeFiles) -> SignOff | None:
    if files.sign_off is None:
        return None
    with opened(folder, files.sign_off) as place:
        return read_sign_off(place / files.sign_off.name)


def _events(folder: LabFolder, files: TubeFiles, sidecar: TubeSidecar | None) -> Acquisition:
    with opened(folder, files.instrument) as place:
        return read_fcs(place / files.instrument.name, data_set=None if sidecar is None else sidecar.data_set)


def _analyses(work: AcquisitionWork) -> tuple[Analysis, ...]:
    files = work.files
    with at_fault(*(file.name for file in (files.sidecar,) if file is not None)):
        sidecar = _sidecar(work.folder, files)
    with at_fault(*(file.name for file in (files.sign_off,) if file is not None)):
        signed = _signed(work.folder, files)
    with at_fault(*(file.name for file in (files.instrument, files.sidecar) if file is not None)):
        acquisition = _events(work.folder, files, sidecar)
        tube = tube_of(files.instrument.name, work.definition.identifiers, sidecar)
        tube = with_batch_by_keyword(tube, work.definition.identifiers, acquisition.keywords)
    with at_fault(files.instrument.name):
        if tube.role in UNGATED:
            return () if work.only_if_corrected else (_kept(work, acquisition, tube),)
        if tube.role is TubeRole.CONTROL_PBMC:
            reference = _reference(work.definition, Material.PBMC)
        else:
            tube = replace(tube, accession_id=_accession(acquisition, tube, work))
            materials = tuple(dict.fromkeys(m for panel in work.definition.panels for m in panel.materials))
            raise_all(work.specimens.check(tube.accession_id, materials, f"File '{files.instrument.name}'."))
            reference = _reference(work.definition, work.specimens.material_by_accession[tube.accession_id])
        panel = read_panel(work.folder.panels / f"{reference.name}.toml")
        check_measurands(reference.measurands, panel)
        examined = examine(acquisition, panel)
    with at_fault(*(file.name for file in (files.gates,) if file is not None)):
        corrected = _corrected(work.folder, files, acquisition, examined, signed)
    if work.only_if_corrected and (corrected is None or not corrected.is_changed):
        return ()
    made = _Gated(
        tube=tube,
        reference=reference,
        panel=panel,
        examined=examined,
        corrected=corrected,
        acquired_at=acquisition.acquired_at,
    )
    return (_analysis(work, made),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Corrected:
    """A gating with a person's gates."""

    gated: Gating
    is_changed: bool
    document: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Gated:
    """Everything that is known of a gated tube."""

    tube: Tube
    reference: PanelReference
    panel: Panel
    examined: Examined
    corrected: _Corrected | None
    acquired_at: str


def _corrected(
    folder: LabFolder, files: TubeFiles, acquisition: Acquisition, examined: Examined, signed: SignOff | None
) -> _Corrected | None:
    if files.gates is None or signed is None:
        return None
    with opened(folder, files.gates) as place:
        strategy = read_gates(place / files.gates.name).strategy_for(Path(files.instrument.name).stem)
    comparison = compare_gates(examined.gated, acquisition, strategy)
    return _Corrected(
        gated=corrected_gating(examined.gated, comparison, by=signed.by, reason=signed.reason),
        is_changed=comparison.is_changed,
        document=comparison_document(comparison),
    )


def _analysis(work: AcquisitionWork, made: _Gated) -> AcquisitionAnalysis:
    tube, reference, over_time = made.tube, made.reference, made.examined.over_time
    gated = made.examined.gated if made.corrected is None else made.corrected.gated
    run_id = run_identity(Assay.CYTOMETRY, work.files.instrument.sha256)
    analysis = analyse_gating(
        with_findings(gated, over_time, reference.fixation),
        measurands=reference.measurands,
        accession_id=tube.accession_id,
        run_id=run_id,
        provenance=_provenance(work, tube, declared_inputs(reference, made.panel), _settings(made)),
        acquired_at=made.acquired_at,
    )
    analysis = replace(
        with_warnings_of_the_tube(analysis, removed_events=over_time.removed),
        role=tube.role,
        marker=tube.marker,
        batch=tube.batch,
    )
    return analysis if tube.role is TubeRole.SPECIMEN else _as_control(analysis)


def _as_control(analysis: AcquisitionAnalysis) -> AcquisitionAnalysis:
    """Keep a control's numbers as readings for its chart: they are results of no specimen."""
    day = reading_day(analysis.run.acquired_at)
    readings = control_readings(
        {result.measurand: result for result in analysis.run.results},
        batch=analysis.batch,
        measured_at="" if day is None else day.isoformat(),
    )
    return replace(analysis, run=replace(analysis.run, results=()), readings=readings)


def _kept(work: AcquisitionWork, acquisition: Acquisition, tube: Tube) -> AcquisitionAnalysis:
    """Record a tube that gives no numbers; an FMO with where its negatives end."""
    control = fmo_of(work.folder, work.definition, acquisition, tube) if tube.role is TubeRole.FMO else Fmo()
    run = Run(
        run_id=run_identity(Assay.CYTOMETRY, work.files.instrument.sha256),
        assay=Assay.CYTOMETRY,
        name=acquisition.name,
        acquired_at=acquisition.acquired_at,
        findings=(*acquisition.findings, kept_finding(acquisition.name, tube), *control.findings),
        results=(),
        provenance=_provenance(work, tube, control.inputs, {}),
    )
    return AcquisitionAnalysis(
        run=run,
        panel="",
        events=acquisition.event_count,
        populations=(),
        role=tube.role,
        marker=control.marker or tube.marker,
        batch=tube.batch,
        control_cuts=control.cuts,
    )


def _provenance(work: AcquisitionWork, tube: Tube, inputs: tuple[Input, ...], settings: dict[str, JsonValue]) -> Provenance:
    part: dict[str, JsonValue] = {"role": tube.role.value, "marker": tube.marker, "batch": tube.batch}
    return Provenance(
        sources=work.files.sources,
        inputs=inputs,
        software=software_version(),
        parameters=canonical_json({**settings, "tube": part}),
        computed_at=work.computed_at,
    )


def declared_inputs(reference: PanelReference, panel: Panel) -> tuple[Input, ...]:
    """Name the declarations a specimen's numbers depend on, by their content."""
    measured = [measurand.model_dump(mode="json") for measurand in reference.measurands]
    inputs = [
        Input(kind="panel", name=panel.name, sha256=content_digest(panel.model_dump(mode="json"))),
        Input(kind="measurands", name=reference.name, sha256=content_digest(measured)),
    ]
    if reference.fixation is not None:
        declared = content_digest(reference.fixation.model_dump(mode="json"))
        inputs.append(Input(kind="fixation", name=reference.name, sha256=declared))
    return tuple(inputs)


def _settings(made: _Gated) -> dict[str, JsonValue]:
    settings = parameters(made.panel)
    assert isinstance(settings, dict), "parameters are named"
    return settings if made.corrected is None else {**settings, "corrected_gates": made.corrected.document}


def _accession(acquisition: Acquisition, tube: Tube, work: AcquisitionWork) -> str:
    """Find whose tube this is by its name or sidecar, and by its keyword; where both speak they must agree."""
    patterns, name = work.definition.identifiers, work.files.instrument.name
    keyword = acquisition.keywords.get(patterns.fcs_keyword.upper(), "").strip()
    by_keyword = keyword if is_accession_id(patterns, keyword) else None
    if tube.accession_id and by_keyword and tube.accession_id != by_keyword:
        raise IdentifierError(
            what=f"The file's name or sidecar says accession '{tube.accession_id}', its keyword {patterns.fcs_keyword} "
            f"says '{by_keyword}'.",
            where=f"File '{name}'.",
            remedy="Find out whose tube it is; rename the file or correct the keyword in the acquisition software.",
        )
    found = tube.accession_id or by_keyword
    if not found:
        raise IdentifierError(
            what="Neither the file's name nor a keyword says whose tube it is.",
            where=f"File '{name}'.",
            remedy=f"Name it '{patterns.fcs_file}', write the keyword {patterns.fcs_keyword}, or drop a sidecar "
            "of the same name with its accession_id, or with its role if it is a control.",
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
