"""Slides as a pathologist reads them: a subject's visits side by side, with what is unsure and what was decided.

Knows slides, their control slides and the decisions about them. Must not compute a score, know requests, nor an arm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from biomarkers.errors import StoreError
from biomarkers.ihc.analysis import ScoreRecord, SlideAnalysis
from biomarkers.laboratory import Laboratory
from biomarkers.provenance import utc_now
from biomarkers.readers.cell_places import TellingField, telling_field
from biomarkers.results import Finding
from biomarkers.store import alignments, audit, lookups, signatures
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.results import read_analysis
from biomarkers.store.signatures import Standing
from biomarkers.store.slides import StoredSlide, results_on_slides, stored_slides
from biomarkers.study.tissue import SlideRole
from biomarkers.web.slides_kept import SlideKeeper

FIELD_PX = 640
"""Side of a field, as the quality page shows it: a screen without zooming."""

REDRAW_ASKED = "slide.redraw_asked"
_EVENTS = 5000
_CONTROLS = (SlideRole.POSITIVE_CONTROL, SlideRole.NEGATIVE_CONTROL)


class Verdict(StrEnum):
    """What a pathologist says of a slide's scores."""

    ACCEPT = "accept"
    REDRAW = "redraw"
    NOT_EVALUABLE = "not_evaluable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said last of a slide as it stands, by whom and why; ``word`` is empty where nobody has."""

    word: str
    reason: str = ""
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlShown:
    """A control slide stained together with a slide, and what was found about it."""

    run_id: str
    name: str
    kind: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionShown:
    """One slide as the page shows it."""

    slide: StoredSlide
    scores: tuple[ScoreRecord, ...]
    findings: tuple[str, ...]
    controls: tuple[ControlShown, ...]
    field: TellingField | None
    said: Said
    standing: Standing
    has_regions: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StainRow:
    """A stain of one subject: its slides by visit."""

    stain: str
    by_visit: Mapping[str, tuple[SectionShown, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectShown:
    """A subject with the stains of its tissue."""

    subject_id: str
    rows: tuple[StainRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Which specimen slides there are, by subject, and all control slides."""

    by_subject: Mapping[str, tuple[tuple[str, StoredSlide], ...]]
    controls: tuple[StoredSlide, ...]
    said: Mapping[str, Said]


def index(laboratory: Laboratory) -> Index:
    """Find the specimen slides of every subject with their visit, the control slides, and what was said of each slide."""
    with laboratory.database.read() as reading:
        slides = stored_slides(reading)
        aligned = alignments.current(reading)
        places = {} if aligned is None else {one.accession_id: (one.subject_id, one.visit or "") for one in aligned.alignments}
        said = _said(reading, slides)
    found: dict[str, list[tuple[str, StoredSlide]]] = {}
    for one in slides:
        if one.role is SlideRole.SPECIMEN and one.accession_id in places:
            subject, visit = places[one.accession_id]
            found.setdefault(subject, []).append((visit, one))
    return Index(
        by_subject={subject: tuple(found[subject]) for subject in sorted(found)},
        controls=tuple(one for one in slides if one.role in _CONTROLS),
        said=said,
    )


def _said(reading: Reading, slides: Sequence[StoredSlide]) -> Mapping[str, Said]:
    """Take the last decision about a slide's current results, or a wish for other regions where that came later."""
    run_ids = {one.run_id for one in slides}
    found: dict[str, Said] = {}
    for run_id, decision in lookups.last_decisions_by_run(reading, assay="ihc").items():
        word = {Decision.REPORTABLE.value: "accepted", Decision.EXCLUDED.value: "not evaluable"}.get(
            decision.decision, "repeated"
        )
        if run_id in run_ids:
            found[run_id] = Said(word=word, reason=decision.reason, by=decision.decided_by, at=decision.decided_at)
    for event in reversed(lookups.latest_events(reading, before=None, action=REDRAW_ASKED, limit=_EVENTS)):
        before = found.get(event.entity)
        if event.entity in run_ids and (before is None or before.at is None or before.at <= event.at):
            found[event.entity] = Said(word="to be redrawn", reason=event.reason, by=event.actor, at=event.at)
    return found


def shown(laboratory: Laboratory, keeper: SlideKeeper, found: Index, subject_id: str, *, stain: str = "") -> SubjectShown:
    """Gather what is shown of one subject."""
    own = [(visit, one) for visit, one in found.by_subject.get(subject_id, ()) if stain in {"", one.stain}]
    stains = list(dict.fromkeys(one.stain for _, one in own))
    with laboratory.database.read() as reading:
        signed = signatures.signatures(reading, run_ids=[one.run_id for _, one in own])
        sections = {one.run_id: _section(reading, keeper, found, one, signed) for _, one in own}
    rows = []
    for code in sorted(stains):
        by_visit: dict[str, list[SectionShown]] = {}
        for visit, one in own:
            if one.stain == code:
                by_visit.setdefault(visit, []).append(sections[one.run_id])
        rows.append(StainRow(stain=code, by_visit={visit: tuple(several) for visit, several in by_visit.items()}))
    return SubjectShown(subject_id=subject_id, rows=tuple(rows))


def _section(
    reading: Reading,
    keeper: SlideKeeper,
    found: Index,
    slide: StoredSlide,
    signed: Mapping[str, tuple[signatures.Signature, ...]],
) -> SectionShown:
    analysis = read_analysis(reading, analysis_id=slide.analysis_id)
    assert isinstance(analysis, SlideAnalysis)
    codes = [one.code for one in analysis.run.findings]
    codes += [one.code for score in analysis.scores for one in score.findings]
    codes += [one.code for result in analysis.run.results for one in result.findings]
    said = found.said.get(slide.run_id, Said(word=""))
    if said.word == "to be redrawn" and said.at is not None and said.at < analysis.run.provenance.computed_at:
        said = Said(word="", reason=said.reason, by=said.by, at=said.at)  # it was: what is shown now comes after the wish
    return SectionShown(
        slide=slide,
        scores=analysis.scores,
        findings=tuple(dict.fromkeys(codes)),
        controls=tuple(_control(reading, one) for one in _controls_of(found.controls, slide)),
        field=_field(keeper, analysis),
        said=said,
        standing=signatures.standing(signed.get(slide.run_id, ())),
        has_regions=any(one.role == "annotation" for one in slide.sources),
    )


def _controls_of(controls: Sequence[StoredSlide], slide: StoredSlide) -> list[StoredSlide]:
    """Return the control slides of a slide's own batch; without a batch there is none that could be said to be its own."""
    return [one for one in controls if slide.batch and (one.batch, one.stain) == (slide.batch, slide.stain)]


def _control(reading: Reading, control: StoredSlide) -> ControlShown:
    findings = read_analysis(reading, analysis_id=control.analysis_id).run.findings
    kind = "positive" if control.role is SlideRole.POSITIVE_CONTROL else "negative"
    told = tuple(one for one in findings if one.code.startswith("CONTROL_"))
    return ControlShown(run_id=control.run_id, name=control.name, kind=kind, findings=told)


def _field(keeper: SlideKeeper, analysis: SlideAnalysis) -> TellingField | None:
    cells, cutoff = keeper.cells(analysis.run.run_id), _cutoff(analysis)
    return None if cells is None or cutoff is None else telling_field(cells, cutoff_od=cutoff, side_px=FIELD_PX)


def _cutoff(analysis: SlideAnalysis) -> float | None:
    """Return the optical density from which a cell counted as 1+ on this slide."""
    try:
        first = json.loads(analysis.run.provenance.parameters)["stain_protocol"]["scoring"]["cutoffs"][0]
    except (ValueError, LookupError, TypeError):
        return None
    return float(first) if isinstance(first, int | float) else None


def decide(laboratory: Laboratory, run_id: str, verdict: Verdict, *, reason: str, by: str) -> None:
    """Record what a pathologist says of a slide: its results count, do not count, or other regions are wished for.

    Raises
    ------
    StoreError
        There is no such slide, or it has no results to decide about.
    """
    with laboratory.database.write() as transaction:
        slide = next((one for one in stored_slides(transaction) if one.run_id == run_id), None)
        result_ids = results_on_slides(transaction, run_ids=[run_id])
        if slide is None or not result_ids:
            raise StoreError(
                what="There is no such slide with results.", where=f"Run '{run_id}'.", remedy="Open it from the list of runs."
            )
        now = utc_now()
        if verdict is Verdict.REDRAW:
            audit.append(
                transaction,
                at=now,
                actor=by,
                action=REDRAW_ASKED,
                entity=run_id,
                detail={"slide": slide.name, "results": len(result_ids)},
                reason=reason,
            )
            return
        decision = Decision.REPORTABLE if verdict is Verdict.ACCEPT else Decision.EXCLUDED
        said = reason if verdict is Verdict.ACCEPT else f"Not evaluable: {reason}"
        for result_id in result_ids:
            dispose(transaction, result_id=result_id, decision=decision, reason=said, decided_by=by, decided_at=now)
