from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_gating
from biomarkers.cytometry.corrections import compare_gates
from biomarkers.cytometry.examined import Examined, examine, tube_counts, with_findings, with_warnings_of_the_tube
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.provenance import Provenance, Source, utc_now
from biomarkers.study.cellular import Fixation, PanelMeasurand

T_CELLS = PanelMeasurand(code="T_PCT_LYMPH", population="T", denominator="lymphocytes")
OF_LIVE = PanelMeasurand(code="LYMPH_PCT_LIVE", population="lymphocytes", denominator="live")


@pytest.fixture(scope="module")
def tube(make_tube: Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]) -> Acquisition:
    """A tube acquired steadily: its events in random order."""
    acquisition, _ = make_tube(seed=3)
    order = np.random.default_rng(1).permutation(acquisition.event_count)
    return replace(acquisition, events=_clocked(acquisition.events[order]))


@pytest.fixture(scope="module")
def disturbed(tube: Acquisition) -> Acquisition:
    """The same with a bubble: in the middle tenth every signal is a tenth of what it was."""
    events = tube.events.copy()
    count = tube.event_count
    events[int(0.45 * count) : int(0.55 * count)] *= 0.1
    return replace(tube, events=_clocked(events))


def _clocked(events: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Let the clock, the last channel, run through the events as they stand."""
    return np.column_stack([events[:, :-1], 0.01 * np.arange(len(events))]).astype(np.float32)


def analysed(examined: Examined, fixation: Fixation | None = None) -> AcquisitionAnalysis:
    provenance = Provenance(
        sources=(Source(role="instrument", name="tube.fcs", sha256="0" * 64),),
        inputs=(),
        software="-",
        parameters="{}",
        computed_at=utc_now(),
    )
    found = analyse_gating(
        with_findings(examined.gated, examined.over_time, fixation),
        measurands=(T_CELLS, OF_LIVE),
        accession_id="A-1",
        run_id="r-1",
        provenance=provenance,
        acquired_at="",
    )
    return with_warnings_of_the_tube(found, removed_events=examined.over_time.removed)


def test_a_steady_tube_is_gated_as_it_is(tube: Acquisition, panel: Panel) -> None:
    examined = examine(tube, panel)
    assert examined.over_time.removed == 0
    straight = gate_acquisition(tube, panel)
    for name, members in straight.membership.items():
        assert np.array_equal(members, examined.gated.membership[name]), name


def test_events_of_a_disturbed_stretch_belong_to_no_population_and_are_counted(disturbed: Acquisition, panel: Panel) -> None:
    examined = examine(disturbed, panel)
    left_out = ~examined.over_time.keep
    assert 0.08 * disturbed.event_count < np.count_nonzero(left_out) < 0.2 * disturbed.event_count
    assert all(not (members & left_out).any() for members in examined.gated.membership.values())
    analysis = analysed(examined)
    assert analysis.removed_events == np.count_nonzero(left_out)
    assert "TIME_SLICES_REMOVED" in {finding.code for finding in analysis.run.findings}
    first = analysis.populations[0]
    assert first.parent_count == disturbed.event_count - analysis.removed_events


def test_gates_found_on_steady_stretches_compare_equal_with_themselves(disturbed: Acquisition, panel: Panel) -> None:
    gated = examine(disturbed, panel).gated
    comparison = compare_gates(gated, disturbed, found_gates(gated, disturbed).strategy)
    assert not comparison.is_changed


def test_the_share_of_a_disturbed_tube_is_that_of_its_steady_stretches(
    tube: Acquisition, disturbed: Acquisition, panel: Panel
) -> None:
    steady, mended = (analysed(examine(one, panel)).run.results[0].quantity for one in (tube, disturbed))
    assert steady is not None
    assert mended is not None
    assert mended.value == pytest.approx(steady.value, abs=2.0)


def test_without_a_readable_viability_dye_frequencies_stay_with_a_warning_and_those_of_live_cells_do_not(
    tube: Acquisition, panel: Panel
) -> None:
    fixation = Fixation(
        order="fix_then_stain", fixative="1 % formaldehyde", hours_to_acquisition=2, permeabilised=True, source="assumption"
    )
    analysis = analysed(examine(tube, panel), fixation)
    t_cells, of_live = analysis.run.results
    assert t_cells.quantity is not None
    assert "VIABILITY_NOT_EVALUABLE" in {finding.code for finding in t_cells.findings}
    assert of_live.quantity is None
    assert "FIXATION_UNSUPPORTED" in {finding.code for finding in of_live.findings}
    reportable = {record.name: record.reportable for record in analysis.populations}
    assert not reportable["CD4_naive"]  # CCR7 cannot be read
    assert reportable["CD4"]


def test_purity_is_told_once(tube: Acquisition, panel: Panel) -> None:
    analysis = analysed(examine(tube, panel))
    lymphocytes = next(record for record in analysis.populations if record.name == "lymphocytes")
    assert [finding.code for finding in lymphocytes.findings].count("PURITY_UNVERIFIED") == 1


def test_viability_counts_only_where_a_dye_was_gated(
    make_tube: Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]], panel: Panel
) -> None:
    undyed, _ = make_tube(markers=("CD3", "CD4", "CD8", "CD19", "CD56"))
    assert tube_counts(gate_acquisition(undyed, panel)).live is None
