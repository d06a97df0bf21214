"""One plate file per wound, and the sentence a technician reads."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import read_plates

HEADER = ",1,2,3,4,5,6,7,8,9,10,11,12"
GRID = [HEADER, *(letter + ",0.1" * 12 for letter in "ABCDEFGH")]
SOFTMAX = "Plate:\tPlate1\t1.3\tPlateFormat\tEndpoint\tAbsorbance\tRaw\tFALSE\t1\t\t\t\t\t\t1\t450 \t1\t12\t96\t1\t8"
UNKNOWN = (
    "No plate was found in the file in any known form. File 'P1.csv'. Drop one of these: SoftMax Pro, Gen5, SkanIt, Magellan, "
    "MARS, EnVision and Kaleido exports, and plain grids (a row 1 to 12, then rows A to H) or well lists as CSV, TSV or XLSX "
    "with nothing else in the file."
)


def softmax_plate(header: str = SOFTMAX, rows: int = 8, end: str = "~End") -> str:
    numbers = "\t".join(str(column) for column in range(1, 13))
    table = [f"\tTemperature(C)\t{numbers}", *("\t24\t" + "\t".join(["0.1"] * 12) for _ in range(rows))]
    return "\n".join(["##BLOCKS= 1", header, *table, "", end, ""])


def refused(tmp_path: Path, content: bytes | str) -> str:
    path = tmp_path / "P1.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceFileError) as raised:
        read_plates(path)
    return str(raised.value)


@pytest.mark.parametrize("content", [b"", b"   \r\n\r\n"])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content) == "The file is empty. File 'P1.csv'. Export it again and drop the new file."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match=r"The file cannot be opened: No such file or directory\. File 'gone\.csv'\."):
        read_plates(tmp_path / "gone.csv")


def test_a_picture(tmp_path: Path) -> None:
    assert refused(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 20) == (
        "The file is neither text nor an Excel workbook. File 'P1.csv'. Export the plate as text or .xlsx."
    )


def test_a_workbook_of_the_old_kind_that_holds_nothing(tmp_path: Path) -> None:
    told = refused(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100)
    assert told.startswith("The workbook cannot be read: ")
    assert told.endswith("File 'P1.csv'. Open and save it in a spreadsheet program, then drop it again.")


def test_utf_16_text_that_breaks_off_within_a_letter(tmp_path: Path) -> None:
    assert refused(tmp_path, "\n".join(GRID).encode("utf-16")[:-1]) == (
        "The text of the file is damaged or cut off. File 'P1.csv'. Export it again and drop the new file."
    )


def test_prose(tmp_path: Path) -> None:
    assert refused(tmp_path, "Dear colleague,\nthe plate will follow.\n") == UNKNOWN


def test_a_grid_with_lines_of_unknown_meaning_beside_it(tmp_path: Path) -> None:
    assert refused(tmp_path, "\n".join(["User: X,Path: C:,Run: 4", "Test: y,Date: 1/1", *GRID])) == UNKNOWN


def test_a_grid_that_breaks_off_after_row_d(tmp_path: Path) -> None:
    assert refused(tmp_path, "\n".join(GRID[:5])) == (
        "The grid has 4 rows where a plate with 12 columns has 8. File 'P1.csv', row 1. "
        "The file may be cut off; export it again and drop the new file."
    )


def test_a_word_in_a_well_that_no_reader_writes(tmp_path: Path) -> None:
    lines = [*GRID[:3], "C,0.1,0.1,ca. 0.2" + ",0.1" * 9, *GRID[4:]]
    assert refused(tmp_path, "\n".join(lines)) == (
        "The well holds 'ca. 0.2', which is neither a number nor a word a plate reader writes. File 'P1.csv', row 1, well C03. "
        "Correct the cell, or export the plate again."
    )


def test_a_well_listed_twice(tmp_path: Path) -> None:
    assert refused(tmp_path, "well,od\nA1,0.1\nA2,0.1\nA01,0.3\n") == (
        "Well A01 is listed twice. File 'P1.csv', row 4. Give each plate its own name."
    )


def test_a_softmax_export_that_breaks_off_within_a_plate(tmp_path: Path) -> None:
    assert refused(tmp_path, softmax_plate(end="")) == (
        "The SoftMax Pro export is cut off: the block in line 2 has no '~End'. File 'P1.csv'. "
        "Export it again and drop the new file."
    )


def test_a_softmax_export_that_breaks_off_between_blocks(tmp_path: Path) -> None:
    assert refused(tmp_path, softmax_plate().replace("##BLOCKS= 1", "##BLOCKS= 3")) == (
        "The SoftMax Pro export is cut off: 1 of 3 blocks are there. File 'P1.csv'. Export it again and drop the new file."
    )


def test_a_softmax_plate_with_rows_missing(tmp_path: Path) -> None:
    assert refused(tmp_path, softmax_plate(rows=5).replace("\n\n~End", "\n~End")) == (
        "The plate's table is incomplete: 1 blocks of 5 rows where there must be 1 of 8. "
        "File 'P1.csv', plate 'Plate1' in line 2. Export the raw data again and drop the new file."
    )


def test_a_kinetic_softmax_read(tmp_path: Path) -> None:
    assert refused(tmp_path, softmax_plate(SOFTMAX.replace("Endpoint", "Kinetic"))) == (
        "The plate holds a read of type 'Kinetic'; only endpoint reads give one number a well. "
        "File 'P1.csv', line 2, plate 'Plate1'. Export an endpoint read."
    )


def test_a_softmax_header_that_lies_about_its_shape(tmp_path: Path) -> None:
    told = "The plate's first line does not say its layout, wavelengths, rows and columns as SoftMax Pro writes them."
    for wound in ("\t1\t12\t97\t1\t8", "\t1\t99\t96\t1\t8", "\t5\t12\t96\t1\t8", "\t1\t12\t96\t1\t-8"):
        assert refused(tmp_path, softmax_plate(SOFTMAX.replace("\t1\t12\t96\t1\t8", wound))).startswith(told)


def test_a_softmax_export_of_groups_alone(tmp_path: Path) -> None:
    assert refused(tmp_path, "##BLOCKS= 1\nGroup: Standards\nSample\tWells\n~End\n") == (
        "The SoftMax Pro export holds no plate. File 'P1.csv'. Include the plate sections when exporting."
    )


def test_a_workbook_whose_part_claims_to_be_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "claims.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "x" * 500)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = (2_000_000_000).to_bytes(4, "little")  # the part's length, packed
    path.write_bytes(content)
    with pytest.raises(SourceFileError, match="one of its parts claims to be longer than the whole file"):
        read_plates(path)


def test_a_workbook_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 60_000_000)
    begun = time.perf_counter()
    with pytest.raises(SourceFileError, match="would unpack to 60000000 bytes; no plate export needs that"):
        read_plates(path)
    assert time.perf_counter() - begun < 5.0


def test_a_workbook_that_is_cut_off(tmp_path: Path) -> None:
    assert refused(tmp_path, b"PK\x03\x04" + b"\0" * 200) == (
        "The workbook is damaged or cut off. File 'P1.csv'. Export it again and drop the new file."
    )


def test_a_zip_archive_that_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "P1.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SourceFileError, match="The workbook cannot be read"):
        read_plates(path)


def test_more_lines_than_any_export_has_are_refused_at_once(tmp_path: Path) -> None:
    begun = time.perf_counter()
    assert "more than any plate export" in refused(tmp_path, b"A1,0.1\n" * 900_000)
    assert time.perf_counter() - begun < 5.0
