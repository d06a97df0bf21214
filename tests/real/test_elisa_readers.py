"""Public plate-reader exports as `biomarkers elisa read` shows them, and a clear refusal of everything that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biomarkers.cli.elisa import app
from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import read_plates

pytestmark = pytest.mark.real


def flagged(read: PlateRead, kind: str) -> list[str]:
    return [str(well.position) for well in read.wells if well.flag == kind]


def printed(path: Path) -> list[dict[str, object]]:
    ran = CliRunner().invoke(app, ["read", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    plates = json.loads(ran.stdout)["plates"]
    assert isinstance(plates, list)
    return plates


def test_overflow_and_missed_wells_of_gen5_are_two_things_and_neither_is_0(real_data: Path) -> None:
    path = real_data / "elisa" / "gen5" / "240411_172731_BNCH2345883_abs450_96well_non_numeric_values.txt"
    (read,) = read_plates(path)
    # The words run down two diagonals of the plate.
    assert flagged(read, "overflow") == ["A08", "B07", "C06", "D05", "E04", "F03", "G02", "H01"]
    assert flagged(read, "missing") == ["D12", "E11", "F10", "G09", "H08"]
    (plate,) = printed(path)
    assert plate["flags"] == dict.fromkeys(flagged(read, "overflow"), "overflow") | dict.fromkeys(
        flagged(read, "missing"), "missing"
    )
    assert [plate["wells"][well] for well in plate["flags"]] == [None] * 13  # type: ignore[index]
    assert plate["wells"]["A01"] == 2.1  # type: ignore[index]


def test_wells_a_plate_in_mars_never_read_are_missing(real_data: Path) -> None:
    (plate,) = printed(real_data / "elisa" / "bmg" / "16-03-03 16-54-03 472 ABS 384 QC.csv")
    assert (plate["rows"], plate["columns"], plate["wavelength_nm"]) == (16, 24, 484.0)
    assert len(plate["wells"]) == 384  # type: ignore[arg-type]
    assert len(plate["flags"]) == 285  # type: ignore[arg-type]
    assert set(plate["flags"].values()) == {"missing"}  # type: ignore[attr-defined]


def test_the_first_number_of_a_mars_title_is_the_wavelength(real_data: Path) -> None:
    (plate,) = printed(real_data / "elisa" / "bmg" / "BMG Labtech format.CSV")
    assert plate["wavelength_nm"] == 450.0


@pytest.mark.parametrize(
    ("name", "acquired_at"),
    [
        ("gen5/Kinetic_Analysis_Mean_Slope_and_Standard_Curve_tab.txt", "2/9/2006 6:14:21 AM"),
        ("bmg/BMG Labtech format.CSV", "5/14/2021 3:29:50 PM"),
        ("envision/PE_Envision_absorbance_A450_example.csv", "1/15/2024 10:30:00 AM"),
        ("kaleido/absorbance_endpoint_single_plate_example_01.csv", "2020-10-26T16:16:18.2284559-04:00"),
        ("magellan/SLA01P01_OD.xlsx", "2021-07-06 09:43:07"),
        ("skanit/skanit_different_plate_pattern.xlsx", "5/8/2024 3:54:50 PM"),
    ],
)
def test_the_instruments_own_date_is_kept_in_its_own_words(real_data: Path, name: str, acquired_at: str) -> None:
    assert read_plates(real_data / "elisa" / name)[0].acquired_at == acquired_at


def test_both_masked_calibrators_and_masked_specimens_of_a_softmax_plate_carry_their_group(real_data: Path) -> None:
    first, second = read_plates(real_data / "elisa" / "softmax" / "ELISAtools_Assay_2.txt")
    masked = flagged(first, "masked")
    assert {"C01", "E01", "F01", "G02"} <= set(masked)
    assert masked == flagged(second, "masked")
    reasons = {well.mask_reason for well in first.wells if well.flag == "masked"}
    assert reasons == {"masked in SoftMax Pro, group 'Standards'", "masked in SoftMax Pro, group 'Unk_Dilution'"}


def test_a_failed_path_check_is_missing_and_decimal_commas_are_numbers(real_data: Path) -> None:
    reads = read_plates(real_data / "elisa" / "softmax" / "abs_endpoint_plates.txt")
    assert flagged(reads[0], "missing") == ["B01"]
    assert [one.by_position()[well.position].value for one in reads for well in one.wells[1:2]] == [0.02, 0.04, 0.06]


@pytest.mark.parametrize(
    "name",
    [
        "softmax/ELISAtools_AnExp_2plate.txt",
        "softmax/ELISAtools_annote_single.txt",
        "softmax/ELISAtools_stdConc.txt",
        "reference/DNase_ELISA_runs_1-6.csv",
        "reference/DNase_run1_inverse_prediction_investr.csv",
        "reference/NIST_Rat42.dat",
        "reference/drc_ryegrass.csv",
        "reference/expected_fits.json",
        "reference/nlreg_ria_competitive_RIA.csv",
    ],
)
def test_what_is_no_plate_is_refused_rather_than_guessed_at(real_data: Path, name: str) -> None:
    with pytest.raises(SourceFileError, match="No plate was found in the file in any known form"):
        read_plates(real_data / "elisa" / name)


@pytest.mark.parametrize("name", ["gen5/endpoint_stdcurve_multiplate.txt", "skanit/multi-plate_example01.xlsx"])
def test_a_file_is_recognised_by_what_it_holds_whatever_it_is_called(real_data: Path, tmp_path: Path, name: str) -> None:
    original = real_data / "elisa" / name
    renamed = tmp_path / "results.dat"
    renamed.write_bytes(original.read_bytes())
    assert read_plates(renamed) == read_plates(original)
