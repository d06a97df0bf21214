"""Slides, in child processes: look at a slide as a whole, measure its tiles, join them into scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from biomarkers.errors import BiomarkersError, IdentifierError
from biomarkers.ihc.analysis import TileMeasurement, measure_tiles, parameters, score_slide
from biomarkers.ihc.calibration import SlideCalibration, TileTask, calibrate_slide, tile_tasks
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.slide import SlideImage
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest, software_version
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.slides import open_slide
from biomarkers.readers.stain_protocols import packaged_protocol
from biomarkers.results import Assay, run_identity
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import SlideName, slide_from_name
from biomarkers.study.tissue import StainReference
from flows.work import Analysed, Analysis, Refused, Specimens, WorkFile, at_fault, opened, outcome_of, raise_all


class SlideSidecar(BaseModel):
    """What a sidecar beside a slide may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accession_id: str | None = None
    stain: str | None = None
    pixel_size_um: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideWork:
    """A slide, with the sidecar beside it where there is one."""

    folder: LabFolder
    file: WorkFile
    sidecar: WorkFile | None
    definition: StudyDefinition
    specimens: Specimens
    computed_at: datetime

    @property
    def files(self) -> tuple[WorkFile, ...]:
        """The slide and its sidecar."""
        return (self.file,) if self.sidecar is None else (self.file, self.sidecar)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlidePlan:
    """A slide looked at as a whole, with the tiles to be measured."""

    work: SlideWork
    accession_id: str
    reference: StainReference
    protocol: StainProtocol
    pixel_size_um: float | None
    calibration: SlideCalibration
    tasks: tuple[TileTask, ...]


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


def plan_slide(work: SlideWork) -> SlidePlan | Refused:
    """Find whose section this is and how it was stained, and what is to be measured."""
    plans: list[SlidePlan] = []

    def plan() -> tuple[()]:
        plans.append(_plan(work))
        return ()

    outcome = outcome_of(plan)
    return outcome if isinstance(outcome, Refused) else plans[0]


def _plan(work: SlideWork) -> SlidePlan:
    name = work.file.name
    with opened(work.folder, *work.files) as place:
        sidecar = SlideSidecar()
        if work.sidecar is not None:
            with at_fault(work.sidecar.name):
                sidecar = read_declaration(place / work.sidecar.name, SlideSidecar)
        with at_fault(name):
            identity = _identity(work, sidecar)
            reference = work.definition.stain(identity.stain)
            if reference is None:
                known = ", ".join(stain.code for stain in work.definition.stains)
                raise IdentifierError(
                    what=f"Stain '{identity.stain}' is not declared in study.toml.",
                    where=f"File '{name}'.",
                    remedy=f"Use one of {known} in the file's name, or declare the stain.",
                )
            raise_all(work.specimens.check(identity.accession_id, reference.materials, f"File '{name}'."))
            protocol = packaged_protocol(reference.protocol)
            with open_slide(place / name, pixel_size_um=sidecar.pixel_size_um) as slide:
                calibration = calibrate_slide(slide, protocol)
    return SlidePlan(
        work=work,
        accession_id=identity.accession_id,
        reference=reference,
        protocol=protocol,
        pixel_size_um=sidecar.pixel_size_um,
        calibration=calibration,
        tasks=tile_tasks(calibration, protocol),
    )


def _identity(work: SlideWork, sidecar: SlideSidecar) -> SlideName:
    if sidecar.accession_id and sidecar.stain:
        return SlideName(accession_id=sidecar.accession_id, stain=sidecar.stain)
    named = slide_from_name(work.definition.identifiers, work.file.name)
    for said, by_name in ((sidecar.accession_id, named.accession_id), (sidecar.stain, named.stain)):
        if said and said.casefold() != by_name.casefold():
            raise IdentifierError(
                what=f"The sidecar says '{said}', the file's name says '{by_name}'.",
                where=f"File '{work.file.name}'.",
                remedy="Find out which is right and correct the other.",
            )
    return named


def tile_works(plan: SlidePlan, tiles_a_work: int) -> tuple[TileWork, ...]:
    """Cut a slide's tiles into pieces of work."""
    tasks = plan.tasks
    return tuple(TileWork(plan=plan, tasks=tasks[start : start + tiles_a_work]) for start in range(0, len(tasks), tiles_a_work))


def measure_slide_tiles(work: TileWork) -> tuple[TileMeasurement, ...] | Refused:
    """Measure some tiles; this process opens the slide for itself."""
    plan = work.plan

    @contextmanager
    def opener() -> Iterator[SlideImage]:
        with (
            opened(plan.work.folder, plan.work.file) as place,
            open_slide(place / plan.work.file.name, pixel_size_um=plan.pixel_size_um) as slide,
        ):
            yield slide

    try:
        return measure_tiles(opener, work.tasks, plan.calibration.optics, plan.protocol)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return Refused(error=error, files=(plan.work.file.name,))


def score_slide_file(work: ScoreWork) -> Analysed | Refused:
    """Join the tiles of a slide into its scores."""
    plan = work.plan
    sources = [Source(role="instrument", name=plan.work.file.name, sha256=plan.work.file.sha256)]
    if plan.work.sidecar is not None:
        sources.append(Source(role="sidecar", name=plan.work.sidecar.name, sha256=plan.work.sidecar.sha256))
    provenance = Provenance(
        sources=tuple(sources),
        inputs=(
            Input(
                kind="stain_protocol",
                name=plan.protocol.stain,
                sha256=content_digest(plan.protocol.model_dump(mode="json")),
            ),
            Input(kind="scores", name=plan.reference.code, sha256=content_digest(list(plan.reference.scores))),
        ),
        software=software_version(),
        parameters=canonical_json(parameters(plan.protocol)),
        computed_at=plan.work.computed_at,
    )

    def scored() -> tuple[Analysis, ...]:
        with at_fault(plan.work.file.name):
            return (
                score_slide(
                    work.measurements,
                    plan.calibration,
                    plan.protocol,
                    scores=plan.reference.scores,
                    accession_id=plan.accession_id,
                    run_id=run_identity(Assay.IHC, plan.work.file.sha256),
                    provenance=provenance,
                ),
            )

    return outcome_of(scored)
