"""One ELISA plate with its map: a true curve, specimens in their slots, and the noise of pipettes and readers.

Knows how optical density follows from concentration, and how a plate is filled. Must not know arms or how results are computed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from pathlib import Path

from numpy.random import Generator

from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import LayoutWell, PlateLayout, WellRole
from biomarkers.results import Assay
from biomarkers.simulation.plate_exports import ExportForm, Reading, export_bytes
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.truth import TrueValue
from biomarkers.study.soluble import Analyte, AssayFormat

PIPETTING_CV = 0.02
OPTICAL_CV = 0.018
READER_NOISE_OD = 0.003
EMPTY_WELL_OD = 0.041
"""Plastic and buffer absorb this much at any wavelength."""

OUTLIER_FACTOR = 1.9
LARGEST_OD = 4.0
MAP_COLUMNS = ("plate_id", "layout", "analyte", "slot", "accession_id", "dilution_factor", "kit_lot")


DECAYED = 0.55
"""What is left of controls that were thawed too often."""

SLIPPED = 1.6
"""By how much every other calibrator is off where a serial dilution was pipetted unevenly."""


class Mishap(StrEnum):
    """What spoils a plate beyond use, though its export and map are sound."""

    NONE = ""
    CONTROLS_DECAYED = "its controls had decayed"
    DILUTION_SLIPPED = "its calibrators were diluted unevenly"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSpecimen:
    """A specimen in a slot, with the concentration it truly holds; ``dilution_factor`` None keeps the layout's."""

    slot: str
    accession_id: str
    subject_id: str
    visit: str
    concentration: float
    dilution_factor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCurve:
    """The curve wells follow before any noise: ``slope`` above 0, rising or falling by its end levels."""

    zero_dose: float
    slope: float
    inflection: float
    infinite_dose: float

    def response(self, concentration: float) -> float:
        """Optical density above that of an empty well."""
        ratio = math.pow(concentration / self.inflection, self.slope)
        return self.infinite_dose + (self.zero_dose - self.infinite_dose) / (1.0 + ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateJob:
    """All that decides one plate's export and map, beside the seed.

    Attributes
    ----------
    outlier_slot, overflow_slot
        Slot whose first well holds a bubble, or more colour than the reader can tell; empty for none.
    lot
        Certificate of the kit's lot, which its calibrators follow; None for a kit that is as the layout says.
    mishap
        What spoilt the plate so that it must be rejected.
    """

    seed: int
    plate_id: str
    analyte: Analyte
    layout: PlateLayout
    specimens: tuple[PlacedSpecimen, ...]
    form: ExportForm
    read_on: date
    kit_lot: str
    outlier_slot: str = ""
    overflow_slot: str = ""
    lot: KitLot | None = None
    mishap: Mishap = Mishap.NONE

    @property
    def assay(self) -> Assay:
        """Whose inbox the files belong into."""
        return Assay.ELISA

    @property
    def file_name(self) -> str:
        """Name of the export."""
        return f"{self.plate_id}{self.form.suffix}"

    @property
    def map_name(self) -> str:
        """Name of the plate map."""
        return f"{self.plate_id}.map.csv"

    def write(self, folder: Path) -> tuple[TrueValue, ...]:
        """Write export and map, and return what is true of the specimens."""
        (folder / self.file_name).write_bytes(export_bytes(self.reading(), self.form))
        (folder / self.map_name).write_bytes(self._map_text().encode())
        return tuple(self._truth())

    def reading(self) -> Reading:
        """Read the plate once."""
        rng = stream(self.seed, "plate", self.plate_id)
        curve = true_curve(self.analyte, rng)
        by_slot = {placed.slot: placed for placed in self.specimens}
        measured: list[list[float | None]] = [[None] * self.layout.columns for _ in range(self.layout.rows)]
        reference: list[list[float | None]] = [[None] * self.layout.columns for _ in range(self.layout.rows)]
        bubbles, dark = {self.outlier_slot}, {self.overflow_slot}
        for well in self.layout.wells:
            row, column = well.position.row, well.position.column
            ground = EMPTY_WELL_OD + 0.002 * float(rng.standard_normal())
            poured = self._spoilt(well if self.lot is None else self.lot.apply(well))
            density = _density(poured, by_slot.get(well.slot), curve, rng)
            if well.slot and well.slot in bubbles:
                density *= OUTLIER_FACTOR
                bubbles.discard(well.slot)
            is_dark = bool(well.slot) and well.slot in dark
            dark.discard(well.slot)
            total = density + ground + READER_NOISE_OD * float(rng.standard_normal())
            measured[row][column] = None if is_dark or total > LARGEST_OD else total
            reference[row][column] = ground + 0.3 * READER_NOISE_OD * float(rng.standard_normal())
        return Reading(
            plate_id=self.plate_id,
            read_on=self.read_on,
            wavelength_nm=self.analyte.wavelength_nm or 450.0,
            reference_nm=self.analyte.reference_nm or 620.0,
            measured=measured,
            reference=reference,
        )

    def _spoilt(self, well: LayoutWell) -> LayoutWell:
        """Change what a calibrator or control holds where the plate was spoilt."""
        if well.concentration is None:
            return well
        if self.mishap is Mishap.CONTROLS_DECAYED and well.role is WellRole.CONTROL:
            return replace(well, concentration=well.concentration * DECAYED)
        if self.mishap is Mishap.DILUTION_SLIPPED and well.role is WellRole.CALIBRATOR:
            number = int(well.slot.removeprefix("STD"))
            # The highest calibrator is poured from the vial; what slips are the transfers from tube to tube.
            off = 1.0 if number == 1 else 1.0 / SLIPPED if number % 2 else SLIPPED
            return replace(well, concentration=well.concentration * off)
        return well

    def _map_text(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(MAP_COLUMNS)
        for placed in self.specimens:
            factor = "" if placed.dilution_factor is None else f"{placed.dilution_factor:g}"
            writer.writerow(
                [self.plate_id, self.layout.name, self.analyte.code, placed.slot, placed.accession_id, factor, self.kit_lot]
            )
        return text.getvalue()

    def _truth(self) -> Iterator[TrueValue]:
        for placed in self.specimens:
            yield TrueValue(
                accession_id=placed.accession_id,
                subject_id=placed.subject_id,
                visit=placed.visit,
                assay=Assay.ELISA,
                measurand=self.analyte.code,
                value=placed.concentration,
                unit=self.analyte.unit,
            )


def true_curve(analyte: Analyte, rng: Generator) -> TrueCurve:
    """Draw a plate's curve: kits are alike, plates are not."""
    levels = sorted(level for level in analyte.calibrators if level > 0.0)
    vary = [float(value) for value in rng.standard_normal(4)]
    slope = 1.08 * math.exp(0.05 * vary[0])
    if analyte.format is AssayFormat.COMPETITIVE:
        return TrueCurve(
            zero_dose=2.15 * math.exp(0.06 * vary[1]),
            slope=slope,
            inflection=0.5 * math.sqrt(levels[0] * levels[-1]) * math.exp(0.10 * vary[2]),
            infinite_dose=0.05 * math.exp(0.15 * vary[3]),
        )
    return TrueCurve(
        zero_dose=0.03 * math.exp(0.20 * vary[1]),
        slope=slope,
        inflection=0.7 * levels[-1] * math.exp(0.12 * vary[2]),
        infinite_dose=3.3 * math.exp(0.06 * vary[3]),
    )


def _density(well: LayoutWell, placed: PlacedSpecimen | None, curve: TrueCurve, rng: Generator) -> float:
    """Optical density of one well above an empty one; what holds no liquid has none."""
    pipetted = 1.0 + PIPETTING_CV * float(rng.standard_normal())
    optical = 1.0 + OPTICAL_CV * float(rng.standard_normal())
    if well.role in {WellRole.CALIBRATOR, WellRole.CONTROL}:
        concentration = well.concentration or 0.0
    elif well.role is WellRole.SAMPLE and placed is not None:
        concentration = placed.concentration / (placed.dilution_factor or well.dilution)
    else:
        return 0.0
    return curve.response(max(concentration * pipetted, 0.0)) * optical


def fill_slots(slots: int, sets: Sequence[int]) -> list[list[int]]:
    """Share out sets of specimens over plates, in order, so that a set lies on one plate as far as slots allow.

    Parameters
    ----------
    slots
        Specimens a plate holds.
    sets
        Size of each set, such as a subject's visits.

    Returns
    -------
    list of list of int
        For each plate, the set each of its slots is given to. A set larger than a plate runs on to the next.

    Examples
    --------
    >>> fill_slots(4, [2, 3, 1])
    [[0, 0], [1, 1, 1, 2]]
    """
    plates: list[list[int]] = []
    for number, size in enumerate(sets):
        if size == 0:
            continue
        if not plates or (len(plates[-1]) + size > slots and len(plates[-1]) > 0):
            plates.append([])
        for _ in range(size):
            if len(plates[-1]) == slots:
                plates.append([])
            plates[-1].append(number)
    return plates
