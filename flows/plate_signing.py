"""What nobody takes in unasked: a corrected map of a recorded plate, and a second read of one.

Knows what waits for a person's word, and what follows once it is given in a sidecar. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.archive import named
from biomarkers.lab.drafts import own_name
from biomarkers.lab.inbox import stem
from biomarkers.provenance import utc_now
from biomarkers.readers.sign_offs import SignOff, read_sign_off
from biomarkers.results import Assay
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.results import RecordedRun, current_runs, results_of_runs
from flows import steps
from flows.bench import bench
from flows.steps import Held
from flows.work import Analysed


def read(sidecar: Held) -> SignOff | None:
    """Read a sidecar; None where it cannot be used, and it is then in quarantine."""
    try:
        with named(bench().laboratory.folder, own_name(), {sidecar.file.name: sidecar.sha256}) as place:
            return read_sign_off(place / sidecar.file.name)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        steps.quarantine(sidecar, error)
        return None


def map_reason(plate_map: Held, sign_off: SignOff | None) -> str:
    """Say why a recorded plate's results are made anew."""
    said = "" if sign_off is None else f" {sign_off.by}: {sign_off.reason}"
    return f"The corrected plate map '{plate_map.file.name}' was dropped.{said}"


def read_reason(sign_off: SignOff | None) -> str:
    """Say why a second read is on record; empty for a first one."""
    return "" if sign_off is None else f"{sign_off.by}: {sign_off.reason}"


def is_second_read(held: Sequence[Held], outcome: Analysed, sign_off: SignOff | None) -> bool:
    """Let files wait that read a recorded plate again, unless a person has signed for them."""
    if sign_off is not None:
        return False
    with bench().laboratory.database.read() as reading:
        earlier = _earlier_reads(reading, outcome)
    if earlier:
        wait_for_a_decision(held, earlier[0])
    return bool(earlier)


def consequences(outcome: object, sign_off: SignOff | None) -> Callable[[Transaction], None] | None:
    """Return what else is written when a second read is taken in that replaces the first: the first counts as repeated."""
    if sign_off is None or not sign_off.replaces or not isinstance(outcome, Analysed):
        return None
    signed = sign_off

    def write(transaction: Transaction) -> None:
        earlier = {run.run_id for run in _earlier_reads(transaction, outcome)}
        for stored in results_of_runs(transaction, run_ids=earlier):
            if stored.disposition is None:
                dispose(
                    transaction,
                    result_id=stored.result_id,
                    decision=Decision.REPEATED,
                    reason=signed.reason,
                    decided_by=signed.by,
                    decided_at=utc_now(),
                )

    return write


def _earlier_reads(reading: Reading, outcome: Analysed) -> list[RecordedRun]:
    """Find recorded reads of the same plates from other bytes."""
    made = {analysis.run.name: analysis.run.run_id for analysis in outcome.analyses}
    return [
        run
        for name, run_id in made.items()
        for run in current_runs(reading, assay=Assay.ELISA, name=name)
        if run.run_id != run_id
    ]


def wait_for_a_decision(held: Iterable[Held], earlier: RecordedRun) -> None:
    """Leave a second read in the inbox until a person says what becomes of it."""
    for one in held:
        name = stem(one.file.name)
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"Plate '{earlier.name}' is on record already, read from other bytes: '{earlier.sources[0].name}'.",
                where=f"File '{one.file.name}'.",
                remedy=f"If the plate was read again, run 'biomarkers plates accept', or drop '{name}.toml' with by and reason "
                "beside it. If it is another plate, give it a plate_id of its own in its map. Else take the file away.",
            ),
        )


def wait_for_a_signature(held: Iterable[Held], plate_map: Held) -> None:
    """Leave a corrected map in the inbox until a person answers for it."""
    name = stem(plate_map.file.name)
    for one in held:
        steps.waiting(
            one,
            WaitingForFileError(
                what="The map differs from the one this plate is recorded with, and nobody has signed for the correction.",
                where=f"File '{plate_map.file.name}'.",
                remedy=f"Run 'biomarkers plates accept', or drop '{name}.toml' with by and reason beside it.",
            ),
        )


def wait_for_a_sound_sidecar(one: Held, sidecar: Held) -> None:
    """Leave a file in the inbox whose sidecar cannot be used."""
    steps.waiting(
        one,
        WaitingForFileError(
            what=f"Its sidecar '{sidecar.file.name}' was quarantined.",
            where=f"File '{one.file.name}'.",
            remedy="Mend the sidecar and drop it again.",
        ),
    )


def wait_for_what_is_signed(sidecar: Held) -> None:
    """Leave a sidecar in the inbox that stands alone."""
    steps.waiting(
        sidecar,
        WaitingForFileError(
            what="The sidecar waits for the file it signs.",
            where=f"File '{sidecar.file.name}'.",
            remedy="Drop the export or the plate map beside it; they share their name.",
        ),
    )
