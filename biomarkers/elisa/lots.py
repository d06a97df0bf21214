"""A kit lot's own certificate: what its calibrators hold, where its controls must lie, when it expires.

Knows one lot of one analyte and what it replaces in a layout. Must not know files or plates read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from biomarkers.elisa.plate import LayoutWell, WellRole


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRange:
    """Where a control of a lot must lie, in the analyte's unit; ``nominal`` is None where the maker states a range alone."""

    lower: float
    upper: float
    nominal: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KitLot:
    """What the maker states of one lot.

    Attributes
    ----------
    expires_on
        Last day of use; None where not stated.
    calibrators
        Concentrations by slot, ``STD1`` and so on; they replace the layout's.
    controls
        Ranges by slot; they replace the study's percentage around the layout's nominal.
    """

    analyte: str
    kit_lot: str
    expires_on: date | None = None
    calibrators: Mapping[str, float]
    controls: Mapping[str, ControlRange]

    def apply(self, well: LayoutWell) -> LayoutWell:
        """Put the lot's value into a calibrator or control well of its analyte."""
        if well.role is WellRole.CALIBRATOR and well.slot in self.calibrators:
            return replace(well, concentration=self.calibrators[well.slot])
        if well.role is WellRole.CONTROL and well.slot in self.controls:
            nominal = self.controls[well.slot].nominal
            return well if nominal is None else replace(well, concentration=nominal)
        return well
