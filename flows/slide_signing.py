"""What nobody takes in unasked: a further scan of a section that is on record.

Knows what waits for a person's word or a rule of the study, and what follows. Must not compute, parse or know SQL. A further
section is no further scan: its sidecar, or its name, says which section it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from biomarkers.errors import IdentifierError, WaitingForFileError
from biomarkers.lab.inbox import stem
from biomarkers.provenance import utc_now
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.slides import StoredSlide, decisions_on_slides, results_on_slides, stored_slides
from biomarkers.study.slides import SlideIdentity, SlideSidecar, slide_of
from biomarkers.study.tissue import SlideRole
from flows import steps
from flows.bench import bench
from flows.slide_groups import SlideTask

BY_RULE = "rule in study.toml"
"""Who decides where the study declares beforehand which scan counts."""

_Earlier = list[StoredSlide]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    """Who says that a further scan counts in place of the first, and why."""

    by: str
    reason: str


def waits_as_rescan(task: SlideTask) -> bool:
    """Let a further scan of a recorded section wait, unless a person has signed for it or the study has a rule.

    Asked before a slide is measured, so that one that waits is not measured each night; and after, since another scan of the
    same section may have been recorded meanwhile.
    """
    shown = _shown(task)
    if shown is None or (task.said is not None and task.said.is_signed) or _rule(shown) != "ask":
        return False
    with bench().laboratory.database.read() as reading:
        earlier = _earlier_scans(reading, task, shown)
    if earlier:
        _wait_for_a_decision(task, shown, earlier[0])
    return bool(earlier)


def consequences(task: SlideTask) -> Callable[[Transaction], None] | None:
    """Return what else is written when a further scan is taken in that replaces the first: the first counts as repeated."""
    shown = _shown(task)
    word = None if shown is None else _word(task.said, _rule(shown))
    if shown is None or word is None:
        return None
    with bench().laboratory.database.read() as reading:
        earlier = [one.run_id for one in _earlier_scans(reading, task, shown)]

    def write(transaction: Transaction) -> None:
        decided = decisions_on_slides(transaction, run_ids=earlier)
        for result_id in results_on_slides(transaction, run_ids=earlier):
            if result_id not in decided:
                dispose(
                    transaction,
                    result_id=result_id,
                    decision=Decision.REPEATED,
                    reason=word.reason,
                    decided_by=word.by,
                    decided_at=utc_now(),
                )

    return write if earlier else None


def _word(said: SlideSidecar | None, rule: str) -> _Word | None:
    if said is not None and said.is_signed:
        return _Word(by=said.by, reason=said.reason) if said.replaces else None
    return _Word(by=BY_RULE, reason="The study declares that the latest scan counts.") if rule == "latest" else None


def _shown(task: SlideTask) -> SlideIdentity | None:
    """Tell whose section a new slide shows; None for what has no further scans, or is no new slide."""
    if task.reason:
        return None
    try:
        identity = slide_of(task.files["instrument"].name, bench().laboratory.definition.identifiers, task.said)
    except IdentifierError:
        return None  # whoever reads the slide says so
    return identity if identity.role is SlideRole.SPECIMEN else None


def _rule(shown: SlideIdentity) -> str:
    stain = bench().laboratory.definition.stain(shown.stain)
    return "ask" if stain is None else stain.rescans


def _earlier_scans(reading: Reading, task: SlideTask, shown: SlideIdentity) -> _Earlier:
    """Find recorded scans of the same section from other bytes."""
    key = (shown.accession_id, shown.stain.casefold(), shown.section.casefold())
    own = task.files["instrument"].sha256
    return [
        one
        for one in stored_slides(reading, accession_id=shown.accession_id)
        if one.role is SlideRole.SPECIMEN and one.shown == key and one.sources[0].sha256 != own
    ]


def _wait_for_a_decision(task: SlideTask, shown: SlideIdentity, earlier: StoredSlide) -> None:
    which = f", section '{shown.section}'" if shown.section else ""
    for one in task.held:
        name = stem(one.file.name)
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"A scan of {earlier.stain} of specimen '{shown.accession_id}'{which} is on record already: "
                f"'{earlier.sources[0].name}'.",
                where=f"File '{one.file.name}'.",
                remedy="If the same section was scanned again, run 'biomarkers slides accept', or add by and reason to "
                f"'{name}.toml' beside it. If it is another section, write section = \"...\" into '{name}.toml'. Else take the "
                "file away.",
            ),
        )
