"""Layouts drawn as plates, and plate maps."""

from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import Workbook

from biomarkers.elisa.plate import MapEntry, WellPosition, WellRole
from biomarkers.errors import SourceFileError, StudyDefinitionError
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.study.definition import StudyDefinition

HEADER = "plate_id,layout,analyte,slot,accession_id,dilution_factor,kit_lot"


def block(name: str, cells: dict[str, str], separator: str = ",") -> list[str]:
    lines = [separator.join([name, *(str(column) for column in range(1, 13))])]
    lines.extend(
        separator.join([letter, *(cells.get(f"{letter}{column}", "") for column in range(1, 13))]) for letter in "ABCDEFGH"
    )
    return lines


def layout_file(tmp_path: Path, blocks: dict[str, dict[str, str]], separator: str = ",") -> Path:
    path = tmp_path / "mine.csv"
    lines: list[str] = []
    for name, cells in blocks.items():
        lines += [*block(name, cells, separator), separator * 12]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    return path


def map_file(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "P0001.map.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_packaged_layout_holds_the_calibrators_the_packaged_study_declares(project_root: Path) -> None:
    study = read_declaration(project_root / "biomarkers" / "study" / "targeting_atr_sts.toml", StudyDefinition)
    for analyte in study.analytes:
        layout = read_layout(project_root / "plate_layouts" / f"{analyte.code.lower()}-96.csv")
        assert layout.analytes == (analyte.code,)
        levels = [layout.wells_of(slot)[0].concentration for slot in layout.slots(WellRole.CALIBRATOR)]
        assert levels == sorted(analyte.calibrators, reverse=True)
        assert all(len(layout.wells_of(slot)) == 2 for slot in layout.slots(WellRole.SAMPLE))
        assert layout.slots(WellRole.CONTROL) == ("CTRL1", "CTRL2")
        assert len(layout.slots(WellRole.SAMPLE)) == (40 if analyte.code in ("KYN", "TRP") else 38)


def test_a_layout_saved_by_a_spreadsheet_program_with_semicolons_and_commas_is_the_same(tmp_path: Path) -> None:
    cells = {
        "role": {"A1": "calibrator", "B1": "SAMPLE"},
        "slot": {"A1": "STD1", "B1": "S01"},
        "concentration": {"A1": "12,5"},
        "dilution": {"B1": "2"},
        "analyte": {"A1": "IL6", "B1": "IL6"},
    }
    layout = read_layout(layout_file(tmp_path, cells, ";"))
    first, second = layout.used_wells
    assert (layout.name, first.role, first.concentration, first.dilution) == ("mine", WellRole.CALIBRATOR, 12.5, 1.0)
    assert (second.position, second.slot, second.dilution) == (WellPosition(row=1, column=0), "S01", 2.0)


def test_every_fault_of_a_layout_is_told_with_its_well(tmp_path: Path) -> None:
    cells = {
        "role": {"A1": "CALIBRATOR", "B1": "SPECIMEN", "C1": "SAMPLE", "D1": "SAMPLE"},
        "slot": {"A1": "STD1", "D1": "S02"},
        "dilution": {"D1": "0"},
    }
    with pytest.raises(StudyDefinitionError) as raised:
        read_layout(layout_file(tmp_path, cells))
    assert [str(fault) for fault in raised.value.faults] == [
        (
            "A calibrator has no concentration. Layout 'mine', well A01. "
            "Write its nominal concentration into the block 'concentration'; the zero calibrator is 0."
        ),
        "'SPECIMEN' is no role. Layout 'mine', well B01. Use one of CALIBRATOR, CONTROL, BLANK, SAMPLE, EMPTY, SPIKE.",
        "A SAMPLE well has no slot. Layout 'mine', well C01. Name its slot in the block 'slot'.",
        "The dilution factor is not above 0. Layout 'mine', well D01. Write 4 for one part in four; 1 for undiluted.",
    ]


def test_a_block_that_is_no_plate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("\n".join(block("role", {"A1": "SAMPLE"})[:-2]), encoding="utf-8")
    with pytest.raises(StudyDefinitionError, match="The block 'role' is not drawn as a plate of 96 or 384 wells"):
        read_layout(path)


def test_a_plate_map_is_read_one_plate_at_a_time_and_slots_without_accession_are_passed_over(tmp_path: Path) -> None:
    first, second = read_plate_map(
        map_file(
            tmp_path,
            "P1,il6-96,IL6,S01,ATR-000001,4,L7",
            "P1,il6-96,IL6,S02,,,",
            "P2,il6-96,IL6,S01,ATR-000002,,",
        )
    )
    entry = MapEntry(slot="S01", accession_id="ATR-000001", analyte="IL6", dilution_factor=4.0, kit_lot="L7")
    assert (first.plate_id, first.layout, first.entries) == ("P1", "il6-96", (entry,))
    assert (second.plate_id, second.accession_ids) == ("P2", ("ATR-000002",))


def test_a_plate_map_may_be_a_workbook(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEADER.split(","))
    sheet.append(["P1", "il6-96", "IL6", "S01", "ATR-000001", 2.5, None])
    book.save(tmp_path / "P1.map.xlsx")
    (found,) = read_plate_map(tmp_path / "P1.map.xlsx")
    assert found.entries[0].dilution_factor == 2.5


def test_a_misspelt_column_is_refused_because_its_numbers_would_be_passed_over(tmp_path: Path) -> None:
    header = HEADER.replace("dilution_factor", "dilution")
    with pytest.raises(SourceFileError) as raised:
        read_plate_map(map_file(tmp_path, "P1,il6-96,IL6,S01,ATR-000001,4,", header=header))
    assert str(raised.value) == (
        "The column 'dilution' is not known. File 'P0001.map.csv', first row. Remove or rename it; "
        "a plate map has plate_id, layout, analyte, slot, accession_id, dilution_factor, kit_lot."
    )


def test_every_fault_of_a_plate_map_is_told_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError) as raised:
        read_plate_map(
            map_file(
                tmp_path,
                "P1,il6-96,IL6,S01,ATR-000001,none,",
                "P1,il8-96,IL6,,ATR-000002,-1,",
            )
        )
    assert [fault.what for fault in raised.value.faults] == [
        "The dilution factor 'none' is no number.",
        "'slot' is empty.",
        "Plate 'P1' has the layouts 'il6-96' and 'il8-96'.",
        "The dilution factor is not above 0.",
    ]


def test_a_map_without_any_accession_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="The plate map names no accession"):
        read_plate_map(map_file(tmp_path, "P1,il6-96,IL6,S01,,,"))
