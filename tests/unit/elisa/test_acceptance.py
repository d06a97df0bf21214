"""The verdict over a plate: what is accepted, what is rejected, and what becomes of the results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pytest

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.lots import ControlRange, KitLot
from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, PlateRead, WellPosition, WellRead, WellRole
from biomarkers.provenance import Provenance
from biomarkers.results import Severity
from biomarkers.study.soluble import Analyte

EIGHT = (1000.0, 500.0, 250.0, 125.0, 62.5, 31.25, 15.625, 0.0)
SIX = (10000.0, 3000.0, 1000.0, 300.0, 100.0, 0.0)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
FALLING = FourPL(zero_dose=2.1, slope=1.0, inflection=700.0, infinite_dose=0.06)
NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))


def analyte(levels: tuple[float, ...] = EIGHT, **changes: object) -> Analyte:
    declared: dict[str, object] = {
        "code": "IL6",
        "name": "IL6",
        "format": "sandwich",
        "unit": "pg/mL",
        "materials": ["PLASMA"],
        "due": [],
        "calibrators": sorted(levels),
        "source": "assumption",
        "limits": {"lloq": sorted(levels)[1], "uloq": max(levels), "origin": "calibrators", "source": "assumption"},
        "calibration": {"source": "assumption"},
    }
    return Analyte.model_validate(declared | changes)


def wells(levels: tuple[float, ...]) -> list[LayoutWell]:
    """Calibrators, two controls, specimens, blanks and a spike, all in duplicate."""
    low, high = sorted(levels)[2], sorted(levels)[-2]
    rows: list[tuple[WellRole, str, float | None]] = [
        (WellRole.CALIBRATOR, f"STD{index + 1}", level) for index, level in enumerate(levels)
    ]
    rows += [(WellRole.CONTROL, "CTRL1", low), (WellRole.CONTROL, "CTRL2", high)]
    rows += [(WellRole.SAMPLE, f"S{index}", None) for index in range(1, 5)]
    rows += [(WellRole.BLANK, "", None), (WellRole.SPIKE, "SPK1", 50.0)]
    return [
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


def held(one: LayoutWell) -> float:
    """What a well of a sound plate holds; the spike adds 50 to the 120 of its specimen."""
    if one.role is WellRole.SPIKE:
        return 170.0
    return one.concentration if one.concentration is not None else 120.0


def analysed(
    in_well: Callable[[LayoutWell], float] = held,
    *,
    levels: tuple[float, ...] = EIGHT,
    curve: FourPL = RISING,
    declared: Analyte | None = None,
    ground: float = 0.0,
    lots: tuple[KitLot, ...] = (),
    read_on: date | None = None,
    lot: str = "A",
    masked: tuple[str, ...] = (),
    controls: bool = True,
) -> PlateAnalysis:
    rng = np.random.default_rng(5)
    placed = [one for one in wells(levels) if controls or one.role is not WellRole.CONTROL]
    layout = PlateLayout(name="test", rows=8, columns=12, wells=tuple(placed))
    reads = []
    for one in placed:
        content = 0.0 if one.role is WellRole.BLANK else in_well(one)
        optical = 0.0 if one.role is WellRole.BLANK else float(curve.response(np.array([content]))[0])
        value = ground + optical * (1.0 + 0.01 * float(rng.standard_normal()))
        flag = "masked" if str(one.position) in masked else ""
        reads.append(WellRead(position=one.position, raw_text=f"{value:.4f}", value=value, flag=flag, mask_reason=flag))  # type: ignore[arg-type]
    slots = [*(f"S{index}" for index in range(1, 5)), "SPK1"]
    accessions = ["ATR-000001", "ATR-000002", "ATR-000003", "ATR-000004", "ATR-000001"]
    plate_map = PlateMap(
        plate_id="P1",
        layout="test",
        entries=tuple(
            MapEntry(slot=slot, accession_id=accession, analyte="IL6", dilution_factor=None, kit_lot=lot)
            for slot, accession in zip(slots, accessions, strict=True)
        ),
    )
    read = PlateRead(
        plate_id="P1", rows=8, columns=12, wavelength_nm=450.0, reference_nm=None, acquired_at="", wells=tuple(reads)
    )
    return analyse_plate(
        (read,),
        plate_map,
        layout,
        analytes={"IL6": declared or analyte(levels)},
        run_id="run",
        provenance=NOWHERE,
        lots=lots,
        read_on=read_on,
    )


def test_a_sound_plate_is_accepted_and_says_on_what_grounds() -> None:
    plate = analysed()
    (verdict,) = plate.verdicts
    assert verdict.verdict == "accepted"
    assert verdict.sentence == (
        "Accepted: 7 of 7 calibrator levels are read back within their limits. 4 of 4 control wells lie within their limits."
    )
    assert [rule.passed for rule in verdict.rules] == [True] * 4
    assert all(result.is_evaluable for result in plate.run.results)


def test_controls_decide_and_a_rejected_plate_reports_nothing_and_keeps_its_wells() -> None:
    sound = analysed()
    plate = analysed(lambda one: 2.0 * held(one) if one.role is WellRole.CONTROL else held(one))
    (verdict,) = plate.verdicts
    assert verdict.verdict == "rejected"
    assert verdict.sentence.startswith("Rejected: Only 0 of 4 control wells lie within their limits; 3 are needed.")
    for result in plate.run.results:
        assert (result.quantity, result.interval) == (None, None)
        assert [(one.code, one.severity) for one in result.findings][-1] == ("RUN_REJECTED", Severity.REJECT)
    assert "RUN_REJECTED" in [finding.code for finding in plate.run.findings]
    kept = {one.position: one.concentration for one in plate.wells if one.role == "SAMPLE"}
    assert kept == {one.position: one.concentration for one in sound.wells if one.role == "SAMPLE"}


def test_one_control_well_of_four_may_fail_and_two_may_not() -> None:
    def spoiled(positions: set[str]) -> Callable[[LayoutWell], float]:
        return lambda one: 2.0 * held(one) if str(one.position) in positions else held(one)

    controls = [str(one.position) for one in wells(EIGHT) if one.role is WellRole.CONTROL]
    one_bad, one_of_each = analysed(spoiled({controls[0]})), analysed(spoiled({controls[0], controls[2]}))
    assert one_bad.verdicts[0].verdict == "accepted_with_findings"
    assert "CONTROL_RECOVERY" in one_bad.verdicts[0].sentence
    assert one_of_each.verdicts[0].verdict == "rejected"


def test_both_wells_of_one_level_failing_reject_the_plate_by_the_rule_for_levels() -> None:
    plate = analysed(lambda one: 2.0 * held(one) if one.slot == "CTRL1" else held(one))
    failed = {rule.rule for rule in plate.verdicts[0].rules if rule.passed is False}
    assert "controls of each level" in failed


def test_swapped_calibrators_reject_the_plate() -> None:
    swap = {250.0: 125.0, 125.0: 250.0}
    plate = analysed(lambda one: swap.get(held(one), held(one)) if one.role is WellRole.CALIBRATOR else held(one))
    assert plate.verdicts[0].verdict == "rejected"


def test_a_calibrator_at_the_limit_that_is_not_read_back_rejects_the_plate() -> None:
    plate = analysed(lambda one: 27.0 if one.concentration == 15.625 else held(one))
    failed = {rule.rule for rule in plate.verdicts[0].rules if rule.passed is False}
    assert "calibrators at the limits" in failed


def test_anchors_outside_the_declared_range_are_not_judged() -> None:
    limits = {"lloq": 31.25, "uloq": 500, "origin": "validation", "source": "assumption"}
    rules = {"calibrator_levels": 5}
    plate = analysed(
        lambda one: 22.0 if one.concentration == 15.625 else held(one), declared=analyte(limits=limits, acceptance=rules)
    )
    assert plate.verdicts[0].sentence.startswith("Accepted: 5 of 5")


def test_a_kit_of_five_levels_is_judged_on_the_share_and_the_verdict_says_kit_limited() -> None:
    plate = analysed(levels=SIX, curve=FALLING)
    (verdict,) = plate.verdicts
    assert verdict.verdict == "accepted"
    assert verdict.is_kit_limited
    assert "kit-limited: fewer than the 6 levels of ICH M10" in verdict.sentence


def test_of_a_kit_with_few_levels_a_limit_that_fails_is_told_and_the_share_decides() -> None:
    plate = analysed(lambda one: 60.0 if one.concentration == 100.0 else held(one), levels=SIX, curve=FALLING)
    (verdict,) = plate.verdicts
    assert verdict.verdict == "accepted_with_findings"
    assert verdict.sentence.startswith("Accepted with findings (CALIBRATOR_RECOVERY): 4 of 5 calibrator levels")
    assert verdict.rules[1].passed is None


def test_a_level_without_a_usable_well_was_meant_to_pass_and_did_not() -> None:
    lost = tuple(str(one.position) for one in wells(EIGHT) if one.slot in ("STD3", "STD4"))
    plate = analysed(masked=lost)
    assert plate.verdicts[0].sentence.startswith("Rejected: Only 5 of 7 calibrator levels")


def test_the_rules_are_those_of_the_analyte() -> None:
    lenient = analyte(acceptance={"control_deviation_percent": 60, "source": "assumption"})
    shifted: Callable[[LayoutWell], float] = lambda one: 1.5 * held(one) if one.role is WellRole.CONTROL else held(one)  # noqa: E731  - one line says it
    assert analysed(shifted).verdicts[0].verdict == "rejected"
    assert analysed(shifted, declared=lenient).verdicts[0].verdict == "accepted"


def test_the_lots_certificate_replaces_calibrators_and_decides_about_controls() -> None:
    shifted: Callable[[LayoutWell], float] = lambda one: 1.5 * held(one) if one.role is WellRole.CONTROL else held(one)  # noqa: E731  - one line says it
    certificate = KitLot(
        analyte="IL6",
        kit_lot="A",
        calibrators={f"STD{index + 1}": 1.1 * level for index, level in enumerate(EIGHT)},
        controls={"CTRL1": ControlRange(lower=40.0, upper=60.0, nominal=50.0), "CTRL2": ControlRange(lower=700.0, upper=950.0)},
    )
    limits = {"lloq": 16.0, "uloq": 1100, "origin": "lot", "source": "assumption"}
    plate = analysed(shifted, lots=(certificate,), declared=analyte(limits=limits))
    assert plate.verdicts[0].verdict == "accepted"
    assert [level.nominal for level in plate.curves[0].calibrators][-1] == pytest.approx(1100.0)
    assert [(one.slot, one.nominal, one.lower, one.kit_lot) for one in plate.controls] == [
        ("CTRL1", 50.0, 40.0, "A"),
        ("CTRL2", 500.0, 700.0, "A"),
    ]
    other = analysed(shifted, lots=(certificate,), lot="B")
    assert other.verdicts[0].verdict == "rejected"


def test_a_kit_read_after_its_last_day_is_a_finding() -> None:
    certificate = KitLot(analyte="IL6", kit_lot="A", expires_on=date(2026, 1, 31), calibrators={}, controls={})
    assert analysed(lots=(certificate,), read_on=date(2026, 1, 31)).verdicts[0].verdict == "accepted"
    late = analysed(lots=(certificate,), read_on=date(2026, 2, 1))
    assert late.verdicts[0].verdict == "accepted_with_findings"
    assert "KIT_EXPIRED" in late.verdicts[0].sentence


def test_without_controls_the_verdict_rests_on_the_calibrators_and_says_so() -> None:
    plate = analysed(controls=False)
    (verdict,) = plate.verdicts
    assert verdict.verdict == "accepted"
    assert verdict.sentence.endswith("The plate holds no controls.")
    assert verdict.rules[2].passed is None
    assert [(one.code, one.severity) for one in plate.run.findings] == [("NO_CONTROLS", Severity.NOTE)]


def test_the_mean_blank_is_subtracted_where_that_is_declared_and_raw_text_stays() -> None:
    declared = analyte(calibration={"source": "assumption", "subtract_blank": True})
    plate = analysed(ground=0.3, declared=declared)
    (curve,) = plate.curves
    assert curve.blank_response == pytest.approx(0.3, abs=1e-12)
    assert curve.parameters["zero_dose"] == pytest.approx(0.05, abs=0.01)
    one = next(well for well in plate.wells if well.slot == "S1")
    assert one.response == pytest.approx(float(one.raw_text) - 0.3, abs=1e-4)


def test_limits_that_include_the_dilution_are_not_multiplied_with_it() -> None:
    stated = {"lloq": 200.0, "uloq": 1000, "origin": "validation", "dilution_included": True, "source": "assumption"}
    plate = analysed(declared=analyte(limits=stated, acceptance={"calibrator_levels": 2}))
    first = plate.run.results[0]
    assert first.quantity is not None
    assert (first.quantity.value, first.quantity.comparator) == (200.0, "<")


def test_a_spike_is_held_against_its_own_specimen() -> None:
    (spike,) = analysed().spikes
    assert (spike.accession_id, spike.added) == ("ATR-000001", 50.0)
    assert spike.recovery_percent == pytest.approx(100.0, abs=15.0)
    lost = analysed(lambda one: 130.0 if one.role is WellRole.SPIKE else held(one))
    assert "SPIKE_RECOVERY" in [finding.code for finding in lost.run.results[0].findings]
    assert "SPIKE_RECOVERY" not in [finding.code for finding in lost.run.results[1].findings]


def test_masking_a_specimens_well_changes_neither_number_nor_limits_of_any_other() -> None:
    first = next(str(one.position) for one in wells(EIGHT) if one.slot == "S1")
    sound, masked = analysed(), analysed(masked=(first,))
    assert [(one.quantity, one.interval) for one in sound.run.results[1:]] == [
        (one.quantity, one.interval) for one in masked.run.results[1:]
    ]
    assert sound.curves == masked.curves


def test_a_curve_is_kept_with_its_noise_and_a_band_to_be_drawn() -> None:
    (curve,) = analysed().curves
    assert curve.proportional_noise is not None
    assert curve.proportional_noise == pytest.approx(0.01, rel=0.6)
    assert len(curve.band) == 41
    assert all(point.lower < point.response < point.upper for point in curve.band)
