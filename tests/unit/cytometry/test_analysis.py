"""From gates to the study's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_acquisition, parameters
from biomarkers.cytometry.panel import Panel
from biomarkers.errors import StudyDefinitionError
from biomarkers.provenance import Provenance, canonical_json
from biomarkers.study.cellular import PanelMeasurand

MakeTube: TypeAlias = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]


PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2024, 1, 1, tzinfo=UTC))
MEASURANDS = (
    PanelMeasurand(code="T_PCT_LYMPH", population="T", denominator="lymphocytes"),
    PanelMeasurand(code="CD4_PCT_T", population="CD4", denominator="T"),
    PanelMeasurand(code="CD4_PCT_LYMPH", population="CD4", denominator="lymphocytes"),
    PanelMeasurand(code="NK_PCT_LYMPH", population="NK", denominator="lymphocytes"),
    PanelMeasurand(code="CD4_CD8_RATIO", population="CD4", denominator="CD8", kind="ratio", scale="log"),
)


def _analyse(acquisition: Acquisition, panel: Panel, measurands: Sequence[PanelMeasurand] = MEASURANDS) -> AcquisitionAnalysis:
    return analyse_acquisition(
        acquisition, panel, measurands=measurands, accession_id="ATR-000001", run_id="cytometry-1", provenance=PROVENANCE
    )


def test_frequencies_and_the_ratio_come_out_as_the_cells_were_put_in(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    results = {result.measurand: result for result in _analyse(acquisition, panel).run.results}
    # 3600 CD4, 1800 CD8, 700 B, 900 NK; a point of tolerance for doublets and scatter tails.
    assert results["T_PCT_LYMPH"].quantity.value == pytest.approx(100 * 5400 / 7000, abs=1.0)
    assert results["CD4_PCT_T"].quantity.value == pytest.approx(100 * 3600 / 5400, abs=1.0)
    assert results["CD4_PCT_LYMPH"].quantity.value == pytest.approx(100 * 3600 / 7000, abs=1.0)
    assert results["NK_PCT_LYMPH"].quantity.value == pytest.approx(100 * 900 / 7000, abs=1.0)
    assert results["CD4_CD8_RATIO"].quantity.value == pytest.approx(2.0, rel=0.03)
    for result in results.values():
        assert result.interval.lower < result.quantity.value < result.interval.upper
        assert result.n_replicates > 0
    assert results["CD4_CD8_RATIO"].quantity.unit == "ratio"
    assert results["CD4_PCT_LYMPH"].denominator == "lymphocytes"


def test_counts_agree_with_each_other_over_the_tree(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    records = {record.name: record for record in _analyse(acquisition, panel).populations}
    for record in records.values():
        assert record.parent_count == (records[record.parent].count if record.parent != "root" else acquisition.event_count)
        assert record.count <= record.parent_count


def test_lymphocytes_and_nk_say_that_their_purity_is_unverified_without_cd45_and_cd14(
    make_tube: MakeTube, panel: Panel
) -> None:
    acquisition, _ = make_tube()
    analysis = _analyse(acquisition, panel)
    with_finding = [r.name for r in analysis.populations if any(f.code == "PURITY_UNVERIFIED" for f in r.findings)]
    assert with_finding == ["lymphocytes", "NK"]
    nk = next(result for result in analysis.run.results if result.measurand == "NK_PCT_LYMPH")
    assert "PURITY_UNVERIFIED" in {finding.code for finding in nk.findings}


def test_without_a_spillover_matrix_no_number_is_given_and_it_is_said_why(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(spill=False)
    analysis = _analyse(acquisition, panel)
    assert all(result.quantity is None and result.interval is None for result in analysis.run.results)
    assert all("COMPENSATION_MISSING" in {f.code for f in result.findings} for result in analysis.run.results)
    assert not any(record.reportable for record in analysis.populations)


def test_a_population_that_was_not_stained_is_not_evaluable_rather_than_zero(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(markers=("Viability", "CD3", "CD4", "CD8", "CD19"))
    results = {result.measurand: result for result in _analyse(acquisition, panel).run.results}
    assert results["NK_PCT_LYMPH"].quantity is None
    assert results["CD4_PCT_T"].quantity is not None


def test_a_tube_with_too_few_events_gives_no_number(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    analysis = _analyse(replace(acquisition, events=acquisition.events[:60]), panel)
    assert all(result.quantity is None for result in analysis.run.results)
    assert "FEW_EVENTS" in {finding.code for finding in analysis.run.findings}


def test_trouble_in_a_parent_is_named_in_the_population_below_it(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:, 4] = np.random.default_rng(3).normal(500, 200, len(events))  # CD3
    records = {record.name: record for record in _analyse(replace(acquisition, events=events), panel).populations}
    assert "PARENT_REJECTED" in {finding.code for finding in records["CD4"].findings}
    assert not records["CD4"].reportable


def test_measurands_of_unknown_populations_are_refused_all_at_once(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    wrong = (
        PanelMeasurand(code="TH17_PCT_CD4", population="Th17", denominator="CD4"),
        PanelMeasurand(code="T_PCT_WBC", population="T", denominator="leucocytes"),
    )
    with pytest.raises(StudyDefinitionError) as caught:
        _analyse(acquisition, panel, wrong)
    assert [fault.what.split(";")[0] for fault in caught.value.faults] == [
        "The panel has no population 'Th17'",
        "The panel has no population 'leucocytes'",
    ]


def test_two_analyses_of_the_same_events_have_the_same_identity(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    assert _analyse(acquisition, panel).run.analysis_id == _analyse(acquisition, panel).run.analysis_id


def test_every_setting_goes_into_the_parameters_as_canonical_json(panel: Panel) -> None:
    text = canonical_json(parameters(panel))
    assert '"pool_with":"CD4"' in text
    assert '"no_valley_quality":0.1' in text
