"""What the laboratory does with the specimens: which go on which plate, into which tube, under which scanner.

Knows waiting times, accidents at the bench, and the files made bad on purpose. Must not know arms; whatever an arm does to a
biomarker has been decided by the course of its subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from biomarkers.elisa.plate import PlateLayout, WellRole
from biomarkers.errors import StudyDefinitionError
from biomarkers.results import Assay
from biomarkers.simulation.acquisitions import AcquisitionJob
from biomarkers.simulation.bad_files import BadFile, BytesJob, Mistake, small_png
from biomarkers.simulation.courses import blood_cells, concentration, lymphocytes_per_ul, tissue_stain
from biomarkers.simulation.lots import kit_lot
from biomarkers.simulation.plate_exports import ExportForm
from biomarkers.simulation.plates import Mishap, PlacedSpecimen, PlateJob, fill_slots
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.slides import SlideJob
from biomarkers.simulation.specimens import SimulatedSpecimen
from biomarkers.simulation.subjects import AS_OF, SimulatedSubject, numbered_id
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.soluble import Analyte, AssayFormat
from biomarkers.study.tissue import StainReference

PLATES_WAIT_DAYS = 14
ACQUISITIONS_WAIT_DAYS = 2
SLIDES_WAIT_DAYS = 12
"""From receipt to the instrument; what was received later is pending at the data cut."""

TOO_FEW_EVENTS = 40
"""Events of the tube that ran dry: no panel can gate them."""

RARE_SHARE = 0.01
"""Share of tubes that ran dry, of slides that lost their tissue, of specimens far above an assay's range; one at least."""

OUTLIER_SHARE = 0.08
REDILUTED_SHARE = 0.03
SPOILT_SHARE = 0.03
REDILUTION = 4.0
ABOVE_RANGE = 3.0

SLIDE_SUFFIX = ".ome.tiff"
_FORMS = (ExportForm.SOFTMAX_TIME, ExportForm.GRID_EUROPEAN, ExportForm.SOFTMAX_PLATE, ExportForm.GRID)
"""Readers take turns over plates."""

