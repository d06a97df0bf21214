"""Which material was collected when, and what the laboratory's lists say of it.

Knows what a visit collects and how a specimen is booked in. Must not know what any of it contains, nor what went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from numpy.random import Generator

from biomarkers.simulation.subjects import AS_OF, SimulatedSubject, numbered_id
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition, Visit
from biomarkers.study.roster import Moment, Specimen

TISSUE = frozenset({Material.FFPE_BLOCK, Material.FFPE_SECTION})

_BLOOD_TRAVELS = timedelta(hours=22)
_TISSUE_TRAVELS = timedelta(days=6)
_ARCHIVE_ANSWERS = timedelta(days=5)
"""Archival blocks are asked for before the first dose and arrive shortly before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """One material taken from one subject; what becomes of it is decided before it gets an accession id.

    Attributes
    ----------
    visit, label
        The visit it truly belongs to, and what the requisition says; empty where it says nothing.
    is_lost
        Never arrived.
    is_touched
        Something out of the ordinary befell it already.
    """

    subject_id: str
    visit: str
    label: str
    material: Material
    collected_at: Moment
    received_at: Moment
    is_archival: bool = False
    is_lost: bool = False
    is_touched: bool = False

    @property
    def is_tissue(self) -> bool:
        """Whether this is tumour tissue."""
        return self.material in TISSUE


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSpecimen:
    """A received specimen as the laboratory lists it, and the visit it truly belongs to."""

    specimen: Specimen
    visit: str

    @property
    def accession_id(self) -> str:
        """The specimen's accession id."""
        return self.specimen.accession_id

    @property
    def subject_id(self) -> str:
        """Whose specimen it is."""
        return self.specimen.subject_id

    @property
    def received_on(self) -> date:
        """The day the laboratory received it."""
        received = self.specimen.received_at
        assert received is not None, "every simulated specimen was received; lost ones are not listed"
        return received.day


def blood_collection(subject_id: str, visit: str, material: Material, collected_at: Moment) -> Collection:
    """Return one tube of blood, labelled with its visit and on its way to the laboratory."""
    arrived = datetime.combine(collected_at.day, collected_at.time or time(9, 0)) + _BLOOD_TRAVELS
    return Collection(
        subject_id=subject_id,
        visit=visit,
        label=visit,
        material=material,
        collected_at=collected_at,
        received_at=Moment(day=arrived.date(), time=arrived.time()),
    )


def due_materials(definition: StudyDefinition, visit: Visit) -> tuple[Material, ...]:
    """Return the materials the visit's measurands want, the first that each accepts."""
    wanted = (measurand.materials[0] for measurand in definition.measurands if visit.code in measurand.due)
    return tuple(dict.fromkeys(material for material in wanted if visit.window(material) is not None))


def planned_collections(definition: StudyDefinition, subject: SimulatedSubject, rng: Generator) -> Iterator[Collection]:
    """Collect what is due at every visit of one subject that took place."""
    for visit in definition.visits:
        when = subject.visit_dates.get(visit.code)
        if when is None:
            continue
        early = timedelta(days=int(rng.integers(0, 2)) if visit.is_baseline else 0)
        drawn_at = Moment(day=when - early, time=morning(rng))
        for material in due_materials(definition, visit):
            if material in TISSUE:
                yield _tissue(subject.subject_id, visit, material, when, rng)
            else:
                yield blood_collection(subject.subject_id, visit.code, material, drawn_at)


def morning(rng: Generator) -> time:
    """Return a time at which blood is drawn: before the dose."""
    return time(8, int(rng.integers(0, 60)))


def _tissue(subject_id: str, visit: Visit, material: Material, when: date, rng: Generator) -> Collection:
    taken = (
        when - timedelta(days=int(rng.integers(30, 420))) if visit.is_baseline else when + timedelta(days=int(rng.integers(5)))
    )
    return Collection(
        subject_id=subject_id,
        visit=visit.code,
        label=visit.code,
        material=material,
        collected_at=Moment(day=taken),
        received_at=Moment(day=when - _ARCHIVE_ANSWERS if visit.is_baseline else taken + _TISSUE_TRAVELS, time=time(9, 0)),
        is_archival=visit.is_baseline,
    )


def book_in(definition: StudyDefinition, collections: Sequence[Collection], rng: Generator) -> tuple[SimulatedSpecimen, ...]:
    """Give accession ids to what arrived by the data cut, in the order of receipt.

    The order of receipt tells nothing of subject, visit or arm.
    """
    arrived = [one for one in collections if not one.is_lost and one.received_at.day <= AS_OF]
    arrived.sort(key=lambda one: (one.received_at.day, one.subject_id, one.visit, one.material, str(one.collected_at)))
    pattern = definition.identifiers.accession_id
    return tuple(_accessioned(one, numbered_id(pattern, number), rng) for number, one in enumerate(arrived, start=1))


def _accessioned(one: Collection, accession_id: str, rng: Generator) -> SimulatedSpecimen:
    is_hemolysed = bool(rng.random() < 0.05)
    volume_ul = float(rng.integers(8, 16) * 100)
    processed = Moment(day=one.collected_at.day, time=None if one.collected_at.time is None else time(11, 30))
    frozen = one.material in {Material.PLASMA, Material.SERUM}
    is_cells = one.material is Material.PBMC
    return SimulatedSpecimen(
        visit=one.visit,
        specimen=Specimen(
            accession_id=accession_id,
            subject_id=one.subject_id,
            material=one.material,
            collected_at=one.collected_at,
            nominal_visit=one.label,
            received_at=one.received_at,
            condition="SATISFACTORY",
            anticoagulant="EDTA" if one.material is Material.PLASMA else "HEPARIN" if is_cells else "",
            processed_at=None if one.is_tissue else processed,
            frozen_at=processed if frozen else None,
            freeze_thaw=1 if frozen else None,
            hemolysis="" if not frozen else "SLIGHT" if is_hemolysed else "NONE",
            volume_ul=volume_ul if frozen else None,
            fixed_at=processed if is_cells else one.collected_at if one.is_tissue else None,
            tissue_source="" if not one.is_tissue else "ARCHIVAL" if one.is_archival else "FRESH",
            lesion="PRIMARY" if one.is_tissue else "",
            block=f"B{accession_id[-4:]}" if one.is_tissue else "",
        ),
    )
