from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import flowio
import pytest
import tifffile
from flowio.exceptions import FCSParsingError

from biomarkers.elisa.plate import PlateLayout
from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.study_files import read_arms, read_roster, read_specimens, read_visits
from biomarkers.results import Assay
from biomarkers.simulation.expectations import Expected, expected_cells
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.truth import read_truth
from biomarkers.simulation.writing import write_study
from biomarkers.study.definition import StudyDefinition


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_status_of_the_timepoint_table_occurs_in_the_default_study(
    definition: StudyDefinition, layouts: Mapping[str, PlateLayout], seed: int
) -> None:
    cells = list(expected_cells(simulate_study(definition, layouts=layouts, seed=seed)))
    assert {cell.status for cell in cells} == set(Expected)
    assert len(cells) == len({(cell.subject_id, cell.visit, cell.measurand) for cell in cells})


def test_each_assay_has_every_reason_for_an_empty_cell(study: SimulatedStudy) -> None:
    assay_of = {measurand.code: measurand.assay for measurand in study.definition.measurands}
    statuses = {(assay_of[cell.measurand], cell.status) for cell in expected_cells(study)}
    for assay in Assay:
        assert (assay, Expected.PENDING) in statuses
        assert (assay, Expected.MISSING) in statuses or assay is Assay.CYTOMETRY
    assert (Assay.IHC, Expected.NOT_EVALUABLE) in statuses
    assert (Assay.CYTOMETRY, Expected.NOT_EVALUABLE) in statuses


def test_file_names_are_unique_and_bad_names_are_none_of_the_good_ones(study: SimulatedStudy) -> None:
    good = [(job.assay, job.file_name) for job in study.jobs] + [(plate.assay, plate.map_name) for plate in study.plates]
    bad = [(file.assay, file.name) for file in study.bad_files]
    assert len(set(good)) == len(good)
    assert len(set(bad)) == len(bad)
    assert not set(good) & set(bad)
    assert {assay for assay, _ in bad} == set(Assay)


def test_a_study_that_wants_an_unknown_layout_is_refused(definition: StudyDefinition) -> None:
    with pytest.raises(StudyDefinitionError, match="No plate layout measures analyte 'KYN' alone"):
        simulate_study(definition, layouts={})


@pytest.mark.parametrize("size", [{"subjects": 0}, {"events": 0}, {"slide_px": 10}])
def test_a_study_without_size_is_refused(
    definition: StudyDefinition, layouts: Mapping[str, PlateLayout], size: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="at least 1 subject"):
        simulate_study(definition, layouts=layouts, **size)


def test_a_hundred_subjects_fill_several_plates(definition: StudyDefinition, layouts: Mapping[str, PlateLayout]) -> None:
    study = simulate_study(definition, layouts=layouts, subjects=100)
    kynurenine = [plate for plate in study.plates if plate.analyte.code == "KYN"]
    assert len(kynurenine) > 5
    homes: dict[str, set[str]] = {}
    for plate in kynurenine:
        for placed in plate.specimens:
            homes.setdefault(placed.subject_id, set()).add(plate.plate_id)
    assert {len(plates) for plates in homes.values()} == {1}


def test_the_laboratory_reads_the_lists_as_they_were_meant(written_study: SimulatedStudy, written: Path) -> None:
    study, drop, truth = written_study, written / "drop", written / "truth"
    definition = study.definition
    assert read_roster(drop / "study" / "roster.csv", definition) == tuple(person.subject for person in study.subjects)
    assert read_specimens(drop / "study" / "specimens.csv", definition) == tuple(one.specimen for one in study.specimens)
    assert read_visits(drop / "study" / "visits.csv", definition) == study.visits
    assert dict(read_arms(truth / "arms.csv", definition).arm_by_subject) == dict(study.arm_by_subject)


def test_truth_covers_every_sound_file_and_no_bad_one(written_study: SimulatedStudy, written: Path) -> None:
    study, truth = written_study, read_truth(written / "truth" / "truth.csv")
    keys = {(true.accession_id, true.measurand) for true in truth}
    assert len(keys) == len(truth)
    plated = {(placed.accession_id, plate.analyte.code) for plate in study.plates for placed in plate.specimens}
    assert plated <= keys
    assert {job.accession_id for job in study.acquisitions} <= {accession for accession, _ in keys}
    listed = {one.accession_id for one in study.specimens}
    assert {accession for accession, _ in keys} <= listed, "the accession nobody received has no truth"
    for true in truth:
        assert true.value >= 0.0
        assert true.unit != "%" or true.value <= 100.0
        assert true.unit != "H-score" or true.value <= 300.0


