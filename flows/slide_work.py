"""Slides, in child processes: look at a slide as a whole, measure its tiles, join them into scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from biomarkers.errors import BiomarkersError, Fault, IdentifierError, StudyDefinitionError
from biomarkers.ihc.analysis import SlideAnalysis, StudyScore, TileMeasurement, measure_tiles, parameters, score_slide
from biomarkers.ihc.batches import judge_negative_control, judge_positive_control
from biomarkers.ihc.calibration import SlideCalibration, TileTask, calibrate_slide, coarse_picture, tile_tasks
from biomarkers.ihc.classes import CellClass
from biomarkers.ihc.labels import measure_labels
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.slide import SlideImage, working_scale
from biomarkers.ihc.stains import find_white_point
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.annotations import read_annotations
from biomarkers.readers.label_images import read_label_classes, read_label_image
from biomarkers.readers.slide_sidecars import read_slide_sidecar
from biomarkers.readers.slides import open_slide
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.reports.slide_files import slide_files
from biomarkers.results import Assay, Finding, Run, Severity, run_identity
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.slides import SlideIdentity, SlideSidecar, slide_of
from biomarkers.study.tissue import SlideRole, StainReference
from flows.work import Analysed, Analysis, Refused, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all, sparing_files

HE_OVERVIEW_UM = 8.0
"""Pixels from which the white of a section that is kept and not scored is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideWork:
    """A slide with what lies beside it.

    Attributes
    ----------
    sidecar
        What it says of the slide.
    annotation
        Regions drawn on it.
    labels, classes
        Nuclei that another program found on it, and what they are.
    signature
        By which somebody answers for the annotation; kept as a source, and not read again.
    """

    folder: LabFolder
    file: WorkFile
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime
    sidecar: WorkFile | None = None
    annotation: WorkFile | None = None
    labels: WorkFile | None = None
    classes: WorkFile | None = None
    signature: WorkFile | None = None

    @property
    def files(self) -> tuple[WorkFile, ...]:
        """The files that are read before anything is measured, the slide first."""
        beside = (self.sidecar, self.annotation, self.classes)
        return tuple(file for file in (self.file, *beside) if file is not None)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every file the results come from, with its role."""
        by_role = {
            "instrument": self.file,
            "sidecar": self.sidecar,
            "annotation": self.annotation,
            "labels": self.labels,
            "classes": self.classes,
            "signature": self.signature,
        }
        return tuple(
            Source(role=role, name=file.name, sha256=file.sha256) for role, file in by_role.items() if file is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlidePlan:
    """A slide looked at as a whole, with the tiles to be measured."""

    work: SlideWork
    identity: SlideIdentity
    reference: StainReference
    protocol: StainProtocol
    pixel_size_um: float | None
    calibration: SlideCalibration
    tasks: tuple[TileTask, ...]
    annotations: tuple[Annotation, ...]
    scanner: str = ""
    class_by_label: Mapping[int, CellClass] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileWork:
    """Some tiles of a slide."""

    plan: SlidePlan
    tasks: tuple[TileTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreWork:
    """All tiles of a slide, measured."""

    plan: SlidePlan
    measurements: tuple[TileMeasurement, ...]


def plan_slide(work: SlideWork) -> SlidePlan | Analysed | Refused:
    """Find what the slide is and how it was stained, and what is to be measured; a section not scored is done with that."""
    plans: list[SlidePlan] = []

    def plan() -> tuple[Analysis, ...]:
        planned = _plan(work)
        if isinstance(planned, SlidePlan):
            plans.append(planned)
            return ()
        return (planned,)

    outcome = outcome_of(plan)
    return plans[0] if plans else outcome


def _plan(work: SlideWork) -> SlidePlan | SlideAnalysis:
    name = work.file.name
    with opened(work.folder, *work.files) as place:
        sidecar = SlideSidecar()
        if work.sidecar is not None:
            with at_fault(work.sidecar.name):
                sidecar = read_slide_sidecar(place / work.sidecar.name)
        with at_fault(name):
            identity = slide_of(name, work.definition.identifiers, sidecar)
            if identity.role is SlideRole.HE:
                raise_all(_accession_faults(work, identity))
                with open_slide(place / name, pixel_size_um=sidecar.pixel_size_um) as slide:
                    return _kept(work, identity, slide)
            reference = _reference(work, identity)
            if identity.role is SlideRole.SPECIMEN:
                raise_all(work.specimens.check(identity.accession_id, reference.materials, f"File '{name}'."))
            protocol = _protocol(work, reference)
            with open_slide(place / name, pixel_size_um=sidecar.pixel_size_um) as slide:
                size = slide.levels[0].width, slide.levels[0].height
                calibration = calibrate_slide(slide, protocol)
                scanner = sidecar.scanner or slide.scanner
        annotations: tuple[Annotation, ...] = ()
        if work.annotation is not None:
            with at_fault(work.annotation.name):
                annotations = read_annotations(place / work.annotation.name, width=size[0], height=size[1])
        class_by_label = None
        if work.classes is not None:
            with at_fault(work.classes.name):
                class_by_label = read_label_classes(place / work.classes.name)
    return SlidePlan(
        work=work,
        identity=identity,
        reference=reference,
        protocol=protocol,
        pixel_size_um=sidecar.pixel_size_um,
        calibration=calibration,
        tasks=tile_tasks(calibration, protocol),
        annotations=annotations,
        scanner=scanner,
        class_by_label=class_by_label,
    )


def _reference(work: SlideWork, identity: SlideIdentity) -> StainReference:
    reference = work.definition.stain(identity.stain)
    if reference is None:
        known = ", ".join(stain.code for stain in work.definition.stains)
        raise IdentifierError(
            what=f"Stain '{identity.stain}' is not declared in study.toml.",
            where=f"File '{work.file.name}'.",
            remedy=f"Use one of {known} in the file's name, or declare the stain.",
        )
    return reference


def _protocol(work: SlideWork, reference: StainReference) -> StainProtocol:
    protocol = protocol_named(reference.protocol, work.folder.stain_protocols)
    if protocol.stain != reference.code:
        raise StudyDefinitionError(
            what=f"The protocol '{reference.protocol}' is one of stain '{protocol.stain}', not of '{reference.code}'.",
            where=f"File '{work.file.name}'.",
            remedy="Correct the stain in the laboratory's own protocol, or name another protocol in study.toml.",
        )
    return protocol


def _accession_faults(work: SlideWork, identity: SlideIdentity) -> Iterator[Fault]:
    """Find what speaks against a section that is kept and not scored; one that names no specimen belongs to nobody."""
    known = work.specimens.material_by_accession.get(identity.accession_id)
    if identity.accession_id:
        yield from work.specimens.check(identity.accession_id, () if known is None else (known,), f"File '{work.file.name}'.")


def _kept(work: SlideWork, identity: SlideIdentity, slide: SlideImage) -> SlideAnalysis:
    """Record a section that is not scored."""
    scale = working_scale(slide, target_um=HE_OVERVIEW_UM, assumed_pixel_size_um=HE_OVERVIEW_UM)
    white = find_white_point(coarse_picture(slide, scale, 1))
    return SlideAnalysis(
        run=Run(
            run_id=run_identity(Assay.IHC, work.file.sha256),
            assay=Assay.IHC,
            name=slide.name,
            acquired_at=slide.acquired_at,
            findings=slide.findings,
            results=(),
            provenance=Provenance(
                sources=work.sources,
                inputs=(_role_input(identity),),
                software=software_version(),
                parameters=canonical_json({"overview_pixel_um": HE_OVERVIEW_UM}),
                computed_at=work.computed_at,
            ),
        ),
        stain=identity.stain,
        pixel_size_um=slide.pixel_size_um,
        stain_vectors={},
        white_point=white.rgb,
        scores=(),
        role=identity.role,
        accession_id=identity.accession_id,
        section=identity.section,
        batch=identity.batch,
        scanner=slide.scanner,
    )


def _role_input(identity: SlideIdentity) -> Input:
    digest = content_digest([identity.role, identity.accession_id, identity.section, identity.batch])
    return Input(kind="role", name=identity.role, sha256=digest)


def tile_works(plan: SlidePlan, tiles_a_work: int) -> tuple[TileWork, ...]:
    """Cut a slide's tiles into pieces of work; a label image is read once, so all tiles it covers are one piece."""
    tasks = plan.tasks
    if plan.work.labels is not None:
        return (TileWork(plan=plan, tasks=tasks),)
    return tuple(TileWork(plan=plan, tasks=tasks[start : start + tiles_a_work]) for start in range(0, len(tasks), tiles_a_work))


