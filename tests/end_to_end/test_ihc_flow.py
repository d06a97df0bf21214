"""Slides in a laboratory: their evidence, annotations and who answers for them, control slides, and what pathologists say."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from biomarkers.laboratory import open_lab
from biomarkers.readers.study_files import packaged_study_text
from biomarkers.timepoints.alignment import TimepointRow

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab

pytestmark = pytest.mark.slow


def asked(lab: Lab, question: str, *given: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(lab.root / "lab.db")
    rows = connection.execute(question, given).fetchall()
    connection.close()
    return rows


def states(files: Sequence[dict[str, str]]) -> dict[str, str]:
    return {file["name"]: file["state"] for file in files}


def rows_of(lab: Lab, measurand: str) -> dict[str | None, TimepointRow]:
    with open_lab(lab.root) as laboratory:
        return {row.accession_id: row for row in laboratory.rows(as_of=date(2026, 6, 30)) if row.measurand == measurand}


def drawn(*regions: tuple[str, float, float, float, float]) -> str:
    """Rectangles as QuPath exports them."""
    features = [
        {
            "type": "Feature",
            "properties": {"objectType": "annotation", "classification": {"name": kind}},
            "geometry": {"type": "Polygon", "coordinates": [[[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]]},
        }
        for kind, x, y, w, h in regions
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def slide(small_study: Dropped) -> Path:
    return next(iter(sorted((small_study.inbox / "ihc").glob("*_CD8.*"))))


def stem_of(slide: Path) -> str:
    return slide.name.removesuffix(".ome.tiff")


@pytest.fixture
def with_slide(new_lab: Callable[..., Lab], small_study: Dropped, slide: Path) -> Callable[..., Lab]:
    """Make laboratories with the study's lists and a slide."""

    def make(study: Path | None = None) -> Lab:
        lab = new_lab(study=study)
        small_study.into(lab, kinds=("study",))
        lab.drop("ihc", slide)
        return lab

    return make


def test_an_annotation_is_scored_a_corrected_one_waits_for_a_signature_and_all_survives_a_recomputation(
    with_slide: Callable[..., Lab], slide: Path
) -> None:
    lab, stem = with_slide(), stem_of(slide)
    lab.write("ihc", f"{stem}.geojson", drawn(("Tumor", 200, 200, 500, 600)))
    assert states(lab.ingest())[slide.name] == "recorded"
    ((run_id, analysis_id),) = asked(lab, "SELECT run_id, analysis_id FROM analysis WHERE assay = 'ihc' AND step = ''")
    regions = asked(lab, "SELECT region FROM score WHERE analysis_id = ? ORDER BY ordinal", analysis_id)
    assert regions == [("tissue",), ("tumour",)]
    roles = asked(lab, "SELECT role FROM analysis_source WHERE analysis_id = ? ORDER BY role", analysis_id)
    assert roles == [("annotation",), ("instrument",)]

    place = lab.root / "evidence" / str(run_id)
    assert {"quality.html", "cells.parquet", "cells.geojson.gz"} <= {path.name for path in place.iterdir()}
    assert any(path.suffix == ".png" for path in place.iterdir())
    assert json.loads(gzip.decompress((place / "cells.geojson.gz").read_bytes()))["type"] == "FeatureCollection"
    page = (place / "quality.html").read_bytes()

    accession = stem.split("_", maxsplit=1)[0]
    before = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    corrected = drawn(("Tumor", 200, 200, 300, 600), ("Necrosis", 600, 200, 300, 600))
    lab.write("ihc", f"{stem}.geojson", corrected)
    (waiting,) = lab.ingest()
    assert waiting["state"] == "waiting"
    assert "nobody has signed" in waiting["what"]
    lab.write("ihc", f"{stem}.toml", 'by = "R. Virchow"\nreason = "The left part is necrotic."\n')
    assert set(states(lab.ingest()).values()) == {"recorded"}
    assert asked(lab, "SELECT reason FROM supersession") == [
        (f"The annotation '{stem}.geojson' was dropped. R. Virchow: The left part is necrotic.",)
    ]
    after = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert after.denominator != before.denominator, "necrosis is no tissue to be counted in"
    assert (place / "quality.html").read_bytes() != page

    (place / "quality.html").unlink()
    report = json.loads(lab.run("recompute", "--reason", "To see that the annotation stays.", "--json").stdout)
    assert (report["changed"], report["failed"]) == (0, [])
    assert lab.ingest() == []
    assert (place / "quality.html").is_file(), "a sweep draws what is missing"


