"""Every well of the SoftMax Pro exports, and a clear refusal of files that are no plates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import read_plates

pytestmark = pytest.mark.real


def flags(plate: PlateRead, kind: str) -> list[str]:
    return [str(well.position) for well in plate.wells if well.flag == kind]


@pytest.mark.parametrize(("name", "plates"), [("ELISAtools_Assay_2.txt", 1), ("ELISAtools_Assay_3_and_4.txt", 2)])
def test_every_well_at_both_wavelengths_is_the_number_in_the_file(real_data: Path, name: str, plates: int) -> None:
    path = real_data / "elisa" / "softmax" / name
    lines = [line.split("\t") for line in path.read_text(encoding="latin-1").splitlines()]
    # In this layout a plate's numbers stand in the lines whose second cell is the temperature.
    numbers = [[float(cell) for cell in line[2:98]] for line in lines if re.fullmatch(r"\t\d\d(\.\d)?", "\t".join(line[:2]))]
    reads = read_plates(path)
    assert [(one.plate_id, one.wavelength_nm) for one in reads] == [
        (plate_id, wavelength) for plate_id in ("Plate1", "Plate1#2")[:plates] for wavelength in (450.0, 620.0)
    ]
    assert [[well.value for well in one.wells] for one in reads] == numbers


def test_a_partial_plate_at_three_wavelengths_has_its_unread_columns_missing(real_data: Path) -> None:
    reads = read_plates(real_data / "elisa" / "softmax" / "MD_SMP_absorbance_endpoint_partial_plate_example01.txt")
    assert [one.wavelength_nm for one in reads] == [260.0, 280.0, 340.0]
    for one in reads:
        assert flags(one, "missing") == [f"{row}{column}" for row in "ABCDEFGH" for column in ("01", "12")]
        assert sum(well.value is not None for well in one.wells) == 80


def test_a_failed_path_check_and_decimal_commas_within_one_export(real_data: Path) -> None:
    reads = read_plates(real_data / "elisa" / "softmax" / "abs_endpoint_plates.txt")
    assert [(one.plate_id, one.wavelength_nm) for one in reads] == [("Plate1", 426.0)] * 3
    assert flags(reads[0], "missing") == ["B01"]
    for factor, one in enumerate(reads, start=1):
        expected = [factor * (index + 1) / 100 for index in range(96)]
        wrong = [
            str(well.position)
            for well, value in zip(one.wells, expected, strict=True)
            if well.value is not None and well.value != pytest.approx(value)
        ]
        # The file was edited by hand: C01 of the first plate reads 0.0.
        assert wrong == (["C01"] if factor == 1 else [])


def test_a_masked_calibrator_is_found_in_its_group_table(real_data: Path) -> None:
    (plate,) = read_plates(real_data / "elisa" / "softmax" / "group_cols_with_int_sample_names.txt")
    assert flags(plate, "masked") == ["A02"]


@pytest.mark.parametrize(
    "name",
    [
        "softmax/ELISAtools_AnExp_2plate.txt",
        "softmax/ELISAtools_stdConc.txt",
        "reference/drc_ryegrass.csv",
    ],
)
def test_a_file_of_unknown_structure_is_refused_rather_than_guessed_at(real_data: Path, name: str) -> None:
    with pytest.raises(SourceFileError, match="No plate was found in the file in any known form"):
        read_plates(real_data / "elisa" / name)
