"""Wells a person leaves out: who, when and why, and what that does to a plate's readings.

Knows wells and people's words. Must not know curves, results or where masks are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from biomarkers.elisa.plate import LayoutWell, PlateRead, WellPosition, WellRead
from biomarkers.errors import AssayError, Fault
from biomarkers.results import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class WellMask:
    """One well left out by a person, with who, why and when.

    The reading itself is kept; the well takes no part in curve, results, controls or rules any more.
    """

    position: WellPosition
    by: str
    reason: str
    at: datetime

    @property
    def told(self) -> str:
        """Reason with who and when, as it stays with the well."""
        return f"{self.reason.strip()} ({self.by.strip()}, {self.at:%Y-%m-%d %H:%M})"


def masked_reads(reads: Sequence[PlateRead], masks: Sequence[WellMask]) -> tuple[PlateRead, ...]:
    """Flag the masked wells of a plate at every wavelength; of several masks of one well the latest tells why.

    Raises
    ------
    AssayError
        A mask names no reason, no person, or a well the plate does not have; every fault is named.
    """
    if not masks:
        return tuple(reads)
    faults = [fault for mask in masks for fault in _faults(mask, reads[0])]
    if faults:
        raise AssayError.gathered(faults)
    by_position = {mask.position: mask for mask in sorted(masks, key=lambda one: one.at)}
    return tuple(
        replace(read, wells=tuple(_masked(well, by_position.get(well.position)) for well in read.wells)) for read in reads
    )


def _masked(well: WellRead, mask: WellMask | None) -> WellRead:
    if mask is None:
        return well
    return replace(well, flag="masked", mask_reason=mask.told, is_mask_explained=True)


def _faults(mask: WellMask, read: PlateRead) -> Iterable[Fault]:
    where = f"Plate '{read.plate_id}', well {mask.position}."
    if not mask.reason.strip():
        yield Fault(where=where, what="The well is masked without a reason.", remedy="Say why it is left out.")
    if not mask.by.strip():
        yield Fault(where=where, what="The well is masked by nobody.", remedy="Say who leaves it out.")
    if mask.position not in read.by_position():
        yield Fault(where=where, what="The plate's export holds no such well.", remedy="Correct the well's name.")


def unexplained_masks(wells: Iterable[tuple[LayoutWell, WellRead]], where: str) -> tuple[Finding, ...]:
    """Tell the wells that are left out without a reason, as reader software leaves them out."""
    unexplained = [
        str(well.position)
        for well, read in wells
        if read.flag == "masked" and not (read.mask_reason.strip() and read.is_mask_explained)
    ]
    if not unexplained:
        return ()
    several = len(unexplained) > 1
    return (
        Finding(
            code="WELL_MASKED_NO_REASON",
            severity=Severity.WARNING,
            where=f"{where} {'Wells' if several else 'Well'} {', '.join(unexplained)}.",
            message=f"{len(unexplained)} well{'s are' if several else ' is'} masked in the export, which does not say why.",
            remedy="Mask the same wells once more with who leaves them out and why.",
        ),
    )
