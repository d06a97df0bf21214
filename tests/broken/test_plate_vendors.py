"""One wound a vendor's export, and the sentence a technician reads."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.vendor_results import read_vendor_results


@pytest.fixture
def exports(project_root: Path) -> Path:
    return project_root / "tests" / "data" / "elisa" / "exports"


def wounded(source: Path, tmp_path: Path, old: str, new: str, encoding: str) -> Path:
    text = source.read_bytes().decode(encoding)
    assert old in text
    path = tmp_path / "P1.txt"
    path.write_bytes(text.replace(old, new, 1).encode(encoding))
    return path


def refused(path: Path) -> str:
    with pytest.raises(SourceFileError) as raised:
        read_plates(path)
    return str(raised.value)


def test_a_kinetic_gen5_export_without_a_rate(exports: Path) -> None:
    assert refused(exports / "gen5-kinetic-without-rate.txt") == (
        "The plate was read 3 times, and no table of the export holds one reading a well: its tables are 'Well ID'. "
        "File 'gen5-kinetic-without-rate.txt', plate 'Plate 1' in line 7. Include the raw data of an endpoint read, "
        "or the mean "
        "rate (Mean V) of a kinetic one, as a matrix."
    )


def test_a_gen5_export_cut_off_within_its_results(exports: Path, tmp_path: Path) -> None:
    text = (exports / "gen5-two-plates.txt").read_bytes().decode("utf-16")
    path = tmp_path / "P1.txt"
    path.write_bytes(text[: text.rindex("\nF\t")].encode("utf-16"))
    assert refused(path) == (
        "The Gen5 export is cut off or changed: the table 'od:450' has 60 of 96 wells. "
        "File 'P1.txt', plate 'Plate 2' in line 82. Export it again and drop the new file."
    )


def test_a_gen5_export_without_results(exports: Path, tmp_path: Path) -> None:
    text = (exports / "gen5-two-plates.txt").read_bytes().decode("utf-16")
    path = tmp_path / "P1.txt"
    path.write_bytes(text[: text.index("Results")].encode("utf-16"))
    assert refused(path) == (
        "The Gen5 export holds no results drawn as a plate. File 'P1.txt', plate 'Plate 1' in line 7. "
        "Include the results as a matrix of the whole plate when exporting."
    )


def test_a_gen5_export_of_fluorescence(exports: Path, tmp_path: Path) -> None:
    text = (exports / "gen5-two-plates.txt").read_bytes().decode("utf-16").replace("Absorbance", "Fluorescence")
    path = tmp_path / "P1.txt"
    path.write_bytes(text.encode("utf-16"))
    assert refused(path).startswith("The plate was read in another mode than absorbance; only absorbance is understood.")


def test_a_word_in_a_gen5_well_that_no_reader_writes(exports: Path, tmp_path: Path) -> None:
    path = wounded(exports / "gen5-two-plates.txt", tmp_path, "OVRFLW", "too high", "utf-16")
    assert refused(path) == (
        "The well holds 'too high', which is neither a number nor a word a plate reader writes. File 'P1.txt', plate "
        "'Plate 1' in "
        "line 7, table 'od:450', well A06. Correct the cell, or export the plate again."
    )


def test_a_mars_export_of_fluorescence(exports: Path, tmp_path: Path) -> None:
    path = wounded(exports / "mars-two-wavelengths.csv", tmp_path, "Absorbance", "Fluorescence (FI)", "ascii")
    assert refused(path) == (
        "The plate was read in the mode 'Fluorescence (FI)'; only absorbance is understood. File 'P1.txt'. "
        "Export an absorbance read."
    )


def test_a_mars_export_of_computed_values_alone(exports: Path, tmp_path: Path) -> None:
    text = (exports / "mars-two-wavelengths.csv").read_text(encoding="ascii").replace("Raw Data (", "Average over (")
    path = tmp_path / "P1.txt"
    path.write_text(text, encoding="ascii")
    assert refused(path) == (
        "The MARS export holds no table 'Raw Data' with its wavelength. File 'P1.txt'. Export the raw data in the "
        "plate's shape."
    )


def test_a_mars_export_cut_off_within_a_table(exports: Path, tmp_path: Path) -> None:
    text = (exports / "mars-two-wavelengths.csv").read_text(encoding="ascii")
    path = tmp_path / "P1.txt"
    path.write_text(text[: text.index("\nG,")], encoding="ascii")
    assert refused(path) == (
        "The grid has 6 rows where a plate with 12 columns has 8. File 'P1.txt', row 9. "
        "The file may be cut off; export it again and drop the new file."
    )


def test_an_envision_label_that_is_no_absorbance(exports: Path, tmp_path: Path) -> None:
    path = wounded(exports / "envision-two-plates.csv", tmp_path, "Results for A450(1)", "Results for Lum(1)", "ascii")
    assert refused(path) == (
        "The label 'Lum(1)' is no absorbance; only absorbance is understood. File 'P1.txt', row 10, label 'Lum(1)'. "
        "Export an absorbance label, named A and its wavelength."
    )


def test_a_kaleido_measurement_that_is_no_absorbance(exports: Path, tmp_path: Path) -> None:
    text = (exports / "kaleido.csv").read_text(encoding="utf-8").replace("ABS mono", "LUM mono")
    path = tmp_path / "P1.txt"
    path.write_text(text, encoding="utf-8")
    assert refused(path) == (
        "The measurement 'LUM mono 1' is no absorbance; only absorbance is understood. File 'P1.txt', row 6, measurement "
        "'LUM mono 1'. Export an absorbance measurement."
    )


def test_a_kaleido_export_without_its_settings(exports: Path, tmp_path: Path) -> None:
    path = wounded(exports / "kaleido.csv", tmp_path, "Excitation wavelength [nm],,,,450", "", "utf-8")
    assert refused(path) == (
        "The export does not state the measurement's wavelength. File 'P1.txt', row 6, measurement 'ABS mono 1'. "
        "Include the measurements' settings when exporting."
    )


def test_a_curve_whose_formula_is_unknown_is_not_compared(exports: Path, tmp_path: Path) -> None:
    source = (exports / "gen5-two-plates.txt").read_bytes().decode("utf-16")
    lines = ["Curve Fitting Results", "", "Curve Name\tCurve Formula\tA\tB\tR2", "Curve\tY=A*X^2+B\t1\t2\t0.99"]
    first, _, rest = source.partition("\r\n\r\n\r\nSoftware")
    path = tmp_path / "P1.txt"
    # A second table that Gen5 would call concentrations makes the plate one with results.
    first = first.replace("\tBlank od:450", "\t[Concentration]")
    path.write_bytes("\r\n".join([first, "", *lines, "", "", "Software" + rest]).encode("utf-16"))
    with pytest.raises(SourceFileError) as raised:
        read_vendor_results(path)
    assert str(raised.value).startswith(
        "The curve's formula 'Y=A*X^2+B' is not one of the four-parameter, five-parameter, linear and log-log fits."
    )


NUMBERS = "\t".join(str(number) for number in range(1, 13))
SOFTMAX_PLATE = (
    "Plate:\tP\t1.3\tPlateFormat\tEndpoint\tAbsorbance\tRaw\tFALSE\t1\t\t\t\t\t\t1\t450 \t1\t12\t96\t1\t8\n"
    f"\tTemperature\t{NUMBERS}\n" + ("\t\t" + "\t".join("1" * 12) + "\n") * 8 + "\n~End\n"
)
GEN5_HEAD = f"Software Version\t3\nPlate Number\tP\nResults\n\t{NUMBERS}\n"
GEN5_ROW = "\t" + "\t".join("1" * 12)
GEN5_LABELS = "".join(("" if index else letter) + f"{GEN5_ROW}\tx {index}\n" for letter in "ABCDEFGH" for index in range(1500))
LONG_FORMULA = "InterpX(S@C," + " " * 2_000_000 + ")"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (SOFTMAX_PLATE * 2500, "more than 2000 plates, more than any experiment"),
        (GEN5_HEAD + GEN5_LABELS, "no table of the export holds one reading a well"),
        (GEN5_HEAD.partition("Results")[0] + f"Results\n\t{NUMBERS}\n" * 60_000, "holds no results drawn as a plate"),
        ("Plate information\nResults for " + " " * 1_000_000 + "x\n", "The cells of the file cannot be told apart"),
    ],
)
def test_an_export_made_to_keep_the_machine_busy_is_refused_within_seconds(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "P1.txt"
    path.write_text(text, encoding="utf-8")
    begun = time.perf_counter()
    assert what in refused(path)
    assert time.perf_counter() - begun < 10.0


def test_a_formula_of_two_million_spaces_is_left_out_of_a_comparison_within_seconds(tmp_path: Path) -> None:
    group = [
        "Group: Std", "Sample\tConc\tBack\tWells\tOD", "1\t5\t5.0\tA1\t1.0", "", "Group Column\tName",
        "1\tSample\t!SampleNames", "2\tConc\t!Conc\t3", f"3\tBack\t{LONG_FORMULA}\t3", "4\tWells\t!WellIDs",
        "5\tOD\t!WellValues\t3", "~End", "",
    ]  # fmt: skip
    path = tmp_path / "P1.txt"
    path.write_text("##BLOCKS= 2\n" + SOFTMAX_PLATE + "\n".join(group), encoding="utf-8")
    begun = time.perf_counter()
    with pytest.raises(SourceFileError, match="carries readings only, and no results of its own software"):
        read_vendor_results(path)
    assert time.perf_counter() - begun < 10.0
