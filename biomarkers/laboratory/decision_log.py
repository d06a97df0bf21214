"""What people decided in a laboratory, as a file that leaves it, and told again to one that was rebuilt.

Knows in which order decisions are told again. Must not compute what follows from them, nor know SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from getpass import getuser
from pathlib import Path

from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import bytes_digest, utc_now
from biomarkers.readers.decision_files import decision_text, read_decisions
from biomarkers.store import audit
from biomarkers.store.decision_log import DecisionKind, Log, TakenDecision, Told, all_decisions, tell_again


def decisions_text(laboratory: Laboratory) -> str:
    """Return every decision of a laboratory as a line of JSON, the oldest first."""
    with laboratory.database.read() as reading:
        taken = all_decisions(reading)
    return "".join(
        decision_text(
            kind=one.kind.value,
            about=one.about,
            what=one.what,
            reason=one.reason,
            decided_by=one.decided_by,
            decided_at=one.decided_at,
            wells=one.wells,
            digest=one.digest,
            full_name=one.full_name,
        )
        for one in taken
    )


def replay_decisions(
    laboratory: Laboratory, path: Path, *, renew: Callable[[tuple[str, ...]], None], derive: Callable[[], None]
) -> dict[DecisionKind, Told]:
    """Tell a laboratory decisions that were taken in it, or in the one it was rebuilt from.

    Parameters
    ----------
    renew
        Computes runs again, after their wells were masked: only then are there the results that were decided about.
    derive
        Makes the second steps follow the results that count now, before runs are signed.

    Raises
    ------
    SourceFileError
        The file holds something else than decisions.
    """
    given: Log = tuple(
        TakenDecision(
            kind=DecisionKind(line.kind),
            about=line.about,
            what=line.what,
            reason=line.reason,
            decided_by=line.decided_by,
            decided_at=line.decided_at,
            wells=line.wells,
            digest=line.digest,
            full_name=line.full_name,
        )
        for line in read_decisions(path)
    )
    with laboratory.database.write() as transaction:
        audit.append(
            transaction,
            at=utc_now(),
            actor=getuser(),
            action="decisions.replayed",
            entity=path.name,
            detail={"sha256": bytes_digest(path.read_bytes()), "decisions": len(given)},
        )
    told: dict[DecisionKind, Told] = {}
    for kind in (DecisionKind.WELLS, DecisionKind.RESULT, DecisionKind.RUN):
        with laboratory.database.write() as transaction:
            told[kind] = tell_again(transaction, given, about=kind)
        if kind is DecisionKind.WELLS and told[kind].taken:
            renew(tuple(sorted({one.about for one in told[kind].taken})))
        if kind is DecisionKind.RESULT and told[kind].taken:
            derive()
    return told
