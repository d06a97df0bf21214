"""A whole simulated study: who, when, what is in which tube, and which files the instruments write.

Knows how subjects, specimens and files belong together. Describes only; nothing is drawn or written here, so that thousands of
subjects are described in seconds and their files can be made in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import PlateLayout
from biomarkers.simulation.acquisitions import AcquisitionJob
from biomarkers.simulation.bad_files import BadFile, FileJob
from biomarkers.simulation.bench import Bench
from biomarkers.simulation.incidents import with_incidents
from biomarkers.simulation.plates import PlateJob
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.slides import SlideJob
from biomarkers.simulation.specimens import Collection, SimulatedSpecimen, book_in, planned_collections
from biomarkers.simulation.subjects import AS_OF, SimulatedSubject, simulate_subjects
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import ActualVisit


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStudy:
    """A described study; :func:`biomarkers.simulation.writing.write_study` makes its files.

    Attributes
    ----------
    as_of
        The data cut: nothing later is known, and statuses hold as of this day.
    lost
        Collections that never arrived.
    bad_jobs, bad_files
        What writes the files made bad on purpose, and the names that must end in quarantine.
    """

    definition: StudyDefinition
    seed: int
    events: int
    slide_px: int
    as_of: date
    subjects: tuple[SimulatedSubject, ...]
    specimens: tuple[SimulatedSpecimen, ...]
    visits: tuple[ActualVisit, ...]
    lost: tuple[Collection, ...]
    plates: tuple[PlateJob, ...]
    acquisitions: tuple[AcquisitionJob, ...]
    slides: tuple[SlideJob, ...]
    bad_jobs: tuple[FileJob, ...]
    bad_files: tuple[BadFile, ...]

    @property
    def jobs(self) -> tuple[FileJob, ...]:
        """Everything sound that instruments write."""
        return (*self.plates, *self.acquisitions, *self.slides)

    @property
    def lots(self) -> tuple[KitLot, ...]:
        """The kit lots used, each once, in the order of their names."""
        by_name = {(plate.lot.analyte, plate.lot.kit_lot): plate.lot for plate in self.plates if plate.lot is not None}
        return tuple(by_name[name] for name in sorted(by_name))

    @property
    def haematology(self) -> tuple[HaematologyCount, ...]:
        """Blood counts of every specimen that was acquired, where the study reports cells in blood."""
        return tuple(
            HaematologyCount(lymphocytes_per_ul=run.lymphocytes_per_ul, accession_id=run.accession_id)
            for run in self.acquisitions
            if run.counts and run.lymphocytes_per_ul is not None
        )

    @property
    def arm_by_subject(self) -> Mapping[str, str]:
        """Allocation, for the file beside the truth."""
        return {subject.subject_id: subject.arm for subject in self.subjects}


def simulate_study(
    definition: StudyDefinition,
    *,
    layouts: Mapping[str, PlateLayout],
    subjects: int = 12,
    seed: int = 1,
    events: int = 20_000,
    slide_px: int = 2048,
) -> SimulatedStudy:
    """Describe a study of the given size; equal arguments describe equal files, byte for byte.

    Parameters
    ----------
    layouts
        Plate designs by name; each analyte needs one that holds it alone.
    events
        Events of an acquisition.
    slide_px
        Width and height of a slide, at 0.5 um a pixel.

    Raises
    ------
    StudyDefinitionError
        An analyte has no layout, or ids of the study's patterns cannot be counted.
    ValueError
        There are no subjects, or sizes are too small to hold a cell.
    """
    if subjects < 1 or events < 1 or slide_px < 64:
        raise ValueError("a simulated study needs at least 1 subject, 1 event and slides of 64 pixels")
    people = simulate_subjects(definition, subjects=subjects, seed=seed)
    rng = stream(seed, "clinic")
    planned = [
        one for person in people for one in planned_collections(definition, person, stream(seed, "clinic", person.subject_id))
    ]
    collections = with_incidents(definition, planned, people, rng)
    specimens = book_in(definition, collections, rng)
    bench = Bench(
        definition=definition,
        layouts=layouts,
        seed=seed,
        events=events,
        slide_px=slide_px,
        people={person.subject_id: person for person in people},
        specimens=specimens,
    )
    bad = tuple(bench.bad())
    return SimulatedStudy(
        definition=definition,
        seed=seed,
        events=events,
        slide_px=slide_px,
        as_of=AS_OF,
        subjects=people,
        specimens=specimens,
        visits=tuple(
            ActualVisit(subject_id=person.subject_id, visit=code, actual_date=when, status="DONE")
            for person in people
            for code, when in person.visit_dates.items()
        ),
        lost=tuple(one for one in collections if one.is_lost),
        plates=tuple(bench.spoilt([plate for analyte in definition.analytes for plate in bench.plates(analyte)])),
        acquisitions=tuple(bench.acquisitions()),
        slides=tuple(bench.slides()),
        bad_jobs=tuple(mistake.job for mistake in bad),
        bad_files=tuple(file for mistake in bad for file in mistake.files),
    )
