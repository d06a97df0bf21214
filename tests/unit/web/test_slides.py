"""Slides through the pages: tiles, cells where somebody looks, regions, and what a pathologist says of them."""

from __future__ import annotations

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from biomarkers.ihc.slide import Region
from biomarkers.lab.archive import raw_path
from biomarkers.readers.slides import open_slide
from biomarkers.store.lookups import current_analysis
from biomarkers.store.results import read_analysis
from biomarkers.store.slides import stored_slides
from biomarkers.web.slides_kept import Shelf, SlideKeeper

if TYPE_CHECKING:
    import httpx
    from conftest import Served


def slide_runs(served: Served) -> list[tuple[str, str]]:
    """Run and digest of the slides, the one with regions first."""
    with served.laboratory.database.read() as reading:
        return [(one.run_id, one.sources[0].sha256) for one in stored_slides(reading)]


def csrf(client: httpx.Client) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]*)"', client.get("/account").text)
    assert found is not None
    return found.group(1)


def test_the_finest_tiles_show_the_archived_slide_and_the_coarsest_all_of_it(people_served: Served) -> None:
    run_id, sha256 = slide_runs(people_served)[0]
    client = people_served.logged_in("technician")
    view = client.get(f"/slides/{run_id}/view").json()
    with open_slide(raw_path(people_served.laboratory.folder, sha256)) as slide:
        level = slide.levels[0]
        pixels = slide.read_region(0, Region(x=0, y=0, width=level.width, height=level.height)).astype(float)
    assert (view["width"], view["height"]) == (level.width, level.height) == (1024, 1024)
    assert view["top"] == 1
    for column, row in ((0, 0), (1, 1)):
        answer = client.get(f"/slides/{run_id}/tiles/1/{column}/{row}")
        assert answer.headers["content-type"] == "image/jpeg"
        shown = np.asarray(PIL.Image.open(io.BytesIO(answer.content)), dtype=float)
        meant = pixels[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
        assert shown.shape == meant.shape
        assert np.abs(shown - meant).mean() < 6  # of 255: what JPEG takes
    whole = np.asarray(PIL.Image.open(io.BytesIO(client.get(f"/slides/{run_id}/tiles/0/0/0").content)), dtype=float)
    halved = pixels.reshape(512, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(whole - halved).mean() < 6
    for nowhere in ("2/0/0", "0/1/0", "1/2/0", "1/0/-1", f"0/{10**30}/0"):
        assert client.get(f"/slides/{run_id}/tiles/{nowhere}").status_code == 404, nowhere


def test_a_tile_is_kept_by_the_browser_and_by_nobody_else(people_served: Served) -> None:
    run_id, _ = slide_runs(people_served)[0]
    client = people_served.logged_in("scientist")
    first = client.get(f"/slides/{run_id}/tiles/0/0/0")
    assert first.headers["cache-control"] == "private, max-age=3600"
    again = client.get(f"/slides/{run_id}/tiles/0/0/0", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_cells_of_a_rectangle_are_those_of_the_table_and_never_too_many(
    people_served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = slide_runs(people_served)[0]
    client = people_served.logged_in("technician")
    table = pq.read_table(people_served.laboratory.folder.evidence / run_id / "cells.parquet")
    x, y = table["x_px"].to_numpy() + 0.5, table["y_px"].to_numpy() + 0.5
    inside = (x >= 100) & (x < 600) & (y >= 100) & (y < 500)
    assert 20 < inside.sum() < len(x)
    given = {"left": 100, "top": 100, "right": 600, "bottom": 500}
    cells = client.get(f"/slides/{run_id}/cells", params=given).json()
    assert cells["inside"] == inside.sum() == len(cells["x"])
    assert sorted(cells["x"]) == sorted(round(float(np.float32(one)), 1) for one in x[inside])
    positive = np.asarray(table["positive"].to_numpy(zero_copy_only=False))
    assert sum(grade > 0 for grade in cells["grade"]) == (inside & positive).sum()
    monkeypatch.setattr("biomarkers.web.pages.slides.MOST_DRAWN", 15)
    fewer = client.get(f"/slides/{run_id}/cells", params=given).json()
    assert fewer["inside"] == inside.sum()
    assert len(fewer["x"]) == 15
    assert sum(grade > 0 for grade in fewer["grade"]) == min(15, (inside & positive).sum())
    for wrong in ({"left": "nan"}, {"right": "inf"}, {"top": "x"}):
        assert client.get(f"/slides/{run_id}/cells", params={**given, **wrong}).status_code == 422


def test_regions_are_drawn_as_text_and_given_back_as_they_were_drawn(people_served: Served) -> None:
    (with_regions, _), (without, _) = slide_runs(people_served)
    client = people_served.logged_in("technician")
    (region,) = client.get(f"/slides/{with_regions}/view").json()["regions"]
    assert (region["name"], region["kind"]) == ("<b>nest</b>", "tumour")
    answer = client.get(f"/slides/{with_regions}/regions")
    assert json.loads(answer.content)["features"][0]["properties"]["classification"] == {"name": "Tumor"}
    assert "attachment" in answer.headers["content-disposition"]
    assert client.get(f"/slides/{without}/regions").status_code == 404
    page = client.get("/pathology").text
    assert "<b>nest</b>" not in page


def test_only_slides_are_shown_piece_by_piece(people_served: Served) -> None:
    client = people_served.logged_in("technician")
    plate = next(run["run_id"] for run in client.get("/api/v1/runs").json() if run["assay"] == "elisa")
    for address in (f"/slides/{plate}/view", f"/slides/{plate}/tiles/0/0/0", f"/slides/{plate}/field/0/0"):
        assert client.get(address).status_code == 404, address


def test_baseline_stands_beside_c2d1_with_the_numbers_on_record(people_served: Served) -> None:
    page = people_served.logged_in("scientist").get("/pathology").text
    rows = [row for row in people_served.laboratory.rows() if row.measurand == "CD8_DENSITY_TISSUE" and row.value is not None]
    assert {row.visit for row in rows} == {"BASELINE", "C2D1"}
    assert page.index("<h4>BASELINE</h4>") < page.index("<h4>C2D1</h4>")
    for row in rows:
        assert re.search(rf'<td class="n">{row.value:.4g}', page), row.value
    assert "no batch named, so no control slide" in page
    assert page.count('class="field"') == 2


def decide(client: httpx.Client, run_id: str, verdict: str, reason: str) -> httpx.Response:
    given = {"csrf": csrf(client), "verdict": verdict, "reason": reason}
    return client.post(f"/slides/{run_id}/decisions", data=given, follow_redirects=False)


def test_what_a_pathologist_says_is_on_record_with_name_and_reason_and_counts(own_served: Served) -> None:
    (first, _), (second, _) = slide_runs(own_served)
    reviewer = own_served.logged_in("reviewer")
    assert decide(reviewer, first, "accept", " ").status_code == 400
    assert decide(reviewer, first, "perhaps", "x").status_code == 400
    assert decide(reviewer, "ihc-0000000000000000", "accept", "x").status_code == 409
    assert decide(own_served.logged_in("technician"), first, "accept", "x").status_code == 403
    assert decide(reviewer, first, "accept", "clear membranes").status_code == 303
    assert decide(reviewer, second, "not_evaluable", "crushed").status_code == 303
    page = re.sub(r"<[^>]+>", " ", reviewer.get("/pathology").text)
    assert re.search(r"accepted\s+reviewer .*clear membranes", page)
    assert re.search(r"not evaluable\s+reviewer .*Not evaluable: crushed", page)
    rows = {
        row.visit: row.status for row in own_served.laboratory.rows() if row.measurand == "CD8_DENSITY_TISSUE" and row.run_id
    }
    assert len(rows) == 1
    assert decide(reviewer, first, "redraw", "a fold lies inside").status_code == 303
    page = re.sub(r"<[^>]+>", " ", reviewer.get("/pathology").text)
    assert re.search(r"to be redrawn\s+reviewer .*a fold lies inside", page)
    events = own_served.logged_in("auditor").get("/api/v1/audit?action=slide.").json()
    assert [(one["actor"], one["entity"], one["reason"]) for one in events] == [("reviewer", first, "a fold lies inside")]


def upload(client: httpx.Client, run_id: str, content: bytes, reason: str) -> httpx.Response:
    return client.put(
        f"/inbox/ihc/regions/{run_id}", params={"reason": reason}, content=content, headers={"x-csrf-token": csrf(client)}
    )


def test_redrawn_regions_lie_in_the_inbox_beside_the_word_of_who_drew_them(own_served: Served) -> None:
    run_id, _ = slide_runs(own_served)[0]
    client = own_served.logged_in("reviewer")
    regions = client.get(f"/slides/{run_id}/regions").content.replace(b"470", b"400")
    refused = upload(client, run_id, b'{"type": "FeatureCollection", "features": []}', "smaller")
    assert refused.status_code == 400
    assert "holds no annotation" in refused.json()["errors"][0]["what"]
    assert ".upload" not in refused.text
    assert upload(client, run_id, regions, " ").status_code == 400
    answer = upload(client, run_id, regions, 'the "fold" left out')
    assert answer.status_code == 201
    inbox = own_served.laboratory.folder.inbox("ihc")
    name = answer.json()["name"]
    assert (inbox / name).read_bytes() == regions
    word = (inbox / f"{name.removesuffix('.geojson')}.toml").read_text()
    assert word == 'by = "Dr. Reviewer (reviewer)"\nreason = "the \\"fold\\" left out"\n'
    assert upload(client, run_id, regions, "again").status_code == 409
    assert sorted(path.name for path in inbox.iterdir()) == sorted([name, f"{name.removesuffix('.geojson')}.toml"])


def test_a_corrected_gate_is_drawn_over_the_one_found_with_both_numbers(people_served: Served) -> None:
    client = people_served.logged_in("technician")
    tubes = [run["run_id"] for run in client.get("/api/v1/runs").json() if run["assay"] == "cytometry"]
    pages = [client.get(f"/runs/{run_id}").text for run_id in tubes]
    (page,) = [text for text in pages if "Gates found and corrected" in text]
    assert 'class="gate-ours"' in page
    assert 'class="gate-corrected"' in page
    cells = re.search(r'<th scope="row">T</th><td>moved</td><td class="n">([\d.]+)</td><td class="n">([\d.]+)</td>', page)
    assert cells is not None
    with people_served.laboratory.database.read() as reading:
        entry = current_analysis(reading, run_id=tubes[pages.index(page)])
        assert entry is not None
        analysis = read_analysis(reading, analysis_id=entry.analysis_id)
    (record,) = [one for one in analysis.populations if one.name == "T"]  # type: ignore[union-attr]
    assert float(cells.group(2)) == pytest.approx(record.frequency_percent, rel=1e-3)
    assert cells.group(1) != cells.group(2)


def test_what_is_kept_of_slides_stays_within_its_bytes_and_the_newest_is_always_kept() -> None:
    shelf: Shelf[str] = Shelf(100)
    assert shelf.put("a", "A", 60) == []
    assert shelf.put("b", "B", 30) == []
    assert shelf.get("a") == "A"
    assert shelf.put("c", "C", 40) == ["B"]  # asked for longest ago
    assert shelf.bytes_held == 100
    assert shelf.put("d", "D", 500) == ["A", "C"]
    assert (shelf.get("d"), shelf.bytes_held) == ("D", 500)


def test_slides_are_opened_once_for_many_who_look_and_closed_in_the_end(people_served: Served) -> None:
    keeper = SlideKeeper(people_served.laboratory)
    (first, _), (second, _) = slide_runs(people_served)
    asked = [(run_id, 1, column, row) for run_id in (first, second) for column in (0, 1) for row in (0, 1)] * 3
    with ThreadPoolExecutor(8) as pool:
        tiles = list(pool.map(lambda one: keeper.tile(*one), asked))
    assert len(set(tiles)) == 8
    keeper.close()
    assert [one.is_closed for one in keeper._slides.everything()] == [True, True]
