"""Our scales, gates and reader against FlowKit 1.3 and FlowIO 1.4 (BSD-3-Clause), event by event."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.cytometry.gating_scales import (
    FlowJoBiex,
    FlowJoLog,
    Hyperlog,
    ParametricAsinh,
    ParametricLinear,
    ParametricLog,
    ParametricLogicle,
    Scale,
)
from biomarkers.cytometry.transforms import TABLE_ERROR, Logicle, table_of
from biomarkers.readers.fcs import read_fcs

fk = pytest.importorskip("flowkit")


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.2, 1.75])
@pytest.mark.parametrize("top", [1024.0, 262_144.0, 4_194_304.0])
@pytest.mark.parametrize("count", [3_000, 60_000])
def test_the_logicle_equals_flowkits(top: float, width: float, count: int) -> None:
    rng = np.random.default_rng(9)
    signs = rng.choice([-0.2, 1.0], count)
    values = (signs * 10 ** rng.uniform(-2, np.log10(top) + 0.2, count)).astype(np.float32)
    expected = fk.transforms.LogicleTransform(top, width, 4.5, 0).apply(values.astype(np.float64)[:, None])[:, 0]
    # The table strays by 6e-8 at most, and single precision rounds by 6e-8 above 0.5.
    np.testing.assert_allclose(Logicle(top=top, width=width).apply(values), expected, rtol=0, atol=1e-7 + 6e-8)


@pytest.mark.parametrize("negative_decades", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("width", [0.25, 0.5, 1.0, 1.75, 2.0])
def test_the_logicles_table_stays_within_a_ten_millionth_of_flowkits_scale(width: float, negative_decades: float) -> None:
    scale = Logicle(top=262_144.0, width=width, negative_decades=negative_decades)
    reach = np.arcsinh(4 * 262_144.0 / scale.turn)
    values = np.sinh(np.linspace(-reach, reach, 100_000)) * scale.turn
    expected = fk.transforms.LogicleTransform(262_144, width, 4.5, negative_decades).apply(values[:, None])[:, 0]
    table = table_of(scale)
    assert np.abs(table.look_up(values, scale.exact) - expected).max() <= min(TABLE_ERROR, table.error)


SCALES = [
    (ParametricLinear(top=1000.0, offset=20.0), lambda: fk.transforms.LinearTransform(1000, 20)),
    (ParametricLog(top=10_000.0, decades=5.0), lambda: fk.transforms.LogTransform(10_000, 5)),
    (ParametricAsinh(top=1000.0, decades=4.0, negative_decades=1.0), lambda: fk.transforms.AsinhTransform(1000, 4, 1)),
    (
        ParametricLogicle(top=1000.0, width=1.0, decades=4.0, negative_decades=0.5),
        lambda: fk.transforms.LogicleTransform(1000, 1, 4, 0.5),
    ),
    (
        Hyperlog(top=10_000.0, width=1.0, decades=4.5, negative_decades=0.0),
        lambda: fk.transforms.HyperlogTransform(10_000, 1, 4.5, 0),
    ),
    (
        FlowJoBiex(top=262_144.0, width=-100.0, positive=4.418539922, negative=0.0),
        lambda: fk.transforms.WSPBiexTransform(negative=0, width=-100, positive=4.418539922, max_value=262_144.0),
    ),
    (
        FlowJoBiex(top=4_194_304.0, width=-10.0, positive=5.5, negative=1.0),
        lambda: fk.transforms.WSPBiexTransform(negative=1, width=-10, positive=5.5, max_value=4_194_304.0),
    ),
    (FlowJoLog(offset=10.0, decades=5.0), lambda: fk.transforms.WSPLogTransform(offset=10, decades=5)),
]


@pytest.mark.parametrize(("ours", "reference"), SCALES, ids=lambda value: type(value).__name__)
def test_every_scale_of_gatingml_and_flowjo_equals_flowkits(ours: Scale, reference: Callable[[], object]) -> None:
    rng = np.random.default_rng(5)
    values = rng.choice([-0.1, 1.0], 5000) * 10 ** rng.uniform(-1, 5.5, 5000)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = reference().apply(values[:, None])[:, 0]
    np.testing.assert_allclose(ours.exact(values), expected, rtol=1e-10, atol=1e-9)
    inside = np.isfinite(expected) & (values > 20) & (values < 9e3)  # on the scales' own ranges, where they have an inverse
    np.testing.assert_allclose(ours.inverse(ours.exact(values[inside])), values[inside], rtol=1e-9)


def test_a_file_flowio_wrote_is_read_as_flowio_reads_it(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(0, 1000, (500, 4)).astype(np.float32)
    buffer = io.BytesIO()
    flowio.create_fcs(buffer, values.ravel().tolist(), ["A", "B", "C", "Time"], ["CD3", "", "CD4", ""], {"P2R": "1024"})
    path = tmp_path / "tube.fcs"
    path.write_bytes(buffer.getvalue())
    reference = flowio.FlowData(path)
    acquisition = read_fcs(path)
    np.testing.assert_array_equal(acquisition.events, reference.as_array().astype(np.float32))
    assert [channel.detector for channel in acquisition.channels] == reference.pnn_labels
    assert [channel.marker for channel in acquisition.channels] == reference.pns_labels
