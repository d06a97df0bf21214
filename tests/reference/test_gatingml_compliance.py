"""ISAC's Gating-ML 2.0 compliance set: memberships its authors computed, event by event, through our own path.

The set (data1.fcs, documents and expected results) is published with the standard; here it is read from FlowKit's repository
(data/gate_ref, BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.evaluation import evaluate
from biomarkers.cytometry.gate_shapes import Mask
from biomarkers.errors import SourceFileError
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.gates import read_gates

pytestmark = pytest.mark.real

# The authors call this gate differently in the document and in the results.
OTHER_NAMES = {("gml_parent_quadrant_rect_gate", "ParRectangle1"): "ParQuadRect"}

# Outside of any gate element, to try how attributes are found; no Gating-ML by the standard's own schema.
NOT_GATINGML = "gml_range_gate_attr_testing"


@pytest.fixture(scope="session")
def compliance(real_data: Path) -> Path:
    return real_data / "cytometry" / "gatingml2_compliance"


@pytest.fixture(scope="session")
def acquisition(compliance: Path) -> Acquisition:
    return read_fcs(compliance / "data1.fcs")


@pytest.fixture(scope="session")
def truth(compliance: Path) -> Mapping[str, Mask]:
    return {
        path.stem.removeprefix("Results_"): np.loadtxt(path, dtype=np.int64).astype(np.bool_)
        for path in (compliance / "truth").glob("Results_*.txt")
    }


def test_every_truth_file_is_equal_event_by_event_in_every_document_that_has_its_gate(
    compliance: Path, acquisition: Acquisition, truth: Mapping[str, Mask]
) -> None:
    seen: set[str] = set()
    for path in sorted((compliance / "gml").glob("*.xml")):
        if path.stem == NOT_GATINGML:
            continue
        members = evaluate(read_gates(path).strategy_for("any file"), acquisition)
        for gate_id, mask in members.items():
            name = OTHER_NAMES.get((path.stem, gate_id), gate_id)
            if name in truth and (name == gate_id or path.stem == "gml_parent_quadrant_rect_gate"):
                np.testing.assert_array_equal(mask, truth[name], err_msg=f"{path.name}: {gate_id}")
                seen.add(name)
    # The bar is 49, as many as FlowKit 1.3 matches; the two further ones are quadrants' parents and children.
    assert len(truth) == 51
    assert seen == set(truth)


def test_a_document_whose_gates_hide_in_foreign_elements_is_refused(compliance: Path) -> None:
    with pytest.raises(SourceFileError, match="It holds no gates"):
        read_gates(compliance / "gml" / f"{NOT_GATINGML}.xml")
