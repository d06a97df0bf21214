"""Plates exported from SoftMax Pro with its own concentrations beside them.

The files belong to the R package ELISAtools (MIT licence); where its wells lie is drawn in tests/data/elisa/elisatools-96.csv.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.plate import reads_by_plate
from biomarkers.provenance import Provenance
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.study.soluble import Analyte

pytestmark = pytest.mark.real

PRINTED_TO = 0.0005
"""SoftMax Pro prints three decimals, so half of the last one is all that can be told."""

LAYOUT = "elisatools-96"

ASSAY_2 = "ELISAtools_Assay_2.txt"
ASSAY_3_AND_4 = "ELISAtools_Assay_3_and_4.txt"


def vendor_analyte() -> Analyte:
    """The analyte as SoftMax Pro fitted it: unweighted, through the means of the levels."""
    return Analyte.model_validate(
        {
            "code": "TARGET",
            "name": "The kit's analyte",
            "format": "sandwich",
            "unit": "pg/mL",
            "materials": ["PLASMA"],
            "due": [],
            "calibrators": [0, 46.875, 93.75, 187.5, 375, 750, 1500, 3000],
            "wavelength_nm": 450,
            "reference_nm": 620,
            "source": "assumption",
            "limits": {"lloq": 1, "uloq": 3000, "origin": "wide open, to compare every number", "source": "assumption"},
            "calibration": {"model": "4pl", "weights": "none", "replicates": "mean", "source": "assumption"},
        }
    )


def write_map(path: Path, plate_ids: list[str]) -> Path:
    lines = ["plate_id,layout,analyte,slot,accession_id,dilution_factor,kit_lot"]
    lines += [f"{plate_id},{LAYOUT},TARGET,S{slot:02d},{plate_id}-P{slot},," for plate_id in plate_ids for slot in range(1, 16)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def analysed(export: Path, map_file: Path, project_root: Path) -> list[PlateAnalysis]:
    layout = read_layout(project_root / "tests" / "data" / "elisa" / f"{LAYOUT}.csv")
    maps = {plate_map.plate_id: plate_map for plate_map in read_plate_map(map_file)}
    provenance = Provenance(
        sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    return [
        analyse_plate(
            reads,
            maps[plate_id],
            layout,
            analytes={"TARGET": vendor_analyte()},
            run_id=plate_id,
            provenance=provenance,
        )
        for plate_id, reads in reads_by_plate(read_plates(export)).items()
    ]


def printed(export: Path) -> list[dict[str, dict[str, str]]]:
    """The group tables of an export: per plate, per well, the row's cells by column name."""
    plates: list[dict[str, dict[str, str]]] = []
    names: list[str] = []
    for line in export.read_text(encoding="latin-1").splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if cells[0].startswith("Plate:"):
            plates.append({})
        elif cells[0].startswith(("Group:", "~End", "Group Column")):
            names = []
        elif "Wells" in cells and cells[0] == "Sample":
            names = [cell for cell in cells if cell]
        elif names:
            row = dict(zip(names, cells, strict=False))
            if re.fullmatch(r"[A-H]\d+", row["Wells"]):
                plates[-1][f"{row['Wells'][0]}{int(row['Wells'][1:]):02d}"] = row
    return plates


def vendor_concentration(row: dict[str, str]) -> str:
    return row.get("BackCalcConc") or row.get("Result") or row.get("Results") or ""


@pytest.mark.parametrize(("name", "finite"), [(ASSAY_2, [63]), (ASSAY_3_AND_4, [69, 70])])
def test_every_well_has_the_concentration_softmax_pro_printed(
    real_data: Path, project_root: Path, tmp_path: Path, name: str, finite: list[int]
) -> None:
    export = real_data / "elisa" / "softmax" / name
    plate_ids = ["Plate1", "Plate1#2"][: len(finite)]
    plates = analysed(export, write_map(tmp_path / "map.csv", plate_ids), project_root)
    assert len(plates) == len(finite)
    for plate, rows, expected_count in zip(plates, printed(export), finite, strict=True):
        compared = 0
        for well in plate.wells:
            if well.role == "EMPTY":
                continue
            vendor = vendor_concentration(rows[well.position])
            if vendor == "Masked":
                assert well.flag == "masked"
                assert "group" in well.mask_reason
            elif vendor == "Range?":
                assert well.concentration is None
                assert well.comparator == "<"
            else:
                assert well.concentration is not None
                assert well.concentration / well.dilution_factor == pytest.approx(float(vendor), abs=PRINTED_TO)
                compared += 1
        assert compared == expected_count


@pytest.mark.parametrize("name", [ASSAY_2, ASSAY_3_AND_4])
def test_every_specimen_has_the_diluted_mean_softmax_pro_printed(
    real_data: Path, project_root: Path, tmp_path: Path, name: str
) -> None:
    export = real_data / "elisa" / "softmax" / name
    rows_of_plates = printed(export)
    plates = analysed(export, write_map(tmp_path / "map.csv", ["Plate1", "Plate1#2"]), project_root)
    for plate, rows in zip(plates, rows_of_plates, strict=True):
        printed_means = {row["Sample"]: row["AdjResult"] for row in rows.values() if row.get("AdjResult")}
        assert len(plate.run.results) == 15
        for result in plate.run.results:
            vendor = float(printed_means[result.accession_id.rpartition("-")[2]])
            assert result.quantity is not None
            assert result.interval is not None
            assert result.interval.lower is not None
            assert result.interval.upper is not None
            assert result.quantity.value == pytest.approx(vendor, abs=PRINTED_TO)
            assert result.interval.lower < result.quantity.value < result.interval.upper


def test_the_curve_of_assay_2_has_the_parameters_that_reproduce_softmax_pro(
    real_data: Path, project_root: Path, tmp_path: Path
) -> None:
    export = real_data / "elisa" / "softmax" / ASSAY_2
    (plate,) = analysed(export, write_map(tmp_path / "map.csv", ["Plate1"]), project_root)
    (curve,) = plate.curves
    expected = {"zero_dose": 0.024081, "slope": 1.048152, "inflection": 4830.654, "infinite_dose": 6.385789}
    # The README beside the file gives seven significant digits.
    assert dict(curve.parameters) == pytest.approx(expected, rel=5e-5)
    masked = {record.nominal: record.n_masked for record in curve.calibrators if record.n_masked}
    assert masked == {46.875: 1, 93.75: 1, 187.5: 1, 750: 1}
