"""One FCS file of one PBMC specimen, with the truth of the cells in it.

Knows what is run when and how the file is named. Must not know arms or other specimens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from biomarkers.results import Assay
from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube
from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.fcs_bytes import fcs_bytes, spillover_keyword
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.truth import TrueValue
from biomarkers.study.cellular import CELLS_PER_UL, CountMeasurand, PanelMeasurand

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
"""FCS dates name months in English whatever the machine's language is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionJob:
    """All that decides one FCS file's bytes, beside the seed.

    Attributes
    ----------
    file_name
        In the folder of the assay.
    measurands
        What the study reports of it; their truth is counted over living, intact, single cells.
    lying_by
        Bytes by which the file overstates where its data end; 0 for a sound file.
    """

    seed: int
    accession_id: str
    subject_id: str
    visit: str
    file_name: str
    accession_keyword: str
    acquired_on: date
    events: int
    blood: BloodCells
    measurands: tuple[PanelMeasurand, ...]
    lying_by: int = 0
    counts: tuple[CountMeasurand, ...] = ()
    lymphocytes_per_ul: float | None = None

    @property
    def assay(self) -> Assay:
        """Whose inbox the file belongs into."""
        return Assay.CYTOMETRY

    def write(self, folder: Path) -> tuple[TrueValue, ...]:
        """Write the file and return what is true of it."""
        day = cytometer_day(stream(self.seed, "cytometer", self.acquired_on.isoformat()))
        rng = stream(self.seed, "acquisition", self.accession_id)
        tube = draw_tube(self.blood, self.events, day, rng)
        minute = int(rng.integers(0, 60))
        keywords = {
            "$FIL": self.file_name,
            "$CYT": "Simulated cytometer",
            "$DATE": f"{self.acquired_on.day:02d}-{MONTHS[self.acquired_on.month - 1]}-{self.acquired_on.year}",
            "$BTIM": f"14:{minute:02d}:00",
            "$ETIM": f"15:{minute:02d}:00",
            "$TIMESTEP": "0.01",
            "$SPILLOVER": spillover_keyword(COLOURS, tube.spillover),
        }
        if self.accession_keyword:
            keywords[self.accession_keyword] = self.accession_id
        content = fcs_bytes(tube.events, DETECTORS, keywords, lying_by=self.lying_by)
        (folder / self.file_name).write_bytes(content)
        return tuple(self._truth(tube.counts))

    def _truth(self, counts: Mapping[str, int]) -> Iterator[TrueValue]:
        for measurand in self.measurands:
            of = counts.get(measurand.denominator, 0)
            if of == 0 or measurand.population not in counts:
                continue  # an absent population has no true frequency, and none may be invented
            ratio = counts[measurand.population] / of
            is_frequency = measurand.kind == "frequency"
            yield TrueValue(
                accession_id=self.accession_id,
                subject_id=self.subject_id,
                visit=self.visit,
                assay=Assay.CYTOMETRY,
                measurand=measurand.code,
                value=100.0 * ratio if is_frequency else ratio,
                unit="%" if is_frequency else "ratio",
            )
        for counted in self.counts:
            of = counts.get(counted.lymphocytes, 0)
            if self.lymphocytes_per_ul is None or of == 0 or counted.population not in counts:
                continue
            yield TrueValue(
                accession_id=self.accession_id,
                subject_id=self.subject_id,
                visit=self.visit,
                assay=Assay.CYTOMETRY,
                measurand=counted.code,
                value=self.lymphocytes_per_ul * counts[counted.population] / of,
                unit=CELLS_PER_UL,
            )
