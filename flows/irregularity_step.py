"""Swaps, accessions measured twice and dates that cannot be right: a second step that remarks, and changes no number.

Knows which results a suspicion is about. Must not know how one is found. What it says depends on results and study lists
alone, not on the day, so that a laboratory made again from its raw bytes says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

from biomarkers.provenance import Source, canonical_json
from biomarkers.results import Assay, DerivedAnalysis, Finding, Remark, Run, derived_run_identity
from biomarkers.store.controls import sources_by_run
from biomarkers.store.database import Reading
from biomarkers.store.irregularities import MeasuringRun, measuring_runs, planned_values, undecided_repeats
from biomarkers.store.study_lists import current_roster
from biomarkers.timepoints.irregularities import duplicate_accessions, impossible_dates
from biomarkers.timepoints.swaps import find_swaps, swap_findings
from flows.whole_set import WholeSet, run_input

STEP = "irregularities"

_ALL_DAYS = date.max
"""Collected by then is everything; a date to come is told when the table is asked for, because it passes."""


async def irregularity_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on specimens that look swapped or were measured twice, and on subjects whose dates contradict each other."""
    with whole.database.read() as reading:
        found = {
            "swaps": swap_findings(find_swaps(planned_values(reading))),
            "duplicates": duplicate_accessions(undecided_repeats(reading)),
            "dates": _impossible_dates(reading),
        }
        measured = measuring_runs(
            reading, accession_ids={accession_id for by_name in found.values() for accession_id in by_name}
        )
        analysis_by_run = {run.run_id: run.analysis_id for run in measured}
        sources = sources_by_run(reading, run_ids=analysis_by_run.keys())
    runs_by_accession = _runs_by_accession(measured)
    derived = []
    for kind, findings in found.items():
        for accession_id, finding in sorted(findings.items()):
            for assay, runs in _by_assay(runs_by_accession.get(accession_id, ())):
                derived.append(
                    _remarking(
                        whole,
                        kind=kind,
                        accession_id=accession_id,
                        finding=finding,
                        assay=assay,
                        analysis_by_run={run_id: analysis_by_run[run_id] for run_id in runs},
                        sources=sources,
                    )
                )
    return derived


def _impossible_dates(reading: Reading) -> Mapping[str, Finding]:
    """Return, by specimen, the first thing that is wrong with its subject's dates."""
    by_subject: dict[str, Finding] = {}
    # Nothing is to come after all days: specimens are asked for only where their subject's dates are wrong.
    for finding in impossible_dates(current_roster(reading, with_specimens=False), as_of=_ALL_DAYS):
        by_subject.setdefault(finding.where, finding)
    if not by_subject:
        return {}
    return {
        specimen.accession_id: by_subject[where]
        for specimen in current_roster(reading).specimens.values()
        if (where := f"Subject '{specimen.subject_id}'.") in by_subject
    }


def _runs_by_accession(measured: Iterable[MeasuringRun]) -> Mapping[str, tuple[tuple[Assay, str], ...]]:
    """Return the measured runs of each specimen with their assay; what was derived follows from them."""
    found: dict[str, set[tuple[Assay, str]]] = {}
    for run in measured:
        found.setdefault(run.accession_id, set()).add((run.assay, run.run_id))
    return {accession_id: tuple(sorted(runs)) for accession_id, runs in found.items()}


def _by_assay(runs: Iterable[tuple[Assay, str]]) -> Iterator[tuple[Assay, tuple[str, ...]]]:
    grouped: dict[Assay, list[str]] = {}
    for assay, run_id in runs:
        grouped.setdefault(assay, []).append(run_id)
    for assay, run_ids in grouped.items():
        yield assay, tuple(run_ids)


def _remarking(
    whole: WholeSet,
    *,
    kind: str,
    accession_id: str,
    finding: Finding,
    assay: Assay,
    analysis_by_run: Mapping[str, str],
    sources: Mapping[str, tuple[tuple[str, str, str], ...]],
) -> DerivedAnalysis:
    remarks = tuple(Remark(run_id=run_id, accession_id=accession_id, finding=finding) for run_id in analysis_by_run)
    provenance = whole.provenance(
        (Source(role=role, name=name, sha256=sha256) for run_id in analysis_by_run for role, name, sha256 in sources[run_id]),
        (run_input(run_id, analysis_id) for run_id, analysis_id in analysis_by_run.items()),
        canonical_json({"step": STEP, "kind": kind, "accession_id": accession_id}),
    )
    run = Run(
        run_id=derived_run_identity(assay, STEP, f"{kind} {accession_id}"),
        assay=assay,
        name=f"{kind} {accession_id}",
        acquired_at="",
        findings=tuple(remark.finding for remark in remarks),
        results=(),
        provenance=provenance,
    )
    return DerivedAnalysis(step=STEP, run=run, parents=(), remarks=remarks)
