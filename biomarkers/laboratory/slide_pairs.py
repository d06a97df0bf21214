"""Two visits of a subject compared by their slides, with an interval of the change and what else differs between them.

Knows which rows of the timepoint table make a pair and how their slides were stained and scanned. Must not know how a change
is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from biomarkers.ihc.pooling import MeasuredScore, PairedChange, SlideCircumstances, score_change
from biomarkers.results import Assay, Interval
from biomarkers.store.slides import StoredSlide
from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.alignment import TimepointRow

_SCORES: Mapping[str, str] = {
    "DENSITY_TISSUE": "density_per_mm2",
    "DENSITY_TUMOUR": "density_per_mm2",
    "PCT_POSITIVE": "positive_percent",
    "HSCORE": "h_score",
    "TPS": "tps",
    "CPS": "cps",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidePair:
    """A measurand of one subject at baseline and at a later visit.

    Attributes
    ----------
    run_id, accession_id
        Of the later visit.
    """

    subject_id: str
    visit: str
    measurand: str
    unit: str
    accession_id: str
    baseline_accession_id: str
    run_id: str
    baseline_run_id: str
    change: PairedChange


def slide_pairs(
    rows: Iterable[TimepointRow], slides: Iterable[StoredSlide], pooled: Mapping[str, frozenset[str]]
) -> tuple[SlidePair, ...]:
    """Pair every number of a later visit with its baseline, in the order of the table.

    Parameters
    ----------
    rows
        The timepoint table; what was not compared there (another material or unit) is not compared here.
    pooled
        By slide, the runs that pool it with others.
    """
    listed = [row for row in rows if row.assay == Assay.IHC and row.value is not None]
    baselines = {(row.subject_id, row.measurand): row for row in listed if row.visit == BASELINE_VISIT}
    circumstances = _circumstances(slides, pooled)
    pairs = []
    for row in listed:
        baseline = baselines.get((row.subject_id, row.measurand))
        if baseline is None or not row.baseline_run_id:
            continue
        score = next((name for code, name in _SCORES.items() if row.measurand.endswith(f"_{code}")), "")
        change = score_change(
            score,
            _measured(baseline, circumstances),
            _measured(row, circumstances),
            where=f"Subject '{row.subject_id}', {row.measurand}, {BASELINE_VISIT} and {row.visit}.",
        )
        pairs.append(
            SlidePair(
                subject_id=row.subject_id,
                visit=row.visit,
                measurand=row.measurand,
                unit=row.unit or "",
                accession_id=row.accession_id or "",
                baseline_accession_id=baseline.accession_id or "",
                run_id=row.run_id or "",
                baseline_run_id=row.baseline_run_id,
                change=change,
            )
        )
    return tuple(pairs)


def _measured(row: TimepointRow, circumstances: Mapping[str, SlideCircumstances]) -> MeasuredScore:
    interval = None if row.lower is None and row.upper is None else Interval(lower=row.lower, upper=row.upper)
    return MeasuredScore(value=row.value or 0.0, interval=interval, circumstances=circumstances.get(row.run_id or ""))


def _circumstances(slides: Iterable[StoredSlide], pooled: Mapping[str, frozenset[str]]) -> Mapping[str, SlideCircumstances]:
    """Return batch and scanner of each run; a run that pools slides of several has them all."""
    behind: dict[str, list[StoredSlide]] = {}
    for slide in slides:
        for run_id in (slide.run_id, *pooled.get(slide.run_id, ())):
            behind.setdefault(run_id, []).append(slide)
    return {
        run_id: SlideCircumstances(
            batch=" + ".join(sorted({slide.batch for slide in members} - {""})),
            scanner=" + ".join(sorted({slide.scanner for slide in members} - {""})),
        )
        for run_id, members in behind.items()
    }
