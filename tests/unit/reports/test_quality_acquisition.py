"""The page of an acquisition, and the densities its gates are drawn on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_acquisition
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.gating import Gating, gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.cytometry.time_quality import judge_time
from biomarkers.provenance import Provenance
from biomarkers.reports.acquisition_page import acquisition_page, depth_first
from biomarkers.reports.gate_densities import gate_densities
from biomarkers.reports.population_tree import population_tree
from biomarkers.reports.quality import acquisition_evidence
from biomarkers.study.cellular import PanelMeasurand

if TYPE_CHECKING:
    from tests.unit.reports.conftest import Page

MEASURANDS = (PanelMeasurand(code="CD4_PCT_T", population="CD4", denominator="T"),)
HOSTILE = "</title><script>alert(1)</script>'\"<b>\x07"


@pytest.fixture(scope="module")
def gating(make_tube: Callable[..., Acquisition], panel: Panel) -> Gating:
    return gate_acquisition(make_tube(), panel)


@pytest.fixture(scope="module")
def analysis(
    make_tube: Callable[..., Acquisition], panel: Panel, make_provenance: Callable[..., Provenance]
) -> AcquisitionAnalysis:
    return analyse_acquisition(
        make_tube(),
        panel,
        measurands=MEASURANDS,
        accession_id="ATR-000001",
        run_id="cytometry-1",
        provenance=make_provenance("tube.fcs"),
    )


def test_every_gated_population_with_a_cut_has_a_density_and_combinations_have_none(gating: Gating) -> None:
    densities = gate_densities(gating)
    assert [density.population for density in densities] == ["singlets", "T", "others", "CD4"]
    assert [density.markers for density in densities] == [("FSC-H", "FSC-A"), ("CD3",), ("CD3",), ("CD4", "CD8")]


def test_a_density_counts_the_events_of_the_parent_and_of_the_population(gating: Gating) -> None:
    for density in gate_densities(gating):
        parent = int(np.count_nonzero(gating.parent_membership(density.population)))
        assert density.events == parent
        assert density.members == gating.populations[density.population].count
        # One event in a thousand lies beyond the edges of one marker.
        assert 0.995 * parent <= density.counts.sum() <= parent
        assert np.all(density.kept <= density.counts)


def test_what_a_cut_keeps_on_the_picture_is_what_the_population_holds(gating: Gating) -> None:
    density = next(density for density in gate_densities(gating) if density.population == "T")
    (cut,) = density.cuts
    centres = (density.edges[0][:-1] + density.edges[0][1:]) / 2
    width = density.edges[0][1] - density.edges[0][0]
    beyond = centres > cut.value + width
    before = centres < cut.value - width
    np.testing.assert_array_equal(density.kept[beyond], density.counts[beyond])
    assert not density.kept[before].any()


def test_a_cut_in_linear_units_parts_the_same_events(gating: Gating) -> None:
    density = next(density for density in gate_densities(gating) if density.population == "T")
    (cut,) = density.cuts
    assert cut.linear is not None
    kept = gating.linear["CD3"][gating.parent_membership("T")] > cut.linear
    assert int(np.count_nonzero(kept)) == pytest.approx(density.members, abs=1)


def test_ticks_of_a_bent_scale_stand_where_events_of_that_light_lie(gating: Gating) -> None:
    density = next(density for density in gate_densities(gating) if density.population == "T")
    tick = next(tick for tick in density.ticks[0] if tick.label == "10⁴")
    near = np.abs(gating.linear["CD3"] - 10_000) < 300
    assert near.any()
    assert float(np.median(gating.scaled["CD3"][near])) == pytest.approx(tick.at, abs=0.01)


def test_a_tube_without_events_gives_densities_without_counts(make_tube: Callable[..., Acquisition], panel: Panel) -> None:
    assert all(not density.counts.any() for density in gate_densities(gate_acquisition(make_tube(count=0), panel)))


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing(
    analysis: AcquisitionAnalysis, gating: Gating, read_page: Callable[[str], Page]
) -> None:
    text = acquisition_page(analysis, gate_densities(gating), title="Acquisition tube")
    # The letters of a picture may spell anything.
    without_pictures = re.sub(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+", "", text)
    assert "http" not in without_pictures
    assert "<script" not in text
    assert "url(" not in text
    page = read_page(text)
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert (page.unbalanced, page.left_open) == ([], [])


def test_the_same_acquisition_gives_the_same_bytes(analysis: AcquisitionAnalysis, gating: Gating) -> None:
    first, second = acquisition_evidence(analysis, gating), acquisition_evidence(analysis, gating)
    assert first == second
    assert list(first) == ["quality.html"]


def test_every_finding_and_every_number_of_the_populations_is_shown(
    analysis: AcquisitionAnalysis, gating: Gating, read_page: Callable[[str], Page]
) -> None:
    page = read_page(acquisition_page(analysis, gate_densities(gating), title="A"))
    expected = [cut.value for population in gating.populations.values() for cut in population.cuts]
    for record in analysis.populations:
        expected += [value for value in (record.frequency_percent, record.lower, record.upper) if value is not None]
        expected += record.median_intensity.values()
        assert record.name in page.text
        for finding in record.findings:
            assert finding.message in page.text
            assert finding.remedy in page.text
    (result,) = analysis.run.results
    assert result.quantity is not None
    expected.append(result.quantity.value)
    assert {repr(value) for value in expected} <= set(page.values)
    for finding in analysis.run.findings:
        assert finding.message in page.text


def test_populations_stand_below_their_parents(analysis: AcquisitionAnalysis) -> None:
    names = [record.name for record in depth_first(analysis.populations)]
    assert names == ["singlets", "T", "CD4", "not CD4", "others"]


def test_names_from_files_stay_text(analysis: AcquisitionAnalysis, gating: Gating, read_page: Callable[[str], Page]) -> None:
    plain = read_page(acquisition_page(analysis, gate_densities(gating), title="A"))
    densities = tuple(
        replace(density, population=HOSTILE, markers=tuple(HOSTILE for _ in density.markers))
        for density in gate_densities(gating)
    )
    records = tuple(
        replace(
            record,
            name=f"{record.name}{HOSTILE}",
            parent=record.parent if record.parent == "root" else f"{record.parent}{HOSTILE}",
        )
        for record in analysis.populations
    )
    hostile = replace(analysis, panel=HOSTILE, populations=records, run=replace(analysis.run, name=HOSTILE))
    text = acquisition_page(hostile, densities, title=HOSTILE)
    page = read_page(text)
    assert "<script" not in text
    assert "\x07" not in text
    assert set(page.tags) <= set(plain.tags)
    assert (page.unbalanced, page.left_open) == ([], [])
    assert HOSTILE.replace("\x07", "\ufffd") in page.text


def test_a_page_without_events_at_hand_shows_the_numbers_alone(
    analysis: AcquisitionAnalysis, read_page: Callable[[str], Page]
) -> None:
    page = read_page(acquisition_page(analysis, title="A"))
    assert "image" not in page.tags
    assert "Populations" in page.text


def test_the_tree_holds_every_population_with_its_share_and_says_which_are_not_reportable(
    analysis: AcquisitionAnalysis,
) -> None:
    drawn = str(population_tree(analysis.populations, analysis.events))
    for record in analysis.populations:
        assert f">{record.name}</text>" in drawn
        assert f"{record.frequency_percent:.3g} % · {record.count}" in drawn
    first = analysis.populations[0]
    assert drawn.count('class="node-off"') == sum(not record.reportable for record in analysis.populations)
    refused = population_tree((replace(first, reportable=False), *analysis.populations[1:]), analysis.events)
    assert 'class="node-off"' in str(refused)


def test_what_was_left_out_over_time_is_shaded_and_counted(
    make_tube: Callable[..., Acquisition], analysis: AcquisitionAnalysis
) -> None:
    tube = make_tube()
    events = np.tile(tube.events, (4, 1))
    events[1500:2100, 0] *= 4
    clocked = np.column_stack([events, np.arange(len(events))]).astype(np.float32)
    channels = (*tube.channels, Channel(detector="Time", marker="", top=262_144.0))
    judged = judge_time(replace(tube, events=clocked, channels=channels), QualityLimits())
    assert judged.removed > 0
    page = acquisition_page(analysis, title="tube", over_time=judged)
    assert "<h2>Over time</h2>" in page
    assert 'class="left-out-signal"' in page
    assert f"{judged.removed} events" in page
    assert "Over time" not in acquisition_page(analysis, title="tube")


def test_an_ellipse_is_drawn_where_it_lies(gating: Gating) -> None:
    population = gating.populations["CD4"]
    ellipse = Ellipse(
        markers=("CD4", "CD8"),
        centre=np.array([0.7, 0.2]),
        covariance=np.array([[0.004, 0.001], [0.001, 0.002]]),
        distance_square=9.0,
        quality=0.8,
        beyond_percent=1.0,
        origin="around seed",
    )
    inside = ellipse.keeps(gating.scaled["CD4"], gating.scaled["CD8"]) & gating.parent_membership("CD4")
    drawn = replace(
        gating, populations={**gating.populations, "CD4": replace(population, cuts=(), ellipses=(ellipse,), membership=inside)}
    )
    density = next(density for density in gate_densities(drawn) if density.population == "CD4")
    assert density.markers == ("CD4", "CD8")
    assert density.members == int(inside.sum())
    assert density.outline is not None
    np.testing.assert_allclose(
        [ellipse.keeps(*np.float32(0.99 * (density.outline.points - ellipse.centre) + ellipse.centre).T).mean()], [1.0]
    )
    assert not ellipse.keeps(*np.float32(1.01 * (density.outline.points - ellipse.centre) + ellipse.centre).T).any()