def measure_slide_tiles(work: TileWork) -> tuple[TileMeasurement, ...] | Refused:
    """Measure some tiles; this process opens the slide for itself."""
    plan = work.plan
    if plan.work.labels is not None:
        return _measured_by_labels(plan, plan.work.labels)

    @contextmanager
    def opener() -> Iterator[SlideImage]:
        with (
            opened(plan.work.folder, plan.work.file) as place,
            open_slide(place / plan.work.file.name, pixel_size_um=plan.pixel_size_um) as slide,
        ):
            yield slide

    try:
        with sparing_files():
            return measure_tiles(opener, work.tasks, plan.calibration.optics, plan.protocol)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return Refused(error=error, files=(plan.work.file.name,))


def _measured_by_labels(plan: SlidePlan, labels: WorkFile) -> tuple[TileMeasurement, ...] | Refused:
    """Measure the cells that another program found."""
    blamed = labels.name
    try:
        with (
            sparing_files(),
            opened(plan.work.folder, plan.work.file, labels) as place,
            open_slide(place / plan.work.file.name, pixel_size_um=plan.pixel_size_um) as slide,
        ):
            level = slide.levels[0]
            labelled = read_label_image(place / labels.name, width=level.width, height=level.height)
            labelled = replace(labelled, class_by_label=plan.class_by_label)
            blamed = plan.work.file.name
            return tuple(measure_labels(slide, task, plan.calibration.optics, plan.protocol, labelled) for task in plan.tasks)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return Refused(error=error, files=(blamed,))


