"""Slides of a laboratory by stain batch: what the control slides show, and how far each slide's stains have drifted.

Knows which slides were stained together and by which protocol controls are judged. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.ihc.batches import (
    ControlVerdict,
    StainedSlide,
    VectorDrift,
    batch_findings,
    judge_negative_control,
    judge_positive_control,
    vector_drift,
)
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.lab.folders import LabFolder
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.results import Finding
from biomarkers.store.database import Reading
from biomarkers.store.results import read_analysis
from biomarkers.store.slides import StoredSlide, stored_slides
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.tissue import SlideRole


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StainBatch:
    """Slides of one stain that were stained together.

    Attributes
    ----------
    slides
        Specimens and controls, in the order in which they were recorded.
    verdicts
        Of the control slides, by today's protocol.
    drifts
        Of each slide, in the order of ``slides``; empty where there are too few to tell.
    findings
        What the control slides say of every specimen of the batch.
    """

    stain: str
    batch: str
    protocol: StainProtocol
    slides: tuple[StoredSlide, ...]
    verdicts: tuple[ControlVerdict, ...]
    drifts: tuple[VectorDrift, ...]
    findings: tuple[Finding, ...]

    @property
    def specimens(self) -> tuple[StoredSlide, ...]:
        """Slides whose results hang on the batch's controls."""
        return tuple(slide for slide in self.slides if slide.role is SlideRole.SPECIMEN)


def stain_batches(reading: Reading, folder: LabFolder, definition: StudyDefinition) -> tuple[StainBatch, ...]:
    """Gather all slides whose batch is known, by stain and batch."""
    grouped: dict[tuple[str, str], list[StoredSlide]] = {}
    for slide in stored_slides(reading):
        if slide.batch and slide.role is not SlideRole.HE:
            grouped.setdefault((slide.stain.casefold(), slide.batch.casefold()), []).append(slide)
    batches = []
    for members in grouped.values():
        reference = definition.stain(members[0].stain)
        if reference is not None:
            protocol = protocol_named(reference.protocol, folder.stain_protocols)
            batches.append(_batch(reading, members, protocol))
    return tuple(sorted(batches, key=lambda one: (one.stain, one.batch)))


def _batch(reading: Reading, members: list[StoredSlide], protocol: StainProtocol) -> StainBatch:
    # Neither the order of arrival nor the spelling of whoever came first may show in what is said.
    members.sort(key=lambda slide: (slide.acquired_at, slide.name, slide.run_id))
    batch = min(slide.batch for slide in members)
    verdicts = tuple(_verdicts(reading, members, protocol))
    return StainBatch(
        stain=protocol.stain,
        batch=batch,
        protocol=protocol,
        slides=tuple(members),
        verdicts=verdicts,
        drifts=vector_drift([_stained(slide, protocol) for slide in members]),
        findings=batch_findings(batch, protocol.stain, verdicts),
    )


def _verdicts(reading: Reading, members: Iterable[StoredSlide], protocol: StainProtocol) -> Iterable[ControlVerdict]:
    judges = {SlideRole.POSITIVE_CONTROL: judge_positive_control, SlideRole.NEGATIVE_CONTROL: judge_negative_control}
    for slide in members:
        judge = judges.get(slide.role)
        if judge is not None:
            analysis = read_analysis(reading, analysis_id=slide.analysis_id)
            assert isinstance(analysis, SlideAnalysis), "stored slides are slides"
            yield judge(analysis, protocol.controls)


def _stained(slide: StoredSlide, protocol: StainProtocol) -> StainedSlide:
    """Keep the directions that were found on the slide itself; the protocol's own would hide a drift."""
    found = {
        stain: slide.stain_vectors[stain]
        for stain, angle in slide.stain_angles_deg.items()
        if angle <= protocol.directions.largest_angle_deg and stain in slide.stain_vectors
    }
    return StainedSlide(name=slide.name, stain=slide.stain, vectors=found)
