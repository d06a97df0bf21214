"""Slides as recorded: which part each plays, whose section it shows, how it was stained, and what was decided about it.

Knows how they lie in the tables. Must not know how slides are pooled or judged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select

from biomarkers.provenance import Provenance, Source
from biomarkers.results import Assay
from biomarkers.store.current import first_numbers, is_current, is_measured
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.records import record_of
from biomarkers.store.schema import analysis, derived_from, disposition, result, slide, source_file
from biomarkers.study.tissue import SlideRole


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredSlide:
    """A slide, as its current analysis has it.

    Attributes
    ----------
    section
        Which of several sections of the specimen; empty where there is but one.
    batch, scanner
        Slides stained together, and what scanned this one; empty where nobody said.
    stain_vectors, stain_angles_deg
        Directions in optical density by stain, and the angle of those found on the slide to the protocol's; absent where too
        few pixels are stained.
    ordinal
        Place of the run by when it was first recorded.
    """

    run_id: str
    analysis_id: str
    name: str
    role: SlideRole
    stain: str
    accession_id: str
    section: str
    batch: str
    scanner: str
    acquired_at: str
    received_at: datetime
    ordinal: int
    stain_vectors: Mapping[str, tuple[float, float, float]]
    stain_angles_deg: Mapping[str, float]
    sources: tuple[Source, ...]
    protocol_sha256: str

    @property
    def shown(self) -> tuple[str, str, str]:
        """What a further scan of the same section has in common with it: specimen, stain, section."""
        return (self.accession_id, self.stain.casefold(), self.section.casefold())


def stored_slides(reading: Reading, *, accession_id: str | None = None) -> tuple[StoredSlide, ...]:
    """Return all slides, or those with results of one specimen, in the order in which they were first recorded."""
    firsts = first_numbers()
    of_specimen = (
        []
        if accession_id is None
        else [exists().where(result.c.analysis_id == analysis.c.analysis_id, result.c.accession_id == accession_id)]
    )
    query = (
        select(analysis, firsts.c.first, slide.c.stain, slide.c.stain_vectors, source_file.c.received_at)
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .join(slide, slide.c.analysis_id == analysis.c.analysis_id)
        .join(source_file, source_file.c.sha256 == analysis.c.instrument_sha256)
        .where(is_current(), is_measured(), analysis.c.assay == Assay.IHC.value, *of_specimen)
        .order_by(firsts.c.first)
    )
    found = []
    for row in reading.connection.execute(query):
        provenance = record_of(Provenance, row.provenance)
        more = row.more
        found.append(
            StoredSlide(
                run_id=row.run_id,
                analysis_id=row.analysis_id,
                name=row.name,
                role=SlideRole(more.get("role", SlideRole.SPECIMEN)),
                stain=row.stain,
                accession_id=more.get("accession_id", ""),
                section=more.get("section", ""),
                batch=more.get("batch", ""),
                scanner=more.get("scanner", ""),
                acquired_at=row.acquired_at,
                received_at=row.received_at,
                ordinal=row.first,
                stain_vectors={name: (vector[0], vector[1], vector[2]) for name, vector in row.stain_vectors.items()},
                stain_angles_deg=more.get("stain_angles_deg") or {},
                sources=provenance.sources,
                protocol_sha256=next((one.sha256 for one in provenance.inputs if one.kind == "stain_protocol"), ""),
            )
        )
    return tuple(found)


def decisions_on_slides(reading: Reading, *, run_ids: Collection[str]) -> Mapping[str, Decision]:
    """Return the last decision about each current result of some slides, by result, whether or not its place is taken."""
    last = select(func.max(disposition.c.id)).group_by(disposition.c.result_id)
    query = (
        select(disposition.c.result_id, disposition.c.decision)
        .join(result, result.c.result_id == disposition.c.result_id)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .where(disposition.c.id.in_(last), is_current(), is_measured(), is_one_of(result.c.run_id, run_ids))
    )
    return {row.result_id: Decision(row.decision) for row in reading.connection.execute(query)}


def results_on_slides(reading: Reading, *, run_ids: Collection[str]) -> tuple[str, ...]:
    """Return the current results of some slides, whether or not their place is taken."""
    query = (
        select(result.c.result_id)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .where(is_current(), is_measured(), is_one_of(result.c.run_id, run_ids))
        .order_by(result.c.analysis_id, result.c.ordinal)
    )
    return tuple(str(found) for found in reading.connection.execute(query).scalars())


def runs_derived_from_slides(reading: Reading, *, step: str) -> Mapping[str, frozenset[str]]:
    """Return, by slide, the current runs of a second step that took the place of results of its own."""
    source = analysis.alias("source")
    query = (
        select(source.c.run_id.label("slide_run"), analysis.c.run_id)
        .select_from(analysis)
        .join(derived_from, derived_from.c.analysis_id == analysis.c.analysis_id)
        .join(source, source.c.analysis_id == derived_from.c.source_analysis_id)
        .where(is_current(), analysis.c.step == step, derived_from.c.replaces == 1)
        .distinct()
    )
    found: dict[str, set[str]] = {}
    for row in reading.connection.execute(query):
        found.setdefault(row.slide_run, set()).add(row.run_id)
    return {run_id: frozenset(derived) for run_id, derived in found.items()}