def score_slide_file(work: ScoreWork) -> Analysed | Refused:
    """Join the tiles of a slide into its scores; a control slide is judged, and reports none."""
    plan = work.plan
    role = plan.identity.role
    scores: tuple[StudyScore, ...] = plan.reference.scores if role is SlideRole.SPECIMEN else ()
    provenance = Provenance(
        sources=plan.work.sources,
        inputs=(
            Input(
                kind="stain_protocol",
                name=plan.reference.code,
                sha256=plan.protocol.digest(),
            ),
            Input(kind="scores", name=plan.reference.code, sha256=content_digest(list(scores))),
            *((_role_input(plan.identity),) if _says_more(plan.identity) else ()),
        ),
        software=software_version(),
        parameters=canonical_json(parameters(plan.protocol)),
        computed_at=plan.work.computed_at,
    )

    def scored() -> tuple[Analysis, ...]:
        with at_fault(*(file.name for file in (plan.work.file, plan.work.annotation) if file is not None)):
            analysis = score_slide(
                work.measurements,
                plan.calibration,
                plan.protocol,
                scores=scores,
                accession_id=plan.identity.accession_id,
                run_id=run_identity(Assay.IHC, plan.work.file.sha256),
                provenance=provenance,
                annotations=plan.annotations,
                known_classes=None if plan.class_by_label is None else set(plan.class_by_label.values()),
            )
            return (_judged(_told(analysis, plan), plan),)

    return outcome_of(scored)


def _says_more(identity: SlideIdentity) -> bool:
    """Whether anything but specimen and stain is known, which name and study.toml may say and results do not hold."""
    return identity.role is not SlideRole.SPECIMEN or bool(identity.section or identity.batch)


def _told(analysis: SlideAnalysis, plan: SlidePlan) -> SlideAnalysis:
    """Put whose section it is, and which, beside what was measured; and say so where another program found the cells."""
    identity, labels = plan.identity, plan.work.labels
    run = analysis.run if labels is None else replace(analysis.run, findings=(*analysis.run.findings, _elsewhere(labels)))
    return replace(
        analysis,
        run=run,
        role=identity.role,
        accession_id=identity.accession_id,
        section=identity.section,
        batch=identity.batch,
        scanner=plan.scanner,
    )


def _elsewhere(labels: WorkFile) -> Finding:
    return Finding(
        code="CELLS_FOUND_ELSEWHERE",
        severity=Severity.NOTE,
        where=f"File '{labels.name}'.",
        message="The nuclei are those of a label image made by another program; stains, cut-offs and areas are found here.",
        remedy="Nothing to do.",
    )


def _judged(analysis: SlideAnalysis, plan: SlidePlan) -> SlideAnalysis:
    """Say of a control slide what it shows."""
    judges = {SlideRole.POSITIVE_CONTROL: judge_positive_control, SlideRole.NEGATIVE_CONTROL: judge_negative_control}
    judge = judges.get(plan.identity.role)
    if judge is None:
        return analysis
    verdict = judge(analysis, plan.protocol.controls)
    run = replace(analysis.run, findings=(*analysis.run.findings, *verdict.findings))
    return replace(analysis, run=run)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideFilesWork:
    """A recorded slide with what was measured on it."""

    plan: SlidePlan
    measurements: tuple[TileMeasurement, ...]
    analysis: SlideAnalysis


def slide_evidence(work: SlideFilesWork) -> Mapping[str, bytes]:
    """Draw a slide's evidence, in a child process that opens the slide once more: page, cells, overlays."""
    plan = work.plan
    with (
        opened(plan.work.folder, plan.work.file) as place,
        open_slide(place / plan.work.file.name, pixel_size_um=plan.pixel_size_um) as slide,
    ):
        return slide_files(
            work.analysis,
            slide,
            plan.calibration,
            plan.protocol,
            work.measurements,
            annotations=plan.annotations,
            are_found_elsewhere=plan.work.labels is not None,
        )
