"""Second steps: what only the whole set of results can show, at the end of a sweep or a recomputation.

Knows which second steps there are and how what they derive is put on record. A second step is a function of the whole set that
returns derived analyses; it is added to :data:`STEPS` and needs nothing else. A crash leaves whole derived runs, and the next
sweep finishes them; a step that runs again over the same set changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from biomarkers.cytometry.joint_analysis import STEP as JOINT_GATING
from biomarkers.provenance import utc_now
from biomarkers.results import DerivedAnalysis, Run
from biomarkers.store import timepoint_rows
from biomarkers.store.database import Database, Transaction, at_a_time
from biomarkers.store.derivations import StandingDerivation, standing_contents, standing_derivations
from biomarkers.store.proposals import record_or_propose
from biomarkers.store.results import Recorded
from flows.batch_cut_step import STEP as CUTS
from flows.batch_cut_step import cut_remarks
from flows.batch_step import STEP as BATCH_STEP
from flows.batch_step import batch_remarks
from flows.bench import bench
from flows.control_step import control_remarks, family_remarks
from flows.count_step import counts_in_blood
from flows.irregularity_step import STEP, irregularity_remarks
from flows.joint_gating_step import joint_gating
from flows.pathology_step import STEP as PATHOLOGY
from flows.pathology_step import pathology_results
from flows.pooling_step import STEP as POOLING
from flows.pooling_step import pooled_sections
from flows.ratio_step import ratios
from flows.settings import lab_task
from flows.stain_batch_step import STEP as STAIN_BATCHES
from flows.stain_batch_step import stain_batch_remarks
from flows.visit_pair_step import STEP as SLIDE_PAIRS
from flows.visit_pair_step import slide_pair_remarks
from flows.whole_set import WholeSet

Derived: TypeAlias = DerivedAnalysis | StandingDerivation
"""What a step derives: an analysis to be recorded, or one on record that goes on standing."""

SecondStep: TypeAlias = Callable[[WholeSet], Awaitable[Iterable[Derived]]]

STEPS: Mapping[str, SecondStep] = {
    "ratios": ratios,
    JOINT_GATING: joint_gating,
    POOLING: pooled_sections,
    PATHOLOGY: pathology_results,
    "counts in blood": counts_in_blood,
    "control charts": control_remarks,
    "curve family": family_remarks,
    BATCH_STEP: batch_remarks,
    STAIN_BATCHES: stain_batch_remarks,
    SLIDE_PAIRS: slide_pair_remarks,
    CUTS: cut_remarks,
    STEP: irregularity_remarks,
}
"""In the order in which they run; a later step sees what earlier ones derived. The name stands on every run a step derives."""


RUNS_AT_ONCE = 200
"""Runs that are looked up and recorded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationReport:
    """How many derived runs a round of second steps changed: made, made anew, or withdrawn.

    ``proposed`` are signed ones that it would change, which is for a person to accept.
    """

    changed: int
    proposed: int = 0


@lab_task("second steps")
async def second_steps(reason: str) -> DerivationReport:
    """Run every second step over the results as they stand; ``reason`` is kept where given, else what changed is said."""
    changed = proposed = 0
    laboratory = bench().laboratory
    for name, step in STEPS.items():
        now = utc_now()
        whole = WholeSet(
            database=laboratory.database, definition=laboratory.definition, folder=laboratory.folder, computed_at=now
        )
        recorded = record_derived(laboratory.database, name, await step(whole), reason=reason, at=now)
        changed += sum(one.changed for one in recorded)
        proposed += sum(one.proposed for one in recorded)
    return DerivationReport(changed=changed, proposed=proposed)


def record_derived(
    database: Database, step: str, derived: Iterable[Derived], *, reason: str, at: datetime
) -> tuple[Recorded, ...]:
    """Put on record what a step derives otherwise than it stands, and withdraw what it derives no more.

    What is derived is taken one by one and recorded some hundreds at a time, each time in a transaction: of a large set little
    changes from sweep to sweep, and nobody waits long for the lock. What a crash leaves undone, the next sweep finds.

    Raises
    ------
    StoreError
        As :func:`biomarkers.store.proposals.record_or_propose`.
    """
    with database.read() as reading:
        left = dict(standing_contents(reading, step=step))
    recorded: list[Recorded] = []
    differing = at_a_time(_differing(derived, left), RUNS_AT_ONCE)
    some: Sequence[DerivedAnalysis] | None = next(differing, ())
    while some is not None:
        following = next(differing, None)
        gone = () if following else tuple(left)  # only at the end it is known what is left
        if some or gone:
            with _writing(database) as transaction:
                recorded += _made(transaction, step, some, reason, at)
                recorded += _withdrawn(transaction, step, gone, reason, at)
        some = following
    return tuple(recorded)


@contextmanager
def _writing(database: Database) -> Iterator[Transaction]:
    with database.write() as transaction:
        transaction.serialise()
        with timepoint_rows.gathered(transaction):
            yield transaction


def _differing(derived: Iterable[Derived], left: MutableMapping[str, str]) -> Iterator[DerivedAnalysis]:
    """Give what differs from what stands; of what stands, that stays which nobody derives any more."""
    for one in derived:
        if isinstance(one, StandingDerivation):
            left.pop(one.run_id, None)
        elif left.pop(one.run.run_id, None) != one.run.analysis_id:
            yield one


def _made(
    transaction: Transaction, step: str, some: Sequence[DerivedAnalysis], reason: str, at: datetime
) -> Iterator[Recorded]:
    standing = standing_derivations(transaction, step=step, run_ids=[made.run.run_id for made in some])
    for made in some:
        before = standing.get(made.run.run_id)
        # Another process may have recorded the same meanwhile.
        if before is None or before.content_id != made.run.analysis_id:
            yield from record_or_propose(transaction, [made], reason=reason or _why(before, made), recorded_at=at)


def _withdrawn(transaction: Transaction, step: str, run_ids: Iterable[str], reason: str, at: datetime) -> Iterator[Recorded]:
    why = reason or "What it was derived from is gone."
    for some in at_a_time(run_ids, RUNS_AT_ONCE):
        for left in standing_derivations(transaction, step=step, run_ids=some).values():
            if not left.is_empty:
                yield from record_or_propose(transaction, [_nothing(left, step, at)], reason=why, recorded_at=at)


def _why(before: StandingDerivation | None, made: DerivedAnalysis) -> str:
    if before is None:
        return ""
    if before.parent_ids != {parent.result_id for parent in made.parents}:
        return "A result it is derived from has changed."
    return "The runs or declarations behind it have changed."


def _nothing(left: StandingDerivation, step: str, now: datetime) -> DerivedAnalysis:
    """Say nothing any more, in a form that can be recorded: an analysis without results."""
    run = Run(
        run_id=left.run_id,
        assay=left.assay,
        name=left.name,
        acquired_at="",
        findings=(),
        results=(),
        provenance=replace(left.provenance, computed_at=now),
    )
    return DerivedAnalysis(step=step, run=run, parents=())
