"""What holds for every analysed plate: the order of wells, masks and units change what they must, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.masks import WellMask
from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, PlateRead, WellPosition, WellRead, WellRole
from biomarkers.provenance import Provenance
from biomarkers.results import Result
from biomarkers.study.soluble import Analyte

NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))
LEVELS = (1000.0, 500.0, 250.0, 125.0, 62.5, 31.25, 15.625, 0.0)
CURVES = {
    True: FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1),
    False: FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06),
}
SPECIMENS = 12
SAMPLE_WELLS = 2 * SPECIMENS
FIRST_SAMPLE_WELL = 2 * (len(LEVELS) + 2)

seeds = st.integers(0, 10_000)


def analyte(unit: float) -> Analyte:
    return Analyte.model_validate(
        {
            "code": "IL6",
            "name": "IL6",
            "format": "sandwich",
            "unit": "pg/mL",
            "materials": ["PLASMA"],
            "due": [],
            "calibrators": sorted(level * unit for level in LEVELS),
            "source": "assumption",
            "limits": {"lloq": 15.625 * unit, "uloq": 1000.0 * unit, "origin": "calibrators", "source": "assumption"},
            "calibration": {"source": "assumption"},
        }
    )


def layout(unit: float) -> PlateLayout:
    rows: list[tuple[WellRole, str, float | None]] = [
        (WellRole.CALIBRATOR, f"STD{index + 1}", level * unit) for index, level in enumerate(LEVELS)
    ]
    rows += [(WellRole.CONTROL, "CTRL1", 62.5 * unit), (WellRole.CONTROL, "CTRL2", 500.0 * unit)]
    rows += [(WellRole.SAMPLE, f"S{index:02d}", None) for index in range(SPECIMENS)]
    placed = [
        LayoutWell(
            position=WellPosition(row=index % 8, column=2 * (index // 8) + side),
            role=role,
            slot=slot,
            concentration=concentration,
            dilution=1.0,
            analyte="IL6",
        )
        for index, (role, slot, concentration) in enumerate(rows)
        for side in (0, 1)
    ]
    return PlateLayout(name="test", rows=8, columns=12, wells=tuple(placed))


def read(seed: int, *, rising: bool, gain: float) -> PlateRead:
    rng = np.random.default_rng(seed)
    wells = []
    for well in layout(1.0).wells:
        number = int(well.slot[1:]) if well.role is WellRole.SAMPLE else 0
        content = well.concentration if well.concentration is not None else 25.0 * 1.3**number
        clean = float(CURVES[rising].response(np.array([content]))[0])
        value = gain * clean * (1.0 + 0.03 * float(rng.standard_normal()))
        wells.append(WellRead(position=well.position, raw_text=repr(value), value=value))
    return PlateRead(
        plate_id="P1", rows=8, columns=12, wavelength_nm=450.0, reference_nm=None, acquired_at="", wells=tuple(wells)
    )


def analysed(
    seed: int,
    *,
    rising: bool,
    gain: float = 1.0,
    unit: float = 1.0,
    order: Sequence[int] = (),
    masks: Sequence[WellMask] = (),
) -> PlateAnalysis:
    export, plan = read(seed, rising=rising, gain=gain), layout(unit)
    if order:
        export = replace(export, wells=tuple(export.wells[index] for index in order))
        plan = replace(plan, wells=tuple(plan.wells[index] for index in reversed(order)))
    entries = [
        MapEntry(slot=f"S{index:02d}", accession_id=f"A{index:02d}", analyte="IL6", dilution_factor=None, kit_lot="")
        for index in range(SPECIMENS)
    ]
    return analyse_plate(
        (export,),
        PlateMap(plate_id="P1", layout="test", entries=tuple(entries)),
        plan,
        analytes={"IL6": analyte(unit)},
        run_id="run",
        provenance=NOWHERE,
        masks=masks,
    )


def numbers(result: Result) -> list[float]:
    """Value and limits; an open limit is endless. None of them where the plate was rejected, as a noisy one may be."""
    if result.quantity is None:
        return []
    limits = result.interval
    lower = 0.0 if limits is None or limits.lower is None else limits.lower
    upper = np.inf if limits is None or limits.upper is None else limits.upper
    return [result.quantity.value, lower, float(upper)]


@settings(deadline=None, max_examples=12)
@given(seed=seeds, rising=st.booleans(), order=st.permutations(range(2 * (len(LEVELS) + 2 + SPECIMENS))))
def test_the_order_of_wells_in_export_and_layout_changes_no_result(seed: int, *, rising: bool, order: list[int]) -> None:
    plain, mixed = analysed(seed, rising=rising), analysed(seed, rising=rising, order=order)
    assert {one.accession_id: one.quantity for one in plain.run.results} == {
        one.accession_id: one.quantity for one in mixed.run.results
    }
    assert plain.verdicts == mixed.verdicts
    theirs = {one.accession_id: one for one in mixed.run.results}
    for one in plain.run.results:
        # The noise is a sum over the plate's replicates; its last digit may follow their order.
        assert numbers(theirs[one.accession_id]) == pytest.approx(numbers(one), rel=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, rising=st.booleans(), masked=st.sets(st.integers(0, SAMPLE_WELLS - 1), min_size=1, max_size=8))
def test_masked_wells_change_their_own_specimens_and_nothing_else(seed: int, *, rising: bool, masked: set[int]) -> None:
    wells = [layout(1.0).wells[FIRST_SAMPLE_WELL + index] for index in sorted(masked)]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    masks = [WellMask(position=well.position, by="R. Kern", reason="bubble", at=at) for well in wells]
    plain, plate = analysed(seed, rising=rising), analysed(seed, rising=rising, masks=masks)
    touched = {f"A{well.slot[1:]}" for well in wells}
    assert [one for one in plate.run.results if one.accession_id not in touched] == [
        one for one in plain.run.results if one.accession_id not in touched
    ]
    assert (plate.curves, plate.controls) == (plain.curves, plain.controls)
    positions = {str(well.position) for well in wells}
    assert {one.position for one in plate.wells if one.flag == "masked"} == positions
    assert [one for one in plate.wells if one.position not in positions] == [
        one for one in plain.wells if one.position not in positions
    ]
    assert {one.position: one.response for one in plate.wells} == {one.position: one.response for one in plain.wells}


@settings(deadline=None, max_examples=12)
@given(seed=seeds, rising=st.booleans(), gain=st.floats(0.05, 20.0))
def test_a_reader_that_shows_every_response_larger_changes_no_result(seed: int, *, rising: bool, gain: float) -> None:
    plain, scaled = analysed(seed, rising=rising), analysed(seed, rising=rising, gain=gain)
    for one, other in zip(plain.run.results, scaled.run.results, strict=True):
        assert numbers(other) == pytest.approx(numbers(one), rel=1e-4)
        assert numbers(other)[:1] == pytest.approx(numbers(one)[:1], rel=1e-6)


@settings(deadline=None, max_examples=12)
@given(seed=seeds, rising=st.booleans(), unit=st.floats(1e-3, 1e3))
def test_calibrators_in_another_unit_give_results_in_that_unit(seed: int, *, rising: bool, unit: float) -> None:
    plain, scaled = analysed(seed, rising=rising), analysed(seed, rising=rising, unit=unit)
    for one, other in zip(plain.run.results, scaled.run.results, strict=True):
        assert numbers(other) == pytest.approx([unit * value for value in numbers(one)], rel=1e-5)
