"""Undoing spillover, and refusing what cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from biomarkers.cytometry.acquisition import Acquisition, Spillover
from biomarkers.cytometry.compensation import compensate, rank_correlation, undo_spillover
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.panel import Panel

MakeTube: TypeAlias = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]


def test_spilled_light_comes_back_where_it_came_from() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 1e5, (500, 3))
    matrix = np.array([[1, 0.2, 0.0], [0.1, 1, 0.3], [0, 0.05, 1]])
    seen = np.column_stack([np.arange(500), true @ matrix]).astype(np.float32)
    # float32 keeps seven digits of 1e5.
    np.testing.assert_allclose(undo_spillover(seen, [1, 2, 3], matrix)[:, 1:], true, atol=0.1)
    np.testing.assert_array_equal(undo_spillover(seen, [1, 2, 3], matrix)[:, 0], np.arange(500))


@pytest.mark.parametrize(
    ("detectors", "matrix", "code"),
    [
        (("D0-A", "D9-A"), np.eye(2), "COMPENSATION_MISMATCH"),
        (("D0-A", "D1-A"), np.array([[1.0, 1.0], [1.0, 1.0]]), "COMPENSATION_UNRESOLVED"),
        (("D0-A", "D1-A"), np.eye(2), "COMPENSATION_PARTIAL"),
        (tuple(f"D{i}-A" for i in range(6)), np.eye(6), "COMPENSATION_IDENTITY"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_found(
    make_tube: MakeTube, panel: Panel, detectors: tuple[str, ...], matrix: npt.NDArray[np.float64], code: str
) -> None:
    acquisition, _ = make_tube(scale=0.2)
    spillover = Spillover(keyword="SPILL", detectors=detectors, matrix=matrix)
    tube = replace(acquisition, spillover=spillover)
    assert code in [finding.code for finding in compensate(tube, panel, match_markers(panel, tube)).findings]


def test_a_panel_for_unmixed_events_leaves_them_alone(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(scale=0.2)
    unmixed = panel.model_copy(update={"compensation": "none"})
    done = compensate(acquisition, unmixed, match_markers(unmixed, acquisition))
    assert done.values is acquisition.events
    assert done.findings == ()


def test_a_panels_own_matrix_takes_the_place_of_the_files_or_of_none(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(scale=0.2)
    own = acquisition.spillover
    assert own is not None
    declared = {"detectors": own.detectors, "rows": own.matrix.tolist()}
    with_matrix = Panel.model_validate({**panel.model_dump(), "compensation": "panel", "spillover": declared})
    columns = match_markers(panel, acquisition)
    expected = compensate(acquisition, panel, columns).values
    wrong = replace(own, matrix=np.eye(len(own.detectors)))
    for carried in (None, wrong):
        done = compensate(replace(acquisition, spillover=carried), with_matrix, columns)
        np.testing.assert_array_equal(done.values, expected)
        assert "COMPENSATION_MISSING" not in {finding.code for finding in done.findings}
    for broken in ({"rows": own.matrix.tolist()[:-1]}, {"detectors": ("D0-A",) * len(own.detectors)}):
        with pytest.raises(ValidationError, match="spillover"):
            Panel.model_validate({**panel.model_dump(), "compensation": "panel", "spillover": {**declared, **broken}})
    with pytest.raises(ValidationError, match="only there"):
        Panel.model_validate({**panel.model_dump(), "compensation": "panel"})


def test_rank_correlation_sees_order_alone() -> None:
    x = np.arange(100, dtype=np.float32)
    assert rank_correlation(x, np.exp(x / 20)) == pytest.approx(1.0)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1.0)