def test_the_truth_tells_the_data_cut_and_the_bad_files(written_study: SimulatedStudy, written: Path) -> None:
    study, truth = written_study, written / "truth"
    described = json.loads((truth / "study.json").read_text(encoding="utf-8"))
    assert described["as_of"] == study.as_of.isoformat()
    assert described["study_id"] == "targeting-atr-sts"
    with (truth / "bad_files.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["assay"], row["name"]) for row in csv.DictReader(file)] == [
            (bad.assay, bad.name) for bad in study.bad_files
        ]
    assert (truth / "expected_status.csv").is_file()


def test_flowio_refuses_the_bad_acquisitions_and_reads_all_others(written_study: SimulatedStudy, written: Path) -> None:
    why_by_name = {file.name: file.why for file in written_study.bad_files if file.assay is Assay.CYTOMETRY}
    folder = written / "drop" / "cytometry"
    for name, why in why_by_name.items():
        if "PNG" in why:
            assert (folder / name).read_bytes().startswith(b"\x89PNG")
        else:
            with pytest.raises(FCSParsingError, match="data section greater than file size"):
                flowio.FlowData(folder / name)
    sound = [path for path in folder.iterdir() if path.name not in why_by_name]
    assert {path.name for path in sound} == {job.file_name for job in written_study.acquisitions}
    assert all(flowio.FlowData(path).event_count in {40, 1500} for path in sound)


def test_tifffile_refuses_the_cut_off_slide_and_reads_all_others(written_study: SimulatedStudy, written: Path) -> None:
    (cut_off,) = (file.name for file in written_study.bad_files if file.assay is Assay.IHC)
    folder = written / "drop" / "ihc"
    with tifffile.TiffFile(folder / cut_off) as tiff, pytest.raises(tifffile.TiffFileError, match="corrupted tag list"):
        tiff.series[0].levels[-1].asarray()
    sound = [path for path in folder.iterdir() if path.name != cut_off]
    assert {path.name for path in sound} == {job.file_name for job in written_study.slides}
    for path in sound:
        with tifffile.TiffFile(path) as tiff:
            assert tiff.series[0].asarray().shape == (512, 512, 3)


def test_the_empty_export_is_empty_and_the_bad_map_names_nobody(written_study: SimulatedStudy, written: Path) -> None:
    folder = written / "drop" / "elisa"
    empty, plate_map = (file.name for file in written_study.bad_files if file.assay is Assay.ELISA)
    assert (folder / empty).read_bytes() == b""
    assert (folder / plate_map.replace(".map.csv", ".txt")).stat().st_size > 1000
    with (folder / plate_map).open(newline="", encoding="utf-8") as file:
        mapped = {row["accession_id"] for row in csv.DictReader(file)}
    assert not mapped & {one.accession_id for one in written_study.specimens}


def test_no_file_that_goes_into_the_laboratory_names_an_arm(
    definition: StudyDefinition, layouts: Mapping[str, PlateLayout], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arms = tuple(arm.model_copy(update={"code": code}) for arm, code in zip(definition.arms, ("ZEBRA", "QUAGGA"), strict=True))
    marked = definition.model_copy(update={"arms": arms})
    folder = tmp_path_factory.mktemp("blinded")
    study = simulate_study(marked, layouts=layouts, subjects=3, events=50, slide_px=64)
    write_study(study, folder / "drop", folder / "truth")
    for path in (folder / "drop").rglob("*"):
        if path.is_file():
            assert b"ZEBRA" not in path.read_bytes()
            assert b"QUAGGA" not in path.read_bytes()
    assert b"ZEBRA" in (folder / "truth" / "arms.csv").read_bytes()


def test_progress_is_told_for_every_file(
    definition: StudyDefinition, layouts: Mapping[str, PlateLayout], tmp_path_factory: pytest.TempPathFactory
) -> None:
    told: list[tuple[int, int, str]] = []
    folder = tmp_path_factory.mktemp("told")
    study: SimulatedStudy = simulate_study(definition, layouts=layouts, subjects=1, events=50, slide_px=64)
    write_study(study, folder / "drop", folder / "truth", progress=lambda done, whole, name: told.append((done, whole, name)))
    count = len(study.jobs) + len(study.bad_jobs)
    assert [done for done, _, _ in told] == list(range(1, count + 1))
    assert {whole for _, whole, _ in told} == {count}
    assert {name for _, _, name in told} == {job.file_name for job in (*study.jobs, *study.bad_jobs)}
