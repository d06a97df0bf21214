"""Every plate design that is shipped: drawn, read from an export, analysed, and what its series, spikes and controls tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from biomarkers.cli.plates import draw_layout
from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, WellRole, row_letters
from biomarkers.provenance import Provenance
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.study_files import packaged_study
from biomarkers.study.soluble import Analyte, AssayFormat

NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))
ANALYTES: Mapping[str, Analyte] = {
    analyte.code: analyte.model_copy(update={"reference_nm": None}) for analyte in packaged_study().analytes
}
DESIGNS = (
    "kyn-96",
    "trp-96",
    "il2-96",
    "il6-96",
    "il8-96",
    "il10-96",
    "il15-96",
    "il6-validation-96",
    "interleukins-384",
)
VALIDATION = "il6-validation-96"
CV = 0.02
READER_NOISE = 0.003

Content = Callable[[LayoutWell], float]


def design(project_root: Path, name: str) -> PlateLayout:
    return read_layout(project_root / "plate_layouts" / f"{name}.csv")


def curve_of(analyte: Analyte) -> FourPL:
    low, high = analyte.calibrators[1], analyte.calibrators[-1]
    if analyte.format is AssayFormat.COMPETITIVE:
        return FourPL(zero_dose=2.1, slope=1.05, inflection=float(np.sqrt(low * high)) * 0.6, infinite_dose=0.05)
    return FourPL(zero_dose=0.05, slope=1.1, inflection=0.8 * high, infinite_dose=3.2)


def undiluted(well: LayoutWell) -> float:
    """What a specimen holds: number S07 or D01 spread them over the range, a spike holds its specimen's and what was added."""
    analyte = ANALYTES[well.analyte]
    low, high = analyte.limits.lloq, analyte.limits.uloq
    number = int("".join(filter(str.isdigit, well.slot)))
    if well.slot.startswith("D"):
        return 1.5 * high * number
    middle = 2.0 * well.dilution * low * (0.2 * high / low) ** (number % 5 / 5.0)
    return middle + (well.concentration or 0.0) if well.role is WellRole.SPIKE else middle


def held(well: LayoutWell) -> float:
    if well.role in (WellRole.CALIBRATOR, WellRole.CONTROL):
        return well.concentration or 0.0
    return 0.0 if well.role is WellRole.BLANK else undiluted(well) / well.dilution


