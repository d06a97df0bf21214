"""What sites say they sent: which specimen, when, in which box and place.

Must not know lists, files or what arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedSpecimen:
    """One specimen on a shipment's list.

    Attributes
    ----------
    box, position
        Where it travelled; empty where the list does not say.
    """

    accession_id: str
    shipped_on: date
    box: str = ""
    position: str = ""
