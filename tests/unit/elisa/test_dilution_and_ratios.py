"""Specimens in dilution, with a spike, and the ratio of two of their concentrations."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.dilution import DilutionPoint, dilution_linearity, hooked_dilutions, parallelism, spike_recovery
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.ratios import micromolar, molar_ratio, ratio_result
from biomarkers.errors import AssayError
from biomarkers.provenance import Provenance
from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay, Comparator, Interval, Quantity, Result, Severity

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))
KYN_MASS, TRP_MASS = 208.21, 204.23


def series(*held: float | Comparator, step: float = 2.0) -> list[DilutionPoint]:
    return [
        DilutionPoint(dilution_factor=step**index, concentration=None, comparator=one)
        if isinstance(one, str)
        else DilutionPoint(dilution_factor=step**index, concentration=one)
        for index, one in enumerate(held)
    ]


def test_a_specimen_that_dilutes_like_the_calibrators_has_a_slope_of_one_and_no_finding() -> None:
    found = dilution_linearity(series(800.0, 400.0, 200.0, 100.0), where="S01.")
    assert found.slope == pytest.approx(1.0)
    assert found.recoveries_percent == pytest.approx((100.0,) * 4)
    assert found.cv_percent == pytest.approx(0.0, abs=1e-9)
    assert found.findings == ()


def test_a_matrix_that_disturbs_the_undiluted_specimen_is_a_finding_with_its_dilution() -> None:
    found = dilution_linearity(series(400.0, 400.0, 210.0, 104.0), where="S01.")
    (finding,) = found.findings
    assert finding.code == "DILUTION_NOT_LINEAR"
    assert "1 in 1 by -4" in finding.message


def test_dilutions_outside_the_range_take_no_part() -> None:
    found = dilution_linearity(series(">", 400.0, 200.0, "<"), where="S01.")
    assert found.dilution_factors == (2.0, 4.0)
    assert found.slope_interval is None


def test_a_single_dilution_says_nothing_of_linearity() -> None:
    found = dilution_linearity(series(400.0), where="S01.")
    assert (found.cv_percent, found.slope, found.findings) == (None, None, ())
    assert dilution_linearity(series("<"), where="S01.").dilution_factors == ()


def test_more_in_a_more_diluted_well_is_a_hook_and_names_every_less_diluted_one() -> None:
    assert hooked_dilutions(series(300.0, 500.0, 900.0, 450.0)) == (1.0, 2.0)
    assert hooked_dilutions(series(300.0, ">", 450.0)) == (1.0,)


def test_noise_of_a_sound_series_is_no_hook() -> None:
    assert hooked_dilutions(series(">", ">", 900.0, 500.0, 230.0, "<")) == ()
    assert hooked_dilutions(series(100.0, 104.0, step=1.1)) == ()


def test_a_spike_found_again_is_no_finding_and_one_half_lost_is() -> None:
    found = spike_recovery(unspiked=100.0, spiked=290.0, added=200.0, where="S01.")
    assert found.recovery_percent == pytest.approx(95.0)
    assert found.findings == ()
    lost = spike_recovery(unspiked=100.0, spiked=200.0, added=200.0, where="S01.")
    assert [finding.code for finding in lost.findings] == ["SPIKE_RECOVERY"]


def test_the_volume_of_the_spike_is_counted() -> None:
    found = spike_recovery(unspiked=100.0, spiked=190.0, added=100.0, where="S01.", unspiked_share=0.9)
    assert found.recovery_percent == pytest.approx(100.0)


def test_a_spike_of_nothing_is_refused() -> None:
    with pytest.raises(AssayError, match="adds nothing"):
        spike_recovery(unspiked=1.0, spiked=1.0, added=0.0, where="S01.")


def curve() -> CalibrationCurve:
    rng = np.random.default_rng(2)
    response = RISING.response(LEVELS) * (1.0 + 0.01 * rng.standard_normal(len(LEVELS)))
    return fit_calibration(LEVELS, response, model="4pl", weights="fitted", replicates="wells", where="Plate 'P1'.")


def test_a_specimen_of_the_same_substance_is_parallel_and_one_of_another_slope_is_not() -> None:
    factors = np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], 2)
    rng = np.random.default_rng(3)
    for power, is_parallel in ((1.0, True), (0.6, False)):
        responses = RISING.response(900.0 * factors**-power) * (1.0 + 0.01 * rng.standard_normal(len(factors)))
        found = parallelism(curve(), factors.tolist(), responses.tolist(), where="S01.")
        assert found.slope_ratio == pytest.approx(power, rel=0.05)
        assert found.is_parallel is is_parallel


def test_two_dilutions_say_nothing_of_slopes() -> None:
    with pytest.raises(AssayError, match="2 responses lie between"):
        parallelism(curve(), [1.0, 2.0], [1.0, 0.6], where="S01.")


@pytest.mark.parametrize(
    ("value", "unit", "mass", "expected"),
    [
        (208.21, "ng/mL", KYN_MASS, 1.0),
        (12.2538, "ug/mL", TRP_MASS, 60.0),
        (12.2538, "µg/mL", TRP_MASS, 60.0),
        (2.0, "umol/L", None, 2.0),
        (2.0, "µM", None, 2.0),
        (1500.0, "nM", None, 1.5),
        (1.5, "nmol/mL", None, 1.5),
        (0.020821, "mg/dL", KYN_MASS, 1.0),
    ],
)
def test_units_of_mass_and_amount_become_micromolar(value: float, unit: str, mass: float | None, expected: float) -> None:
    assert micromolar(value, unit, mass) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("unit", "mass", "said"), [("AU", 1.0, "is no concentration"), ("ng/mL", None, "no molar mass")])
def test_a_unit_that_cannot_be_converted_is_refused(unit: str, mass: float | None, said: str) -> None:
    with pytest.raises(AssayError, match=said):
        micromolar(1.0, unit, mass)


def ratio(kyn: Comparator, trp: Comparator) -> Quantity | None:
    found = molar_ratio(
        Quantity(value=416.42, unit="ng/mL", comparator=kyn),
        Quantity(value=12.2538, unit="ug/mL", comparator=trp),
        molar_masses=(KYN_MASS, TRP_MASS),
    )
    return found.quantity


def test_two_micromolar_kynurenine_over_sixty_of_tryptophan_is_a_thirtieth() -> None:
    found = ratio("", "")
    assert found is not None
    assert (found.value, found.unit, found.comparator) == (pytest.approx(1 / 30), "uM/uM", "")


@pytest.mark.parametrize(
    ("kyn", "trp", "side"), [("<", "", "<"), ("", "<", ">"), (">", "", ">"), ("", ">", "<"), ("<", ">", "<")]
)
def test_a_bound_of_either_makes_a_bound_of_the_ratio(kyn: Comparator, trp: Comparator, side: str) -> None:
    found = ratio(kyn, trp)
    assert found is not None
    assert found.comparator == side


def test_both_below_range_leave_the_ratio_undetermined() -> None:
    assert ratio("<", "<") is None
    assert ratio(">", ">") is None


def test_the_interval_of_the_ratio_holds_the_truth_of_simulated_lognormal_pairs() -> None:
    rng = np.random.default_rng(9)
    held = 0
    for _ in range(2000):
        above, below = 2.0 * np.exp(0.1 * rng.standard_normal()), 60.0 * np.exp(0.05 * rng.standard_normal())
        found = molar_ratio(
            Quantity(value=above, unit="uM"),
            Quantity(value=below, unit="uM"),
            molar_masses=(None, None),
            intervals=(
                Interval(lower=above * np.exp(-0.196), upper=above * np.exp(0.196)),
                Interval(lower=below * np.exp(-0.098), upper=below * np.exp(0.098)),
            ),
        )
        assert found.interval is not None
        assert found.interval.lower is not None
        assert found.interval.upper is not None
        held += found.interval.lower <= 2.0 / 60.0 <= found.interval.upper
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_an_open_limit_of_either_leaves_that_side_of_the_ratio_open() -> None:
    found = molar_ratio(
        Quantity(value=2.0, unit="uM"),
        Quantity(value=60.0, unit="uM"),
        molar_masses=(None, None),
        intervals=(Interval(lower=0.0, upper=3.0), Interval(lower=50.0, upper=70.0)),
    )
    assert found.interval is not None
    assert found.interval.lower == 0.0
    assert found.interval.upper is not None


def result(measurand: str, quantity: Quantity | None, accession_id: str = "ATR-000001") -> Result:
    return Result(
        accession_id=accession_id, assay=Assay.ELISA, measurand=measurand, quantity=quantity, interval=None, denominator="",
        n_replicates=2, run_id="r", findings=(), provenance=NOWHERE,
    )  # fmt: skip


def derived(kyn: Quantity | None, trp: Quantity | None, accession_id: str = "ATR-000001") -> Result:
    study = packaged_study()
    analytes = (study.analyte("KYN"), study.analyte("TRP"))
    assert analytes[0] is not None
    assert analytes[1] is not None
    return ratio_result(
        result("KYN", kyn),
        result("TRP", trp, accession_id),
        analytes=(analytes[0], analytes[1]),
        run_id="d",
        provenance=NOWHERE,
    )


def test_the_ratio_is_a_result_of_its_own_and_no_activity_of_an_enzyme() -> None:
    found = derived(Quantity(value=416.42, unit="ng/mL"), Quantity(value=12.2538, unit="ug/mL"))
    assert (found.measurand, found.denominator, found.n_replicates) == ("KYN_TRP_RATIO", "TRP", 2)
    assert found.quantity is not None
    assert found.quantity.value == pytest.approx(1 / 30)
    assert found.findings == ()


def test_a_ratio_that_cannot_be_told_says_so() -> None:
    trp = Quantity(value=2.5, unit="ug/mL", comparator="<")
    for kyn in (None, Quantity(value=100.0, unit="ng/mL", comparator="<")):
        found = derived(kyn, trp)
        assert found.quantity is None
        assert [(one.code, one.severity) for one in found.findings] == [("RATIO_UNDETERMINED", Severity.REJECT)]


def test_a_ratio_is_made_within_one_specimen() -> None:
    with pytest.raises(AssayError, match="a ratio is made within one specimen"):
        derived(Quantity(value=1.0, unit="uM"), Quantity(value=1.0, unit="uM"), accession_id="ATR-000002")