def test_an_annotation_that_comes_first_waits_and_a_faulty_one_goes_to_quarantine(
    new_lab: Callable[..., Lab], small_study: Dropped, slide: Path
) -> None:
    lab, stem = new_lab(), stem_of(slide)
    small_study.into(lab, kinds=("study",))
    lab.write("ihc", f"{stem}.geojson", drawn(("Tumor", 9000, 9000, 500, 600)))
    assert states(lab.ingest())[f"{stem}.geojson"] == "waiting"
    lab.drop("ihc", slide)
    assert states(lab.ingest(status=1)) == {f"{stem}.geojson": "quarantined", slide.name: "waiting"}
    assert "outside the slide" in (lab.root / "quarantine" / "ihc" / f"{stem}.geojson.reason.txt").read_text()


def test_control_slides_are_judged_and_he_kept_and_neither_reaches_the_table(
    with_slide: Callable[..., Lab], slide: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    patterns = (
        'slide_roles = [{ role = "NEGATIVE_CONTROL", pattern = "NEG_{stain}_{batch}" },'
        ' { role = "HE", pattern = "{accession_id}_HE" }]\n'
    )
    text = packaged_study_text().replace('slide_file = "{accession_id}_{stain}"\n', f"{patterns}")
    study.write_text(text, encoding="utf-8")
    lab, stem = with_slide(study), stem_of(slide)
    accession = stem.split("_", maxsplit=1)[0]
    content = slide.read_bytes()
    lab.write("ihc", "NEG_CD8_B1.ome.tiff", content + b"\0")
    lab.write("ihc", f"{accession}_HE.ome.tiff", content + b"\0\0")
    lab.write("ihc", "batch-7.ome.tiff", content + b"\0\0\0")
    lab.write("ihc", "batch-7.toml", 'role = "POSITIVE_CONTROL"\nstain = "CD8"\n')
    taken = {name: state for name, state in states(lab.ingest()).items() if not name.endswith(".csv")}
    assert set(taken.values()) == {"recorded"}
    assert len(taken) == 5
    kept = asked(lab, "SELECT name, more FROM analysis WHERE assay = 'ihc' AND step = '' ORDER BY name")
    role = {str(name): json.loads(str(more)).get("role", "SPECIMEN") for name, more in kept}
    assert sorted(role.values()) == ["HE", "NEGATIVE_CONTROL", "POSITIVE_CONTROL", "SPECIMEN"]
    assert asked(lab, "SELECT DISTINCT accession_id FROM result WHERE assay = 'ihc'") == [(accession,)]
    codes = {str(code) for (code,) in asked(lab, "SELECT code FROM finding")}
    assert {"NEGATIVE_CONTROL_FAILED", "CONTROL_RANGE_UNDECLARED"} <= codes, "the specimen's picture is no clean control"
    report = json.loads(lab.run("recompute", "--reason", "To see that nothing changes.", "--json").stdout)
    assert (report["changed"], report["failed"]) == (0, [])


def test_a_section_without_tumour_is_not_evaluable_until_its_readers_say_otherwise(
    with_slide: Callable[..., Lab], slide: Path
) -> None:
    lab, accession = with_slide(), stem_of(slide).split("_", maxsplit=1)[0]
    header = "accession_id,tumour_present,viable_tumour_percent,necrosis_percent,reader\n"
    lab.write("study", "pathology.csv", f"{header}{accession},yes,60,10,Dr Virchow\n")
    assert states(lab.ingest())["pathology.csv"] == "recorded"
    before = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert before.value is not None
    assert "PATHOLOGY_READ" in before.findings
    assert asked(lab, "SELECT message FROM finding WHERE code = 'PATHOLOGY_READ'") == [
        ("Dr Virchow: tumour is present, viable tumour 60 %, necrosis 10 %.",)
    ]

    lab.write("study", "pathology.csv", f"{header}{accession},no,,,Dr Virchow\n")
    lab.ingest()
    without = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert (without.status, without.value) == ("not_evaluable", None)
    assert "NO_TUMOUR" in without.findings
    assert without.source_sha256 == before.source_sha256
    assert lab.ingest() == []
    report = json.loads(lab.run("recompute", "--reason", "To see that it stays.", "--json").stdout)
    assert (report["changed"], report["derived"]) == (0, 0)

    lab.write("study", "pathology.csv", f"{header}{accession},no,,,Dr Virchow\n{accession},yes,20,,Dr Rokitansky\n")
    lab.ingest()
    disputed = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert disputed.value == before.value
    assert "TUMOUR_DISPUTED" in disputed.findings


def test_a_further_scan_waits_for_a_person_and_a_further_section_is_pooled(with_slide: Callable[..., Lab], slide: Path) -> None:
    lab, accession = with_slide(), stem_of(slide).split("_", maxsplit=1)[0]
    said = f'accession_id = "{accession}"\nstain = "CD8"\n'
    lab.write("ihc", "again.ome.tiff", slide.read_bytes() + b"\0")
    lab.write("ihc", "again.toml", said)
    lab.ingest()
    (scan, sidecar) = (file for file in lab.ingest() if file["name"].startswith("again"))
    assert (scan["state"], sidecar["state"]) == ("waiting", "waiting")
    assert f"A scan of CD8 of specimen '{accession}' is on record already" in scan["what"]
    first = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    waiting = lab.root / "inbox" / "ihc" / "again.ome.tiff"
    lab.run("slides accept", str(waiting), "--reason", "The first was out of focus.", "--replaces")
    replaced = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert replaced.run_id != first.run_id
    assert replaced.value == first.value
    decided = asked(lab, "SELECT DISTINCT decision, reason FROM disposition")
    assert decided == [("repeated", "The first was out of focus.")]

    lab.write("ihc", "deeper.ome.tiff", slide.read_bytes() + b"\0\0")
    lab.write("ihc", "deeper.toml", f'{said}section = "2"\n')
    assert set(states(lab.ingest()).values()) == {"recorded"}
    pooled = rows_of(lab, "CD8_DENSITY_TISSUE")[accession]
    assert pooled.denominator is not None
    assert pooled.denominator.endswith("in 2 sections")
    assert "SECTIONS_POOLED" in pooled.findings
    assert pooled.value == pytest.approx(first.value), "twice the same picture: twice the cells on twice the area"
    assert pooled.lower is not None
    assert first.lower is not None
    assert pooled.lower > first.lower
    report = json.loads(lab.run("recompute", "--reason", "To see that nothing changes.", "--json").stdout)
    assert (report["changed"], report["derived"], report["failed"]) == (0, 0, [])
    lab.run("export", "--as", "cidc", "--output", str(lab.root / "cidc"))
    exported = json.loads((lab.root / "cidc" / "cidc-CD8.json").read_text())
    assert [row["cimac_id"] for row in exported["records"]] == [accession] * 2


def test_a_protocol_of_the_laboratory_makes_exactly_its_slides_stale(
    with_slide: Callable[..., Lab], slide: Path, small_study: Dropped
) -> None:
    lab, accession = with_slide(), stem_of(slide).split("_", maxsplit=1)[0]
    lab.drop("ihc", next(iter(sorted((small_study.inbox / "ihc").glob("*_CD4.*")))))
    lab.ingest()
    before = rows_of(lab, "CD8_PCT_POSITIVE")[accession]
    own = lab.root / "stain_protocols" / "cd8.toml"
    packaged = resources.files("biomarkers.ihc") / "protocols" / "cd8.toml"
    own.write_text(packaged.read_text(encoding="utf-8").replace("[0.2, 0.4, 0.6]", "[0.5, 0.7, 0.9]"), encoding="utf-8")
    with open_lab(lab.root) as laboratory:
        assert [(run.name, run.why) for run in laboratory.status().stale] == [
            (slide.name, "The protocol of stain 'CD8' has changed.")
        ]
    report = json.loads(lab.run("recompute", "--reason", "Our own cut-offs.", "--json").stdout)
    assert (report["changed"], report["unchanged"], report["failed"]) == (1, 1, [])
    after = rows_of(lab, "CD8_PCT_POSITIVE")[accession]
    assert before.value is not None
    assert after.value is not None
    assert after.value < before.value
    own.write_text("name = 'cd8'\n", encoding="utf-8")
    assert "stain_protocols/cd8.toml" in lab.run("check", status=1).stdout


def test_nuclei_and_classes_from_elsewhere_give_tps_and_a_correction_of_them_waits(
    new_lab: Callable[..., Lab], small_study: Dropped, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    stain = packaged_study_text().partition('code = "PDL1"')
    scores = stain[2].replace('["DENSITY_TISSUE", "PCT_POSITIVE"]', '["DENSITY_TISSUE", "PCT_POSITIVE", "TPS", "CPS"]', 1)
    study.write_text("".join((*stain[:2], scores)), encoding="utf-8")
    lab = new_lab(study=study)
    packaged = (resources.files("biomarkers.ihc") / "protocols" / "pdl1.toml").read_text(encoding="utf-8")
    own = f'clone = "22C3"\nplatform = "Autostainer Link 48"\n{packaged}'
    (lab.root / "stain_protocols" / "pdl1.toml").write_text(own, encoding="utf-8")
    small_study.into(lab, kinds=("study",))
    slide = next(iter(sorted((small_study.inbox / "ihc").glob("*_PDL1.*"))))
    stem, accession = stem_of(slide), slide.name.split("_", maxsplit=1)[0]
    lab.drop("ihc", slide)
    lab.ingest()
    refused = rows_of(lab, "PDL1_TPS")[accession]
    assert (refused.status, "NEEDS_CELL_CLASSES" in refused.findings) == ("not_evaluable", True)

    ((run_id,),) = asked(lab, "SELECT run_id FROM analysis WHERE assay = 'ihc' AND step = ''")
    cells = pq.read_table(lab.root / "evidence" / str(run_id) / "cells.parquet").to_pydict()
    with tifffile.TiffFile(slide) as file:
        labels = np.zeros(file.pages.first.shape[:2], dtype=np.int32)
    for number, (x, y) in enumerate(zip(cells["x_px"], cells["y_px"], strict=True), start=1):
        cv2.circle(labels, (round(x), round(y)), 5, number, thickness=-1)
    kinds = ("tumour", "lymphocyte", "macrophage")
    classes = [f"{number + 1},{kinds[number % 3]}" for number in range(len(cells["x_px"]))]
    lab.write("ihc", f"{stem}.classes.csv", "\n".join(["label,class", *classes]) + "\n")
    (waiting,) = lab.ingest()
    assert (waiting["state"], "there is none yet" in waiting["what"]) == ("waiting", True)
    np.save(lab.root / "inbox" / "ihc" / f"{stem}.labels.npy", labels)
    assert set(states(lab.ingest()).values()) == {"recorded"}
    given = rows_of(lab, "PDL1_TPS")[accession]
    assert (given.status, given.denominator) == ("measured", "viable tumour cells")
    codes = asked(lab, "SELECT code FROM finding WHERE code = 'CELLS_FOUND_ELSEWHERE'")
    assert codes == [("CELLS_FOUND_ELSEWHERE",)]
    lab.write("ihc", f"{stem}.classes.csv", "\n".join(["label,class", *reversed(classes[:-1])]) + "\n")
    (waiting,) = lab.ingest()
    assert "The list of classes differs" in waiting["what"]
    report = json.loads(lab.run("recompute", "--reason", "To see that it stays.", "--json").stdout)
    assert (report["changed"], report["failed"]) == (0, [])
