"""Channels whose names were exchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.identity import check_identity
from biomarkers.cytometry.panel import Panel
from biomarkers.readers.panels import packaged_panel

NAMES = ("FSC-A", "SSC-A", "CD3", "CD4", "CD8", "CD5", "CD56", "CD38")


@pytest.fixture(scope="module")
def euroflow() -> Panel:
    return packaged_panel("euroflow-lst")


@pytest.fixture(scope="module")
def blood() -> dict[str, npt.NDArray[np.float32]]:
    """Lymphocytes as every immunologist knows them: T cells carry CD5, CD4 or CD8; NK cells and some CD8 T cells CD56."""
    rng = np.random.default_rng(8)
    t4, t8, nk, b = (np.arange(3000) // 1000 < 2, np.arange(3000) // 1000 == 2, 700, 500)
    count = 3000 + nk + b
    is_t4, is_t8, is_nk = (np.zeros(count, dtype=bool) for _ in range(3))
    is_t4[:3000], is_t8[:3000], is_nk[3000 : 3000 + nk] = t4, t8, True
    is_t = is_t4 | is_t8
    bright = {
        "CD3": is_t * 5.0,
        "CD4": is_t4 * 4.0,
        "CD8": is_t8 * 4.0 + is_nk * 1.5,
        "CD5": is_t * 4.0,
        "CD56": is_nk * 4.0 + is_t8 * 0.6,
        "CD38": is_nk * 2.5 + is_t4 * 0.3 + 1.0,
    }
    scatter = {name: 10 + rng.standard_normal(count) for name in ("FSC-A", "SSC-A")}
    return {
        name: values.astype(np.float32)
        for name, values in {
            **scatter,
            **{name: level + 0.8 * rng.standard_normal(count) for name, level in bright.items()},
        }.items()
    }


def test_right_names_pass_without_a_word(euroflow: Panel, blood: dict[str, npt.NDArray[np.float32]]) -> None:
    verdict = check_identity("tube", euroflow, blood)
    assert not verdict.carriers
    assert verdict.findings == ()


def test_two_exchanges_of_names_are_seen_named_and_set_right(
    euroflow: Panel, blood: dict[str, npt.NDArray[np.float32]]
) -> None:
    exchanged = {**blood, "CD4": blood["CD38"], "CD38": blood["CD4"], "CD5": blood["CD56"], "CD56": blood["CD5"]}
    verdict = check_identity("tube", euroflow, exchanged)
    assert verdict.carriers == {"CD4": "CD38", "CD38": "CD4", "CD5": "CD56", "CD56": "CD5"}
    (finding,) = verdict.findings
    assert (finding.code, finding.severity.value) == ("CHANNEL_NAMES_EXCHANGED", "warning")
    assert "CD4 under the name CD38" in finding.message


def test_a_trial_rejects_exchanged_names_and_changes_nothing(
    euroflow: Panel, blood: dict[str, npt.NDArray[np.float32]]
) -> None:
    strict = euroflow.model_copy(update={"identity": euroflow.identity.model_copy(update={"on_contradiction": "reject"})})
    exchanged = {**blood, "CD5": blood["CD56"], "CD56": blood["CD5"]}
    verdict = check_identity("tube", strict, exchanged)
    assert not verdict.carriers
    assert [finding.severity.value for finding in verdict.findings] == ["reject"]


def test_what_no_exchange_explains_is_rejected_rather_than_guessed(
    euroflow: Panel, blood: dict[str, npt.NDArray[np.float32]]
) -> None:
    noise = np.random.default_rng(1).standard_normal(blood["CD5"].size).astype(np.float32)
    verdict = check_identity("tube", euroflow, {**blood, "CD5": noise, "CD56": noise})
    assert not verdict.carriers
    assert [finding.code for finding in verdict.findings] == ["CHANNEL_NAMES_DOUBTFUL"]


def test_nothing_is_said_of_too_few_cells_or_missing_markers(
    euroflow: Panel, blood: dict[str, npt.NDArray[np.float32]]
) -> None:
    few = {name: values[::20] for name, values in blood.items()}
    assert check_identity("tube", euroflow, few).findings == ()
    without = {name: values for name, values in blood.items() if name != "CD38"}
    assert check_identity("tube", euroflow, without).findings == ()


def test_panels_without_an_expectation_check_nothing(panel: Panel, blood: dict[str, npt.NDArray[np.float32]]) -> None:
    assert check_identity("tube", panel, blood) == replace(check_identity("tube", panel, {}))