_SMALLEST_FOR_ACCIDENTS = 4
_LYING_BYTES = 40_000_000
_CUT_OFF = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The laboratory with all specimens it ever received.

    Parameters
    ----------
    people
        Subjects by id.
    specimens
        In the order of receipt.
    """

    definition: StudyDefinition
    layouts: Mapping[str, PlateLayout]
    seed: int
    events: int
    slide_px: int
    people: Mapping[str, SimulatedSubject]
    specimens: tuple[SimulatedSpecimen, ...]

    def plates(self, analyte: Analyte) -> Iterator[PlateJob]:
        """Put plasma on plates of one analyte, subject by subject, so that a subject's visits share a plate."""
        layout = self._layout(analyte)
        slots = layout.slots(WellRole.SAMPLE, analyte.code)
        by_subject: dict[str, list[SimulatedSpecimen]] = {subject_id: [] for subject_id in self.people}
        for one in self._ready(analyte.materials, PLATES_WAIT_DAYS, kept_back=1):
            by_subject[one.subject_id].append(one)
        queues = {number: iter(ones) for number, ones in enumerate(by_subject.values())}
        for index, owners in enumerate(fill_slots(len(slots), [len(ones) for ones in by_subject.values()])):
            members = [next(queues[owner]) for owner in owners]
            yield self._plate(analyte, layout, index, dict(zip(slots, members, strict=False)))

    def spoilt(self, plates: Sequence[PlateJob]) -> Iterator[PlateJob]:
        """Spoil a few plates of a study that has many, so that they must be rejected; small studies are spared."""
        rng = stream(self.seed, "mishaps")
        mishaps = [mishap for mishap in Mishap if mishap is not Mishap.NONE]
        count = round(SPOILT_SHARE * len(plates))
        chosen = {int(place): mishaps[turn % len(mishaps)] for turn, place in enumerate(rng.permutation(len(plates))[:count])}
        for place, plate in enumerate(plates):
            yield replace(plate, mishap=chosen[place]) if place in chosen else plate

    def _plate(self, analyte: Analyte, layout: PlateLayout, index: int, members: Mapping[str, SimulatedSpecimen]) -> PlateJob:
        plate_id = f"{analyte.code}-P{index + 1:02d}"
        rng = stream(self.seed, "bench", plate_id)
        placed = [self._placed(analyte, layout, slot, one) for slot, one in members.items()]
        flare = ""
        if analyte.code == self._flaring() and (index == 0 or rng.random() < RARE_SHARE * len(placed)):
            chosen = int(rng.integers(len(placed)))
            flare = placed[chosen].slot
            dilution = placed[chosen].dilution_factor or layout.wells_of(flare)[0].dilution
            placed[chosen] = replace(placed[chosen], concentration=ABOVE_RANGE * analyte.limits.uloq * dilution)
        number = index + [each.code for each in self.definition.analytes].index(analyte.code)
        is_first_plate = index == 0 and analyte == self.definition.analytes[0]
        outlier = placed[int(rng.integers(len(placed)))].slot if is_first_plate or rng.random() < OUTLIER_SHARE else ""
        last_received = max(one.received_on for one in members.values())
        lot = f"{analyte.code}-{last_received.year % 100}{'AB'[last_received.month > 6]}"
        half_year = date(last_received.year, 7 if last_received.month > 6 else 1, 1)
        return PlateJob(
            seed=self.seed,
            plate_id=plate_id,
            analyte=analyte,
            layout=layout,
            specimens=tuple(placed),
            # SoftMax Pro's own word for an overflow is not known to us; the plate that has one is exported as a grid.
            form=ExportForm.GRID if flare else _FORMS[number % len(_FORMS)],
            read_on=last_received + timedelta(days=PLATES_WAIT_DAYS - 4),
            kit_lot=lot,
            lot=kit_lot(self.seed, analyte.code, lot, layout, half_year),
            outlier_slot="" if outlier == flare else outlier,
            overflow_slot=flare,
        )

    def _placed(self, analyte: Analyte, layout: PlateLayout, slot: str, one: SimulatedSpecimen) -> PlacedSpecimen:
        rng = stream(self.seed, "dilution", one.accession_id, analyte.code)
        is_rediluted = not layout.is_dilution_series(slot) and rng.random() < REDILUTED_SHARE
        return PlacedSpecimen(
            slot=slot,
            accession_id=one.accession_id,
            subject_id=one.subject_id,
            visit=one.visit,
            concentration=concentration(
                self.people[one.subject_id],
                analyte,
                one.visit,
                baseline=self.definition.baseline.code,
                draw=_draw(one),
                seed=self.seed,
            ),
            dilution_factor=REDILUTION if is_rediluted else None,
        )

    def _flaring(self) -> str:
        """Choose the analyte in which one specimen lies far above the range: IL-6 where measured, else any rising one."""
        rising = [each.code for each in self.definition.analytes if each.format is AssayFormat.SANDWICH]
        return "IL6" if "IL6" in rising else next(iter(rising), "")

    def _layout(self, analyte: Analyte) -> PlateLayout:
        for name in sorted(self.layouts):
            if self.layouts[name].analytes == (analyte.code,):
                return self.layouts[name]
        raise StudyDefinitionError(
            what=f"No plate layout measures analyte '{analyte.code}' alone.",
            where="The layouts given to the simulation.",
            remedy="Add a layout whose block 'analyte' names it, or leave the analyte out of the study.",
        )

    def acquisitions(self) -> Iterator[AcquisitionJob]:
        """Run every PBMC specimen that is ready, each in a file of its own."""
        ready = self._ready(self._cell_materials(), ACQUISITIONS_WAIT_DAYS, kept_back=2)
        dry = self._accidents("dry", [one.accession_id for one in ready])
        for one in ready:
            yield self._acquisition(one, events=TOO_FEW_EVENTS if one.accession_id in dry else self.events)

    def _acquisition(self, one: SimulatedSpecimen, *, events: int) -> AcquisitionJob:
        identifiers = self.definition.identifiers
        return AcquisitionJob(
            seed=self.seed,
            accession_id=one.accession_id,
            subject_id=one.subject_id,
            visit=one.visit,
            file_name=identifiers.fcs_file.replace("{accession_id}", one.accession_id),
            accession_keyword=identifiers.fcs_keyword,
            acquired_on=_acquired_on(one),
            events=events,
            blood=blood_cells(
                self.people[one.subject_id],
                one.visit,
                baseline=self.definition.baseline.code,
                draw=_draw(one),
                seed=self.seed,
            ),
            measurands=tuple(measurand for panel in self.definition.panels for measurand in panel.measurands),
            counts=tuple(counted for panel in self.definition.panels for counted in panel.counts),
            lymphocytes_per_ul=lymphocytes_per_ul(one.subject_id, draw=_draw(one), seed=self.seed),
        )

    def slides(self) -> Iterator[SlideJob]:
        """Scan every stain of every section that is ready and at whose visit the stain is due."""
        ready = [
            (one, stain)
            for stain in self.definition.stains
            for one in self._ready(stain.materials, SLIDES_WAIT_DAYS, kept_back=1)
            if one.visit in stain.due
        ]
        bare = self._accidents("bare", [f"{one.accession_id} {stain.code}" for one, stain in ready])
        for one, stain in ready:
            yield self._slide(one, stain, is_scrap=f"{one.accession_id} {stain.code}" in bare)

    def _slide(self, one: SimulatedSpecimen, stain: StainReference, *, is_scrap: bool = False) -> SlideJob:
        pattern = self.definition.identifiers.slide_file
        stem = pattern.replace("{accession_id}", one.accession_id).replace("{stain}", stain.code)
        return SlideJob(
            seed=self.seed,
            accession_id=one.accession_id,
            subject_id=one.subject_id,
            visit=one.visit,
            file_name=stem + SLIDE_SUFFIX,
            stain=stain.code,
            scores=stain.scores,
            size_px=self.slide_px,
            tissue=tissue_stain(
                self.people[one.subject_id],
                stain.code,
                one.visit,
                baseline=self.definition.baseline.code,
                seed=self.seed,
            ),
            is_scrap=is_scrap,
        )

    def bad(self) -> Iterator[Mistake]:
        """Make the mistakes of a laboratory: at least one in every assay that has specimens."""
        if self.definition.analytes:
            yield self._empty_export()
            yield self._unknown_accession(self.definition.analytes[0])
        cells = self._of(self._cell_materials())
        if cells:
            job = self._acquisition(cells[-1], events=min(self.events, 2000))
            yield _mistake(replace(job, lying_by=_LYING_BYTES), "header and text overstate where the data end")
        if len(cells) > 1:
            name = self._acquisition(cells[-2], events=0).file_name
            picture = BytesJob(assay=Assay.CYTOMETRY, file_name=name, content=small_png())
            yield _mistake(picture, "a PNG picture renamed to .fcs")
        for stain in self.definition.stains[:1]:
            sections = self._of(stain.materials)
            if sections:
                job_of_slide = replace(self._slide(sections[-1], stain), kept_share=_CUT_OFF)
                yield _mistake(job_of_slide, "the copy broke off before the file's end")

    def _empty_export(self) -> Mistake:
        name = f"{self.definition.analytes[0].code}-P00.csv"
        return _mistake(BytesJob(assay=Assay.ELISA, file_name=name, content=b""), "an empty plate export")

    def _unknown_accession(self, analyte: Analyte) -> Mistake:
        """Map a plate on which stands an accession nobody received."""
        layout = self._layout(analyte)
        slot = layout.slots(WellRole.SAMPLE, analyte.code)[0]
        nobody = PlacedSpecimen(
            slot=slot,
            accession_id=numbered_id(self.definition.identifiers.accession_id, len(self.specimens) + 500),
            subject_id="",
            visit="",
            concentration=analyte.limits.lloq * 3.0,
        )
        plate = PlateJob(
            seed=self.seed,
            plate_id=f"{analyte.code}-P99X",
            analyte=analyte,
            layout=layout,
            specimens=(nobody,),
            form=ExportForm.SOFTMAX_TIME,
            read_on=AS_OF,
            kit_lot="",
        )
        why = f"the map names accession '{nobody.accession_id}', which nobody received"
        # The export itself is sound: it waits for a map that names specimens there are.
        return Mistake(job=plate, files=(BadFile(assay=Assay.ELISA, name=plate.map_name, why=why),))

    def _cell_materials(self) -> tuple[Material, ...]:
        return tuple(material for panel in self.definition.panels for material in panel.materials)

    def _of(self, materials: Sequence[Material]) -> list[SimulatedSpecimen]:
        return [one for one in self.specimens if one.specimen.material in materials]

    def _ready(self, materials: Sequence[Material], wait_days: int, *, kept_back: int) -> list[SimulatedSpecimen]:
        """Find the specimens whose turn had come by the data cut; the last received are kept back, so that some are pending."""
        received = self._of(materials)
        return [one for one in received[:-kept_back] if one.received_on + timedelta(days=wait_days) <= AS_OF]

    def _accidents(self, kind: str, names: Sequence[str]) -> frozenset[str]:
        rng = stream(self.seed, kind)
        count = max(1, round(RARE_SHARE * len(names))) if len(names) >= _SMALLEST_FOR_ACCIDENTS else 0
        return frozenset(names[int(place)] for place in rng.permutation(len(names))[:count])


def _draw(one: SimulatedSpecimen) -> str:
    """Name a collection: two draws for one visit are two draws."""
    return f"{one.visit} {one.specimen.collected_at.day.isoformat()}"


def _acquired_on(one: SimulatedSpecimen) -> date:
    return one.received_on + timedelta(days=ACQUISITIONS_WAIT_DAYS)


def _mistake(job: BytesJob | AcquisitionJob | SlideJob, why: str) -> Mistake:
    return Mistake(job=job, files=(BadFile(assay=job.assay, name=job.file_name, why=why),))