def export(layout: PlateLayout, path: Path, content: Content, at_place: Content) -> Path:
    """Write the plate as a plain grid, as any reader can."""
    rng = np.random.default_rng(17)
    grid = np.full((layout.rows, layout.columns), 0.05)
    for well in layout.used_wells:
        clean = float(curve_of(ANALYTES[well.analyte]).response(np.array([content(well)]))[0])
        noisy = clean * (1.0 + CV * rng.standard_normal()) + READER_NOISE * rng.standard_normal()
        grid[well.position.row, well.position.column] = noisy * at_place(well)
    lines = [",".join(["", *(str(column + 1) for column in range(layout.columns))])]
    lines += [",".join([row_letters(row), *(f"{value:.4f}" for value in grid[row])]) for row in range(layout.rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def analysed(layout: PlateLayout, folder: Path, content: Content = held, at_place: Content = lambda _: 1.0) -> PlateAnalysis:
    reads = read_plates(export(layout, folder / "P1.csv", content, at_place))
    slots = dict.fromkeys(well.slot for well in layout.used_wells if well.role in (WellRole.SAMPLE, WellRole.SPIKE))
    plate_map = PlateMap(
        plate_id=reads[0].plate_id,
        layout=layout.name,
        entries=tuple(
            MapEntry(
                slot=slot,
                accession_id=f"S{int(slot[3:]):02d}" if slot.startswith("SPK") else slot,
                analyte="",
                dilution_factor=None,
                kit_lot="",
            )
            for slot in slots
        ),
    )
    return analyse_plate(reads, plate_map, layout, analytes=ANALYTES, run_id="run", provenance=NOWHERE)


def test_the_designs_that_are_shipped_are_those_tested_here(project_root: Path) -> None:
    assert {path.stem for path in (project_root / "plate_layouts").glob("*.csv")} == set(DESIGNS)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_shipped_design_is_drawn_with_every_slot_and_every_row(project_root: Path, name: str) -> None:
    layout = design(project_root, name)
    drawn = draw_layout(layout)
    assert {line.split()[0] for line in drawn.splitlines()} >= {row_letters(row) for row in range(layout.rows)}
    assert {well.slot for well in layout.used_wells} <= set(drawn.split())


@pytest.mark.parametrize("name", DESIGNS)
def test_a_plate_of_a_shipped_design_is_accepted_and_gives_every_specimen_back(
    project_root: Path, tmp_path: Path, name: str
) -> None:
    layout = design(project_root, name)
    plate = analysed(layout, tmp_path)
    assert {one.analyte: one.verdict for one in plate.verdicts} == dict.fromkeys(layout.analytes, "accepted")
    specimens = layout.slots(WellRole.SAMPLE)
    assert len(plate.run.results) == len(specimens) * len(layout.analytes)
    for result in plate.run.results:
        well = layout.wells_of(result.accession_id, result.measurand)[0]
        assert result.quantity is not None
        assert result.quantity.comparator == ""
        assert result.quantity.value == pytest.approx(undiluted(well), rel=0.25), (name, result.accession_id)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_shipped_design_has_duplicates_and_controls_low_and_high(project_root: Path, name: str) -> None:
    layout = design(project_root, name)
    for code in layout.analytes:
        levels = {layout.wells_of(slot, code)[0].concentration for slot in layout.slots(WellRole.CALIBRATOR, code)}
        assert levels == set(ANALYTES[code].calibrators)
        controls = [layout.wells_of(slot, code) for slot in layout.slots(WellRole.CONTROL, code)]
        assert len(controls) >= 2
        assert all(len(wells) >= 2 for wells in controls)
        for slot in layout.slots(WellRole.SAMPLE, code):
            dilutions = [well.dilution for well in layout.wells_of(slot, code)]
            assert all(dilutions.count(one) == 2 for one in dilutions)


def test_only_designs_without_series_and_spikes_are_for_routine(project_root: Path) -> None:
    routine = {name for name in DESIGNS if design(project_root, name).is_routine}
    assert set(DESIGNS) - routine == {VALIDATION, "interleukins-384"}


def test_one_slot_of_the_384_wells_is_one_specimen_in_four_analytes(project_root: Path, tmp_path: Path) -> None:
    plate = analysed(design(project_root, "interleukins-384"), tmp_path)
    assert [one.analyte for one in plate.curves] == ["IL6", "IL8", "IL10", "IL15"]
    assert {one.measurand for one in plate.run.results if one.accession_id == "S07"} == {"IL6", "IL8", "IL10", "IL15"}
    assert len(plate.wells) == 384
    assert [(one.analyte, one.dilution_factors) for one in plate.dilutions] == [
        (code, (2.0, 4.0, 8.0, 16.0)) for code in ("IL6", "IL8", "IL10", "IL15")
    ]


def test_the_series_of_the_validation_plate_are_linear_and_parallel_and_its_spikes_found(
    project_root: Path, tmp_path: Path
) -> None:
    plate = analysed(design(project_root, VALIDATION), tmp_path)
    assert [one.accession_id for one in plate.dilutions] == ["D01", "D02"]
    for series in plate.dilutions:
        assert series.dilution_factors == (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
        assert series.hooked == ()
        assert series.cv_percent is not None
        assert series.cv_percent < 15.0
        assert series.slope == pytest.approx(1.0, abs=0.1)
        assert series.slope_ratio == pytest.approx(1.0, abs=0.1)
        assert series.is_parallel
    assert [one.slot for one in plate.spikes] == ["SPK1", "SPK2", "SPK3", "SPK4"]
    assert all(one.recovery_percent == pytest.approx(100.0, abs=20.0) for one in plate.spikes)
    assert [(one.slot, one.wells_read) for one in plate.controls] == [
        ("ULOQ", 6), ("HIGH", 6), ("MID", 6), ("LOW", 6), ("LLOQ", 6)
    ]  # fmt: skip
    assert {one.name for one in plate.effects} >= {"column drift"}
    assert all(one.lower < one.percent < one.upper for one in plate.effects)


def codes_of(plate: PlateAnalysis, accession_id: str) -> set[str]:
    (result,) = (one for one in plate.run.results if one.accession_id == accession_id)
    return {finding.code for finding in result.findings}


def test_a_specimen_that_overwhelms_the_assay_is_reported_from_beyond_the_hook(project_root: Path, tmp_path: Path) -> None:
    def hooking(well: LayoutWell) -> float:
        is_hooked = well.slot == "D01" and well.dilution < 8
        return held(well) / (40.0 if well.dilution < 4 else 12.0) if is_hooked else held(well)

    plate = analysed(design(project_root, VALIDATION), tmp_path, hooking)
    assert next(one for one in plate.dilutions if one.accession_id == "D01").hooked == (2.0, 4.0)
    assert "HOOK_EFFECT" in codes_of(plate, "D01")
    assert "HOOK_EFFECT" not in codes_of(plate, "D02")
    reported = next(one for one in plate.run.results if one.accession_id == "D01")
    assert reported.quantity is not None
    assert reported.quantity.value == pytest.approx(1.5 * 200.0, rel=0.2)


def test_a_specimen_that_dilutes_unlike_the_calibrators_is_found(project_root: Path, tmp_path: Path) -> None:
    def disturbed(well: LayoutWell) -> float:
        return 100.0 * well.dilution**-0.5 if well.slot == "D02" else held(well)

    plate = analysed(design(project_root, VALIDATION), tmp_path, disturbed)
    assert {"DILUTION_NOT_LINEAR", "NOT_PARALLEL"} <= codes_of(plate, "D02")
    assert not {"DILUTION_NOT_LINEAR", "NOT_PARALLEL"} & codes_of(plate, "D01")
    series = next(one for one in plate.dilutions if one.accession_id == "D02")
    assert series.slope == pytest.approx(0.5, abs=0.1)
    assert series.is_parallel is False


def test_a_spike_that_is_not_found_again_is_told_of_its_specimen(project_root: Path, tmp_path: Path) -> None:
    def swallowed(well: LayoutWell) -> float:
        return 0.7 * held(well) if well.slot == "SPK3" else held(well)

    plate = analysed(design(project_root, VALIDATION), tmp_path, swallowed)
    assert "SPIKE_RECOVERY" in codes_of(plate, "S03")
    assert next(one for one in plate.spikes if one.slot == "SPK3").recovery_percent < 75.0


def test_a_drift_along_the_columns_is_a_finding_of_the_plate(project_root: Path, tmp_path: Path) -> None:
    def drifting(well: LayoutWell) -> float:
        return 1.0 + 0.5 * well.position.column / 11.0

    plate = analysed(design(project_root, VALIDATION), tmp_path, at_place=drifting)
    (drift,) = (one for one in plate.effects if one.name == "column drift")
    assert drift.percent == pytest.approx(50.0, abs=25.0)
    assert "PLATE_EFFECT" in {finding.code for finding in plate.run.findings}
    assert "PLATE_EFFECT" in plate.verdicts[0].sentence or plate.verdicts[0].verdict == "rejected"
