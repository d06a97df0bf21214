"""What was sent held against what arrived.

Knows shipments and the specimens' list. Must not know files, nor what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from biomarkers.results import Finding, Severity
from biomarkers.study.roster import Roster
from biomarkers.study.shipments import ShippedSpecimen

SHIPPED_NOT_RECEIVED = "SHIPPED_NOT_RECEIVED"
SHIPPED_NOT_LISTED = "SHIPPED_NOT_LISTED"
RECEIVED_NOT_SHIPPED = "RECEIVED_NOT_SHIPPED"
RECEIVED_BEFORE_SHIPPED = "RECEIVED_BEFORE_SHIPPED"
RECEIPT_NOT_NOTED = "RECEIPT_NOT_NOTED"


def receipt_findings(roster: Roster, shipments: Iterable[ShippedSpecimen], *, as_of: date) -> tuple[Finding, ...]:
    """Find what was sent and did not arrive, what arrived and was not sent, and receipts before they were sent.

    Nothing is found while no shipment was ever listed: a site then brings its specimens itself. Aliquots are made in the
    laboratory and travel nowhere.
    """
    shipped = {one.accession_id: one for one in shipments if one.shipped_on <= as_of}
    found: list[Finding] = []
    for accession_id, sent in sorted(shipped.items()):
        specimen = roster.specimens.get(accession_id)
        told = f"Sent on {sent.shipped_on}{_place(sent)}"
        if specimen is None:
            remedy = "Enter it in specimens.csv once it is here, or ask the site for it."
            found.append(_finding(SHIPPED_NOT_LISTED, accession_id, f"{told}, and in no list of specimens.", remedy))
        elif specimen.received_at is None or specimen.received_at.day > as_of:
            remedy = "Enter received_at in specimens.csv, or ask where it is."
            found.append(_finding(SHIPPED_NOT_RECEIVED, accession_id, f"{told}, and no receipt is noted.", remedy))
        elif specimen.received_at.day < sent.shipped_on:
            message = f"{told}, and received before that, on {specimen.received_at.day}."
            found.append(_finding(RECEIVED_BEFORE_SHIPPED, accession_id, message, "Check both days, and whose tube it is."))
    if shipped:
        for accession_id, specimen in sorted(roster.specimens.items()):
            received = specimen.received_at
            if received is None or received.day > as_of or specimen.parent_accession_id or accession_id in shipped:
                continue
            message = f"Received on {received.day}, and on no shipment's list."
            found.append(_finding(RECEIVED_NOT_SHIPPED, accession_id, message, "Ask the site for its list of the shipment."))
    return tuple(sorted(found, key=lambda finding: (finding.code, finding.where)))


def receipt_states(roster: Roster, shipments: Iterable[ShippedSpecimen], *, as_of: date) -> Mapping[str, str]:
    """Say of each specimen without a noted receipt why its result may be pending; those that were received are absent."""
    shipped = {one.accession_id for one in shipments if one.shipped_on <= as_of}
    return {
        accession_id: SHIPPED_NOT_RECEIVED if accession_id in shipped else RECEIPT_NOT_NOTED
        for accession_id, specimen in roster.specimens.items()
        if not specimen.parent_accession_id and (specimen.received_at is None or specimen.received_at.day > as_of)
    }


def _place(sent: ShippedSpecimen) -> str:
    return "".join(f", {name} {word}" for name, word in (("box", sent.box), ("position", sent.position)) if word)


def _finding(code: str, accession_id: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, where=f"Specimen '{accession_id}'.", message=message, remedy=remedy)
