"""`biomarkers ihc score` on painted pictures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from biomarkers.cli.ihc import app
from biomarkers.errors import StudyDefinitionError


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
