"""Wells a person leaves out: applied, kept with who and why, and nothing else moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.masks import WellMask, masked_reads
from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, PlateRead, WellPosition, WellRead, WellRole
from biomarkers.errors import AssayError
from biomarkers.provenance import Provenance
from biomarkers.study.soluble import Analyte

LEVELS = (1000.0, 500.0, 250.0, 125.0, 62.5, 31.25, 15.625, 0.0)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SPECIMENS = 20
IL6 = Analyte.model_validate(
    {
        "code": "IL6",
        "name": "IL6",
        "format": "sandwich",
        "unit": "pg/mL",
        "materials": ["PLASMA"],
        "due": [],
        "calibrators": sorted(LEVELS),
        "source": "assumption",
        "limits": {"lloq": 15.625, "uloq": 1000.0, "origin": "calibrators", "source": "assumption"},
        "calibration": {"source": "assumption"},
    }
)


def layout() -> PlateLayout:
    rows: list[tuple[WellRole, str, float | None]] = [
        (WellRole.CALIBRATOR, f"STD{index + 1}", level) for index, level in enumerate(LEVELS)
    ]
    rows += [(WellRole.CONTROL, "CTRL1", 62.5), (WellRole.CONTROL, "CTRL2", 500.0)]
    rows += [(WellRole.SAMPLE, f"S{index:02d}", None) for index in range(1, SPECIMENS + 1)]
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


def read(*, wavelength_nm: float = 450.0, marked: Sequence[str] = ()) -> PlateRead:
    rng = np.random.default_rng(8)
    found = []
    for well in layout().wells:
        number = int(well.slot[1:]) if well.role is WellRole.SAMPLE else 0
        content = well.concentration if well.concentration is not None else 20.0 * 1.18**number
        value = float(RISING.response(np.array([content]))[0]) * (1.0 + 0.03 * float(rng.standard_normal()))
        is_marked = str(well.position) in marked
        found.append(
            WellRead(
                position=well.position,
                raw_text=f"{value:.4f}",
                value=value,
                flag="masked" if is_marked else "",
                mask_reason="masked in the export" if is_marked else "",
                is_mask_explained=not is_marked,
            )
        )
    return PlateRead(
        plate_id="P1",
        rows=8,
        columns=12,
        wavelength_nm=wavelength_nm,
        reference_nm=None,
        acquired_at="",
        wells=tuple(found),
    )


def analysed(masks: Sequence[WellMask] = (), *, marked: Sequence[str] = ()) -> PlateAnalysis:
    plate_map = PlateMap(
        plate_id="P1",
        layout="test",
        entries=tuple(
            MapEntry(slot=f"S{index:02d}", accession_id=f"A{index:02d}", analyte="IL6", dilution_factor=None, kit_lot="")
            for index in range(1, SPECIMENS + 1)
        ),
    )
    return analyse_plate(
        (read(marked=marked),),
        plate_map,
        layout(),
        analytes={"IL6": IL6},
        run_id="run",
        provenance=NOWHERE,
        masks=masks,
    )


def mask(name: str, reason: str = "bubble", by: str = "R. Kern") -> WellMask:
    position = WellPosition.parse(name)
    assert position is not None
    return WellMask(position=position, by=by, reason=reason, at=AT)


def well_of(slot: str) -> str:
    return str(layout().wells_of(slot)[0].position)


def test_a_persons_mask_stays_with_the_well_who_why_and_when_and_the_reading_is_kept() -> None:
    name = well_of("S03")
    masked = mask(name)
    plate = analysed([masked])
    record = next(one for one in plate.wells if one.position == name)
    assert (record.flag, record.mask_reason) == ("masked", "bubble (R. Kern, 2026-03-02 09:30)")
    assert record.response is not None
    assert record.concentration is not None
    assert plate.masks == (masked,)
    of_specimen = next(one for one in plate.run.results if one.accession_id == "A03")
    assert [finding.code for finding in of_specimen.findings] == ["WELL_MASKED", "LONE_REPLICATE"]
    assert of_specimen.n_replicates == 1


@pytest.mark.parametrize("slot", ["S01", "S11", "S20"])
def test_a_masked_specimen_well_moves_no_number_limit_curve_control_or_verdict_of_anything_else(slot: str) -> None:
    plain, plate = analysed(), analysed([mask(well_of(slot))])
    accession = f"A{slot[1:]}"
    assert [one for one in plate.run.results if one.accession_id != accession] == [
        one for one in plain.run.results if one.accession_id != accession
    ]
    assert plate.curves == plain.curves
    assert plate.controls == plain.controls
    assert [one.verdict for one in plate.verdicts] == [one.verdict for one in plain.verdicts]


def test_a_wild_well_widens_the_limits_of_others_hardly_whether_it_is_masked_or_not() -> None:
    plain = analysed()
    name = well_of("S10")
    export = read()
    wild = replace(
        export,
        wells=tuple(
            replace(one, value=3.0 * one.value) if str(one.position) == name and one.value is not None else one
            for one in export.wells
        ),
    )
    moved = analyse_plate(
        (wild,),
        PlateMap(
            plate_id="P1",
            layout="test",
            entries=(MapEntry(slot="S05", accession_id="A05", analyte="IL6", dilution_factor=None, kit_lot=""),),
        ),
        layout(),
        analytes={"IL6": IL6},
        run_id="run",
        provenance=NOWHERE,
    )
    before = next(one for one in plain.run.results if one.accession_id == "A05").interval
    after = next(one for one in moved.run.results if one.accession_id == "A05").interval
    assert before is not None
    assert after is not None
    assert None not in (before.lower, before.upper, after.lower, after.upper)
    widened = (after.upper - after.lower) / (before.upper - before.lower)  # type: ignore[operator]
    assert widened == pytest.approx(1.0, abs=0.1)


def test_a_masked_calibrator_is_not_in_the_fit_and_needs_no_further_reason() -> None:
    plate = analysed([mask(well_of("STD4"), "pipetted twice")])
    assert next(one for one in plate.curves[0].calibrators if one.nominal == 125.0).n_masked == 1
    codes = [finding.code for finding in plate.run.findings]
    assert "WELL_MASKED" in codes
    assert "WELL_MASKED_NO_REASON" not in codes


def test_wells_masked_by_the_readers_software_without_a_reason_are_a_finding_until_a_person_says_why() -> None:
    first, second = well_of("STD2"), well_of("S07")
    plate = analysed(marked=[first, second])
    (told,) = (finding for finding in plate.run.findings if finding.code == "WELL_MASKED_NO_REASON")
    assert told.where == f"Plate 'P1', analyte 'IL6'. Wells {first}, {second}."
    assert plate.verdicts[0].verdict == "accepted_with_findings"
    explained = analysed([mask(first), mask(second, "empty")], marked=[first, second])
    assert "WELL_MASKED_NO_REASON" not in [finding.code for finding in explained.run.findings]
    assert [one.quantity for one in explained.run.results] == [one.quantity for one in plate.run.results]


def test_every_fault_of_masks_is_told_at_once() -> None:
    with pytest.raises(AssayError) as raised:
        analysed([mask("A01", reason=" "), mask("B01", by=""), mask("H12")])
    assert [(fault.where, fault.what) for fault in raised.value.faults] == [
        ("Plate 'P1', well A01.", "The well is masked without a reason."),
        ("Plate 'P1', well B01.", "The well is masked by nobody."),
        ("Plate 'P1', well H12.", "The plate's export holds no such well."),
    ]


def test_a_mask_holds_at_every_wavelength_and_the_latest_of_two_tells_why() -> None:
    later = replace(mask("A01", "bubble, seen again"), at=AT.replace(hour=11))
    found = masked_reads([read(), read(wavelength_nm=620.0)], [later, mask("A01")])
    assert [one.wells[0].flag for one in found] == ["masked", "masked"]
    assert all(one.wells[0].mask_reason == "bubble, seen again (R. Kern, 2026-03-02 11:30)" for one in found)
