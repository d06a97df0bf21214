"""`ihc batches` and `ihc pairs` on a laboratory with slides on record, and the page of its stain batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from biomarkers.cli import app
from biomarkers.laboratory import create_laboratory
from flows.whole_set import WholeSet

if TYPE_CHECKING:
    from tests.unit.flows.slides.conftest import SlideStore

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def lab(slide_store: SlideStore, tmp_path: Path) -> Iterator[SlideStore]:
    with create_laboratory(tmp_path / "mylab") as laboratory:
        yield type(slide_store)(
            whole=WholeSet(
                database=laboratory.database, definition=laboratory.definition, folder=laboratory.folder, computed_at=NOW
            )
        )


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["ihc", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_batches_tell_controls_limits_and_drift_in_words_json_and_on_a_page(lab: SlideStore, tmp_path: Path) -> None:
    own = lab.whole.folder.stain_protocols / "cd8.toml"
    own.write_text(
        'name = "cd8"\nstain = "CD8"\ntitle = "CD8"\nmarks = "CD8+ cells"\nsource = "assumption"\n'
        '[scoring]\ncompartment = "membrane"\ncutoffs = [0.2, 0.4, 0.6]\n'
        "[evaluability]\nsmallest_tissue_mm2 = 0.05\nfewest_cells = 100\n"
        "[controls]\npositive_h_score = [120, 160]\n"
    )
    for number in range(6):
        lab.slide(f"s{number}", accession_id=f"ATR-00001{number}", batch="B1", scanner="GT450")
    lab.slide("<b>late</b>", batch="B1", dab=(0.45, 0.58, 0.68))
    lab.slide("tonsil", role="POSITIVE_CONTROL", batch="B1", positive=500)
    root = str(lab.whole.folder.root)
    page = tmp_path / "batches.html"
    told = run("batches", root, "--page", str(page))
    assert "CD8, batch 'B1': 7 specimen slides" in told
    assert "STAIN_CONTROL_FAILED" in told
    assert "STAIN_DRIFT" in told
    (batch,) = json.loads(run("batches", root, "--json"))["batches"]
    assert [(one["slide"], one["value"], one["limits"], one["accepted"]) for one in batch["controls"]] == [
        ("tonsil", 100.0, [120.0, 160.0], False)
    ]
    assert [slide["slide"] for slide in batch["slides"] if slide["drifted"]] == ["<b>late</b>"]
    assert json.loads(run("batches", root, "--stain", "CD4", "--json")) == {"batches": []}
    text = page.read_text(encoding="utf-8")
    HTMLParser().feed(text)
    assert "<b>late" not in text, "a slide's name is no markup"
    assert text.count("<svg") == 2
    assert "120 to 160" in text


def test_no_batch_and_no_pair_is_said_plainly(lab: SlideStore) -> None:
    lab.slide("a")
    root = str(lab.whole.folder.root)
    assert run("batches", root) == ""
    assert json.loads(run("pairs", root, "--json")) == {"pairs": []}
