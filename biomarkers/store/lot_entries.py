"""Kit lots as rows: one for each calibrator and control of a lot.

Knows how a lot is taken apart and put together. Must not know a table or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from biomarkers.elisa.lots import ControlRange, KitLot


@dataclass(frozen=True, slots=True, kw_only=True)
class LotEntry:
    """One slot of a lot: a calibrator has its concentration alone, a control its range and perhaps its nominal."""

    analyte: str
    kit_lot: str
    expires_on: date | None
    slot: str
    value: float | None
    lower: float | None
    upper: float | None


def lot_entries(lot: KitLot) -> Iterator[LotEntry]:
    """Take a lot apart; one without calibrators and controls leaves an entry without slot, for its expiry."""
    for slot, value in lot.calibrators.items():
        yield _entry(lot, slot, value=value)
    for slot, allowed in lot.controls.items():
        yield _entry(lot, slot, value=allowed.nominal, lower=allowed.lower, upper=allowed.upper)
    if not lot.calibrators and not lot.controls:
        yield _entry(lot, "")


def lots_of(entries: Iterable[LotEntry]) -> tuple[KitLot, ...]:
    """Put lots together, in the order of their first entries."""
    grouped: dict[tuple[str, str], list[LotEntry]] = {}
    for entry in entries:
        grouped.setdefault((entry.analyte, entry.kit_lot), []).append(entry)
    return tuple(
        KitLot(
            analyte=analyte,
            kit_lot=kit_lot,
            expires_on=members[0].expires_on,
            calibrators={one.slot: one.value for one in members if one.value is not None and one.lower is None},
            controls={
                one.slot: ControlRange(lower=one.lower, upper=one.upper, nominal=one.value)
                for one in members
                if one.lower is not None and one.upper is not None
            },
        )
        for (analyte, kit_lot), members in grouped.items()
    )


def _entry(
    lot: KitLot, slot: str, *, value: float | None = None, lower: float | None = None, upper: float | None = None
) -> LotEntry:
    return LotEntry(
        analyte=lot.analyte,
        kit_lot=lot.kit_lot,
        expires_on=lot.expires_on,
        slot=slot,
        value=value,
        lower=lower,
        upper=upper,
    )
