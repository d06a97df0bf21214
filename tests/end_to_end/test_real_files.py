"""Instrument files made by nobody here, dropped into a laboratory and asked for in its table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Lab

pytestmark = pytest.mark.real

DECLARATIONS = """
[[analytes]]
code = "TARGET"
name = "The kit's analyte"
format = "sandwich"
unit = "pg/mL"
materials = ["PLASMA"]
due = ["BASELINE"]
calibrators = [0.0, 46.875, 93.75, 187.5, 375.0, 750.0, 1500.0, 3000.0]
wavelength_nm = 450.0
reference_nm = 620.0
source = "assumption"
limits = { lloq = 1.0, uloq = 3000.0, origin = "wide open, to compare every number", source = "assumption" }
calibration = { model = "4pl", weights = "none", replicates = "mean", source = "assumption" }

[[panels]]
name = "mouse-lymphocytes"
materials = ["SERUM"]
due = ["BASELINE"]
source = "assumption"
measurands = [
    { code = "MOUSE_CD4_PCT_T", population = "CD4", denominator = "T" },
    { code = "MOUSE_CD8_PCT_T", population = "CD8", denominator = "T" },
]

[[panels]]
name = "pbmc-spectral"
materials = ["WHOLE_BLOOD"]
due = ["BASELINE"]
source = "assumption"
measurands = [
    { code = "SPECTRAL_CD4_PCT_T", population = "CD4", denominator = "T" },
    { code = "SPECTRAL_NK_PCT_LYMPH", population = "NK", denominator = "lymphocytes" },
]

