from __future__ import annotations

from collections import Counter

from biomarkers.simulation.study import SimulatedStudy
from biomarkers.study.declaration import Material
from biomarkers.study.identifiers import is_accession_id


def _days_after_visit(study: SimulatedStudy) -> list[int]:
    visit_dates = {person.subject_id: person.visit_dates for person in study.subjects}
    return [
        (one.specimen.collected_at.day - visit_dates[one.subject_id][one.visit]).days
        for one in study.specimens
        if one.visit in visit_dates[one.subject_id] and one.specimen.material is not Material.FFPE_SECTION
    ]


def test_every_incident_of_a_clinic_happens_in_the_default_study(study: SimulatedStudy) -> None:
    labels = Counter(one.specimen.nominal_visit for one in study.specimens)
    assert labels[""] == 1
    assert labels["UNSCHEDULED"] >= 1
    assert labels["END_OF_TREATMENT"] >= 1
    assert max(_days_after_visit(study)) == 8, "one draw lies outside its window"
    assert min(_days_after_visit(study)) <= -9, "one subject was drawn at screening too"
    lost = {one.is_tissue for one in study.lost}
    assert lost == {True, False}, "a biopsy was refused and a tube was lost"
    untimed = [one for one in study.specimens if one.specimen.processed_at and one.specimen.collected_at.time is None]
    first_doses = {person.subject_id: person.first_dose for person in study.subjects}
    assert untimed
    assert all(one.specimen.collected_at.day == first_doses[one.subject_id] for one in untimed), "was it before the dose?"


def test_lost_material_is_in_no_list(study: SimulatedStudy) -> None:
    listed = {(one.subject_id, one.visit, one.specimen.material) for one in study.specimens}
    assert not listed & {(one.subject_id, one.visit, one.material) for one in study.lost}


def test_accession_ids_fit_the_pattern_and_follow_receipt(study: SimulatedStudy) -> None:
    accessions = [one.accession_id for one in study.specimens]
    assert all(is_accession_id(study.definition.identifiers, accession) for accession in accessions)
    assert accessions == sorted(set(accessions))
    received = [one.received_on for one in study.specimens]
    assert received == sorted(received)
    assert received[-1] <= study.as_of


def test_the_unlabelled_tube_can_belong_to_one_visit_only(study: SimulatedStudy) -> None:
    unlabelled = next(one for one in study.specimens if not one.specimen.nominal_visit)
    person = next(person for person in study.subjects if person.subject_id == unlabelled.subject_id)
    visit = study.definition.visit(unlabelled.visit)
    assert visit is not None
    window = visit.window(unlabelled.specimen.material)
    assert window is not None
    assert window.first_day is not None
    day = (unlabelled.specimen.collected_at.day - person.first_dose).days + 1
    assert window.first_day <= day <= window.last_day


def test_blood_gives_plasma_and_cells_and_tissue_is_taken_twice_at_most(study: SimulatedStudy) -> None:
    by_visit = Counter((one.visit, one.specimen.material) for one in study.specimens)
    assert by_visit["BASELINE", Material.FFPE_SECTION] == len(study.subjects)
    assert ("C6D1", Material.FFPE_SECTION) not in by_visit
    assert ("PROGRESSION", Material.FFPE_SECTION) not in by_visit
    assert by_visit["PROGRESSION", Material.PLASMA] > 0
