"""`biomarkers ihc score` on painted pictures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import tifffile
from typer.testing import CliRunner

from biomarkers.cli.ihc import app
from biomarkers.errors import SourceFileError, StudyDefinitionError


@pytest.fixture(scope="module")
def picture(paint_slide: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "field.png"
    PIL.Image.fromarray(paint_slide().pixels).save(path)
    return path


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["score", *map(str, arguments)], catch_exceptions=False)


def test_the_json_has_the_promised_keys_and_adds_up(picture: Path) -> None:
    outcome = _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--json")
    assert outcome.exit_code == 0
    scored = json.loads(outcome.stdout)
    promised = {"stain", "pixel_size_um", "tissue_area_mm2", "regions", "cells", "positive", "positive_percent"}
    promised |= {"density_per_mm2", "h_score", "classes", "intervals", "tps", "cps", "not_evaluable", "findings"}
    assert promised <= set(scored)
    assert list(scored["classes"]) == ["0", "1+", "2+", "3+"]
    assert sum(scored["classes"].values()) == scored["cells"]
    assert scored["density_per_mm2"] == pytest.approx(scored["positive"] / scored["tissue_area_mm2"])
    for name, (lower, upper) in scored["intervals"].items():
        assert lower <= scored[name] <= upper


def test_without_a_pixel_size_the_density_is_null_and_the_reason_is_given(picture: Path) -> None:
    scored = json.loads(_run(picture, "--stain", "cd8", "--json").stdout)
    assert scored["density_per_mm2"] is None
    assert scored["tissue_area_mm2"] is None
    assert any("pixel size" in reason for reason in scored["not_evaluable"])
    assert "NO_PIXEL_SIZE" in {finding["code"] for finding in scored["findings"]}


def test_pd_l1_refuses_tps_and_cps_with_the_reason(picture: Path) -> None:
    scored = json.loads(_run(picture, "--stain", "pdl1", "--pixel-size-um", "0.5", "--json").stdout)
    assert scored["tps"] is None
    assert scored["cps"] is None
    assert scored["h_score"] is None
    assert any("TPS and CPS" in reason for reason in scored["not_evaluable"])


def test_cells_go_to_parquet_and_to_geojson_alike(picture: Path, tmp_path: Path) -> None:
    table, outlines, overlay = tmp_path / "cells.parquet", tmp_path / "cells.geojson.gz", tmp_path / "overlay.png"
    _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--cells", table, "--overlay", overlay)
    _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--cells", outlines)
    rows = pq.read_table(table)
    promised = ["x_px", "y_px", "x_um", "y_um", "nucleus_area_um2", "dab_od", "compartment", "intensity_class", "positive"]
    assert rows.column_names == promised
    collection = json.loads(gzip.decompress(outlines.read_bytes()))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == rows.num_rows
    for feature in collection["features"]:
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert feature["properties"]["objectType"] == "detection"
    with PIL.Image.open(overlay) as drawn, PIL.Image.open(picture) as plain:
        assert drawn.size == plain.size


def test_a_cell_file_of_another_kind_is_a_wrong_call(picture: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["score", str(picture), "--stain", "cd8", "--cells", str(tmp_path / "cells.txt")])
    assert outcome.exit_code == 2


def test_an_unknown_stain_names_the_known_ones(picture: Path) -> None:
    with pytest.raises(StudyDefinitionError, match="cd4, cd8, ki67, pdl1"):
        _run(picture, "--stain", "cd99")


def test_a_person_reads_a_table(picture: Path) -> None:
    outcome = _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5")
    assert "positive cells per mm2 of tissue" in outcome.stdout


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nests of tumour side by side, a strip of stroma, and an exclusion within the first nest."""

    def feature(name: str, kind: str, *box: int) -> dict[str, object]:
        left, top, right, bottom = box
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"objectType": "annotation", "name": name, "classification": {"name": kind}},
        }

    features = [
        feature("left", "Tumor", 200, 300, 500, 700),
        feature("right", "Tumor", 500, 300, 800, 700),
        feature("", "Stroma", 300, 750, 700, 850),
        feature("", "Ignore*", 250, 350, 350, 450),
    ]
    path = tmp_path_factory.mktemp("roi") / "field.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_regions_are_scored_each_and_what_is_excluded_counts_nowhere(picture: Path, annotated: Path, tmp_path: Path) -> None:
    table = tmp_path / "cells.parquet"
    common = (picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--json")
    plain = json.loads(_run(*common).stdout)
    scored = json.loads(_run(*common, "--roi", annotated, "--cells", table).stdout)
    by_name = {region["region"]: region for region in scored["regions"]}
    assert list(by_name) == ["tumour", "tumour: left", "tumour: right", "stroma"]
    um2 = 0.5**2 / 1e6
    # The mask's pixels are 4 µm wide; shares of them are counted.
    assert by_name["tumour: right"]["area_mm2"] == pytest.approx(300 * 400 * um2, rel=0.01)
    assert by_name["tumour: left"]["area_mm2"] == pytest.approx((300 * 400 - 100 * 100) * um2, rel=0.01)
    assert by_name["tumour"]["cells"] == by_name["tumour: left"]["cells"] + by_name["tumour: right"]["cells"]
    rows = pq.read_table(table).to_pandas()
    assert len(rows) == scored["cells"] < plain["cells"]
    excluded = rows.x_px.between(250, 349) & rows.y_px.between(350, 449)
    assert not excluded.any()
    right = (rows.x_px + 0.5).between(500, 800) & (rows.y_px + 0.5).between(300, 700)
    assert by_name["tumour: right"]["cells"] == int(right.sum())
    assert by_name["tumour: right"]["positive"] == int(rows.positive[right].sum())
    tumour = by_name["tumour"]
    assert tumour["density_per_mm2"] == pytest.approx(tumour["positive"] / tumour["area_mm2"])
    # 0.02 mm² of stroma are too little for a number, and the reason stands with the region alone.
    assert by_name["stroma"]["density_per_mm2"] is None
    assert "are needed" in by_name["stroma"]["not_evaluable"][0]
    assert scored["not_evaluable"] == []
    left_out = {area["name"]: area["area_mm2"] for area in scored["areas"]}
    assert left_out["exclude"] == pytest.approx(100 * 100 * um2, rel=0.01)


def test_a_person_reads_a_table_for_every_region(picture: Path, annotated: Path) -> None:
    outcome = _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--roi", annotated)
    for region in ("tissue", "tumour: left", "stroma"):
        assert f"field.png, CD8, {region}\n" in outcome.stdout


def test_annotations_of_another_slide_are_refused(picture: Path, annotated: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.geojson"
    moved = json.loads(annotated.read_text())
    for feature in moved["features"]:
        feature["geometry"]["coordinates"] = [[[x + 50_000, y] for x, y in feature["geometry"]["coordinates"][0]]]
    other.write_text(json.dumps(moved))
    with pytest.raises(SourceFileError, match="It lies outside the slide of 1024 x 1024 pixels"):
        _run(picture, "--stain", "cd8", "--pixel-size-um", "0.5", "--roi", other)


def test_the_page_holds_scores_masks_fields_and_what_is_not_proven(picture: Path, annotated: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    _run(picture, "--stain", "cd4", "--pixel-size-um", "0.5", "--roi", annotated, "--page", page)
    text = page.read_text()
    for words in (
        "these are CD4+ cells, not T cells",
        "not yet proven against labelled cells",
        "Scores of tumour: left",
        "What was left out",
        "region-exclude",
        "optical density of DAB",
    ):
        assert words in text


@pytest.mark.real
def test_a_slide_stained_with_haematoxylin_and_eosin_is_recognised_and_gets_no_score(real_data: Path) -> None:
    scored = json.loads(_run(real_data / "ihc" / "slide" / "cmu_small_region.svs", "--stain", "cd8", "--json").stdout)
    wrong = next(finding for finding in scored["findings"] if finding["code"] == "WRONG_STAIN")
    assert wrong["severity"] == "reject"
    assert "H&E" in wrong["message"]
    assert scored["positive_percent"] is scored["density_per_mm2"] is scored["h_score"] is None
    assert wrong["message"] in scored["not_evaluable"]
    assert scored["pixel_size_um"] == 0.499


@pytest.fixture(scope="module")
def labelled(paint_slide: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A painted field, and beside it what a perfect outside program would say of it, with classes."""
    slide = paint_slide(seed=4)
    folder = tmp_path_factory.mktemp("labelled")
    PIL.Image.fromarray(slide.pixels).save(folder / "field.png")
    labels = np.zeros(slide.pixels.shape[:2], dtype=np.uint16)
    rows, columns = np.mgrid[-8:9, -8:9]
    disk = np.hypot(rows, columns) <= 6.5
    for number, (x, y) in enumerate(zip(slide.x_px, slide.y_px, strict=True), start=1):
        labels[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9][disk] = number
    PIL.Image.fromarray(labels).save(folder / "labels.png")
    tifffile.imwrite(folder / "labels.tif", labels)
    np.save(folder / "labels.npy", labels)
    kinds = ("tumour", "lymphocyte", "macrophage")
    lines = [f"{number},{kinds[number % 3]}" for number in range(1, len(slide.x_px) + 1)]
    (folder / "classes.csv").write_text("label,class\n" + "\n".join(lines) + "\n")
    return folder, slide


@pytest.mark.parametrize("kind", ["png", "tif", "npy"])
def test_cells_found_elsewhere_are_measured_as_our_own(labelled: tuple[Path, Any], kind: str) -> None:
    folder, slide = labelled
    outcome = _run(
        folder / "field.png", "--stain", "cd8", "--pixel-size-um", "0.5", "--labels", folder / f"labels.{kind}", "--json"
    )
    scored = json.loads(outcome.stdout)
    assert scored["cells"] == len(slide.x_px)
    assert scored["positive"] == (slide.intensity_class > 0).sum()


def test_classes_with_clone_and_platform_give_tps_and_cps_and_without_them_the_reason(
    labelled: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, slide = labelled
    own = tmp_path / "pdl1.toml"
    packaged = (resources.files("biomarkers.ihc") / "protocols" / "pdl1.toml").read_text(encoding="utf-8")
    own.write_text(f'clone = "22C3"\nplatform = "Autostainer Link 48"\n{packaged}')
    words = ("--pixel-size-um", "0.5", "--labels", folder / "labels.tif", "--classes", folder / "classes.csv", "--json")
    scored = json.loads(_run(folder / "field.png", "--stain", own, *words).stdout)
    tumour = np.arange(1, len(slide.x_px) + 1) % 3 == 0
    assert scored["tps"] == pytest.approx(100 * (slide.intensity_class[tumour] > 0).mean(), abs=1.0)
    assert scored["cps"] is not None
    undeclared = json.loads(_run(folder / "field.png", "--stain", "pdl1", *words).stdout)
    assert (undeclared["tps"], undeclared["cps"]) == (None, None)
    assert any("clone and platform" in reason for reason in undeclared["not_evaluable"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (np.zeros((10, 300), dtype=np.int32), "The label image has 300 x 10 pixels"),
        (np.zeros((64, 64), dtype=np.float32), "holds float32 numbers"),
        (b"\x93NUMPY\x01\x00 nonsense", "is damaged, too large, or none"),
    ],
    ids=["another shape", "probabilities", "nonsense"],
)
def test_a_label_image_that_is_none_of_this_picture_is_refused(
    labelled: tuple[Path, Any], tmp_path: Path, content: object, what: str
) -> None:
    path = tmp_path / "labels.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.asarray(content))
    with pytest.raises(SourceFileError, match=what):
        _run(labelled[0] / "field.png", "--stain", "cd8", "--labels", path)


def test_faulty_classes_are_told_all_at_once(labelled: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text("label,class\n1,tumour\n1,other\nx,tumour\n3,stroma\n")
    with pytest.raises(SourceFileError) as told:
        _run(labelled[0] / "field.png", "--stain", "cd8", "--labels", labelled[0] / "labels.tif", "--classes", path)
    assert [fault.where for fault in told.value.faults] == [f"File 'classes.csv', line {line}." for line in (3, 4, 5)]
