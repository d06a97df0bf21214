"""Our scales and reader against FlowKit 1.3 and FlowIO 1.4 (BSD-3-Clause), event by event."""

from __future__ import annotations

import io
from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.cytometry.transforms import Logicle
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
    # A display pixel is a thousandth of the scale.
    np.testing.assert_allclose(Logicle(top=top, width=width).apply(values), expected, atol=1e-6)


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