[[stains]]
code = "KI67"
protocol = "ki67"
materials = ["FFPE_SECTION"]
due = ["BASELINE"]
scores = ["DENSITY_TISSUE", "PCT_POSITIVE"]
source = "assumption"
"""


@pytest.fixture
def lab(new_lab: Callable[..., Lab], tmp_path: Path, project_root: Path) -> Lab:
    packaged = new_lab("packaged").root / "study.toml"
    study = tmp_path / "study.toml"
    study.write_text(packaged.read_text() + DECLARATIONS)
    made: Lab = new_lab(study=study)
    data = project_root / "tests" / "data"
    for folder, files in (("plate_layouts", (data / "elisa").glob("*.csv")), ("panels", (data / "panels").glob("*.toml"))):
        for file in files:
            (made.root / folder / file.name).write_text(file.read_text())
    plasma = [f"ATR-{number:06d},S0001,PLASMA,2025-01-{number:02d},UNSCHEDULED" for number in range(1, 16)]
    others = [
        "ATR-000101,S0001,SERUM,2025-01-10,BASELINE",
        "ATR-000102,S0001,WHOLE_BLOOD,2025-01-10,BASELINE",
        "ATR-000103,S0001,PBMC,2025-01-10,BASELINE",
        "ATR-000104,S0001,FFPE_SECTION,2025-01-10,BASELINE",
    ]
    made.write("study", "roster.csv", "subject_id,site,treatment_start\nS0001,01,2025-01-20\n")
    header = "accession_id,subject_id,material,collected_at,nominal_visit"
    made.write("study", "specimens.csv", "\n".join([header, *plasma, *others]) + "\n")
    return made


def rows(lab: Lab) -> dict[tuple[str, str], dict[str, str]]:
    table = csv.DictReader(io.StringIO(lab.table()))
    return {(row["accession_id"], row["measurand"]): row for row in table}


def vendor_results(export: Path) -> dict[int, float]:
    """The export's own diluted means: specimen number to ``AdjResult``, from the group table 'Unknowns'."""
    lines = export.read_text("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: dict[int, float] = {}
    column = None
    for line in lines:
        cells = [cell.strip() for cell in line.split("\t")]
        if "AdjResult" in cells:
            column = cells.index("AdjResult")
        elif column is not None and cells and re.fullmatch(r"P\d+", cells[0]) and len(cells) > column and cells[column]:
            found[int(cells[0][1:])] = float(cells[column])
    return found


def test_a_softmax_plate_gives_the_vendors_own_concentrations_in_the_timepoint_table(lab: Lab, real_data: Path) -> None:
    export = real_data / "elisa" / "softmax" / "ELISAtools_Assay_2.txt"
    expected = vendor_results(export)
    assert len(expected) == 15
    lab.drop("elisa", export)
    header = "plate_id,layout,analyte,slot,accession_id,dilution_factor,kit_lot\n"
    lines = [f"Plate1,elisatools-96,TARGET,S{number:02d},ATR-{number:06d},,\n" for number in range(1, 16)]
    lab.write("elisa", f"{export.stem}.map.csv", header + "".join(lines))
    states = {file["name"]: file["state"] for file in lab.ingest()}
    assert states[export.name] == "recorded"
    found = rows(lab)
    for number, value in expected.items():
        # SoftMax Pro prints three decimals; half of the last one is all that can be told.
        assert float(found[f"ATR-{number:06d}", "TARGET"]["value"]) == pytest.approx(value, abs=0.0005), number


def test_real_acquisitions_give_numbers_where_quality_allows_and_reasons_where_not(lab: Lab, real_data: Path) -> None:
    cytometry = real_data / "cytometry"
    for accession, file in (
        ("ATR-000101", cytometry / "flowsom_mouse_wsp" / "68983.fcs"),
        ("ATR-000102", cytometry / "raw_fcs" / "PBMC_spectral_UNMIXED.fcs"),
        ("ATR-000103", cytometry / "raw_fcs" / "100715.fcs"),
    ):
        lab.write("cytometry", f"{accession}.fcs", file.read_bytes())
    states = {file["name"]: file["state"] for file in lab.ingest()}
    assert {states[f"ATR-{number}.fcs"] for number in ("000101", "000102", "000103")} == {"recorded"}
    found = rows(lab)
    # FlowJo's own counts on this file: CD4 7480 and CD8 1407 of 10745 T cells; the expert's T gate is stricter than a valley.
    assert float(found["ATR-000101", "MOUSE_CD4_PCT_T"]["value"]) == pytest.approx(100 * 7480 / 10745, abs=5)
    assert float(found["ATR-000101", "MOUSE_CD8_PCT_T"]["value"]) == pytest.approx(100 * 1407 / 10745, abs=2)
    for key in (("ATR-000102", "SPECTRAL_CD4_PCT_T"), ("ATR-000102", "SPECTRAL_NK_PCT_LYMPH")):
        assert found[key]["status"] in {"measured", "not_evaluable"}
        assert found[key]["status"] == "measured" or found[key]["findings"]
    unresolved = [row for (accession, _), row in found.items() if accession == "ATR-000103"]
    assert len(unresolved) == 23  # eighteen frequencies and ratios, five counts per microlitre
    for row in unresolved:
        assert row["status"] == "not_evaluable"
        assert row["value"] == ""
        assert "COMPENSATION_UNRESOLVED" in row["findings"]


def test_real_fields_of_view_give_percentages_and_no_density_without_a_pixel_size(
    lab: Lab, real_data: Path, tmp_path: Path
) -> None:
    ihc = real_data / "ihc"
    panel = tmp_path / "ATR-000104_KI67.png"
    with Image.open(ihc / "deepliif" / "Bladder1_sixpanel.png") as six:
        six.crop((0, 0, 512, 512)).save(panel)
    lab.drop("ihc", panel)
    lab.write("ihc", "ATR-000104_KI67.toml", "pixel_size_um = 0.25\n")
    lab.write("ihc", "ATR-000104_CD8.png", (ihc / "deepliif_notruth" / "ROI_1.png").read_bytes())
    states = {file["name"]: file["state"] for file in lab.ingest()}
    assert {states[name] for name in ("ATR-000104_KI67.png", "ATR-000104_KI67.toml", "ATR-000104_CD8.png")} == {"recorded"}
    found = rows(lab)
    # The published labels of this tile: 15 of 183 nuclei are positive; each nucleus found or missed moves this by half a point.
    assert float(found["ATR-000104", "KI67_PCT_POSITIVE"]["value"]) == pytest.approx(100 * 15 / 183, abs=2.5)
    assert found["ATR-000104", "KI67_DENSITY_TISSUE"]["status"] == "measured"
    assert found["ATR-000104", "CD8_PCT_POSITIVE"]["status"] == "measured"
    assert found["ATR-000104", "CD8_DENSITY_TISSUE"]["status"] == "not_evaluable"
    assert "DENSITY_WITHOUT_PIXEL_SIZE" in found["ATR-000104", "CD8_DENSITY_TISSUE"]["findings"]
