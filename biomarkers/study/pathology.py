"""What a pathologist said of a section: whether tumour is there, and how much of it lives.

Must not know lists, files or scores.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PathologyReading:
    """One reader's judgement of one specimen.

    Attributes
    ----------
    viable_tumour_percent, necrosis_percent
        Of the section's area; None where the reader gave none.
    reader
        Who read it; a specimen may have several.
    """

    accession_id: str
    tumour_present: bool
    viable_tumour_percent: float | None
    necrosis_percent: float | None
    reader: str
