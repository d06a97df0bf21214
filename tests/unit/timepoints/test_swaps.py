"""Swaps in a small study whose subjects hardly change between visits. Rates over simulated studies are in the slow tests."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.timepoints.swaps import PlannedValue, find_swaps, swap_findings

VISITS = ("BASELINE", "C2D1", "C6D1")


def study(subjects: int = 20, *, measurands: int = 6, within: float = 0.1) -> list[PlannedValue]:
    rng = np.random.default_rng(3)
    rows = []
    for subject in range(subjects):
        heights = rng.standard_normal(measurands)
        for number, visit in enumerate(VISITS, start=1):
            for at, height in enumerate(heights):
                rows.append(cell(subject, visit, number, f"M{at}", float(np.exp(height + within * rng.standard_normal()))))
    return rows


def cell(subject: int, visit: str, number: int, measurand: str, value: float) -> PlannedValue:
    return PlannedValue("elisa", measurand, f"S{subject:04d}", visit, f"ATR-{subject:04d}{number:02d}", value, "")


def swapped(rows: list[PlannedValue], one: str, other: str) -> list[PlannedValue]:
    """Exchange what two accessions hold."""
    values = {(row.accession_id, row.measurand): row.value for row in rows}
    partner = {one: other, other: one}
    return [row._replace(value=values[partner.get(row.accession_id, row.accession_id), row.measurand]) for row in rows]


def test_two_swapped_tubes_are_named_with_the_subjects_they_fit() -> None:
    (found,) = find_swaps(swapped(study(), "ATR-000302", "ATR-001102"))
    assert found.accession_ids == ("ATR-000302", "ATR-001102")
    assert (found.subject_ids, found.visits, found.assays) == (("S0003", "S0011"), ("C2D1", "C2D1"), ("elisa",))
    findings = swap_findings([found])
    assert set(findings) == {"ATR-000302", "ATR-001102"}
    assert findings["ATR-000302"].where == "Specimen 'ATR-000302' of subject 'S0003' at C2D1."
    assert "it fits subject 'S0011' at C2D1 better" in findings["ATR-000302"].message


def test_where_nothing_was_swapped_nothing_is_suspected() -> None:
    assert find_swaps(study()) == ()


def test_monotone_changes_of_unit_or_level_by_visit_play_no_part() -> None:
    rows = swapped(study(), "ATR-000302", "ATR-001102")
    other = [row._replace(value=row.value**3 * (10.0 if row.visit == "C2D1" else 1.0)) for row in rows]
    assert [one.accession_ids for one in find_swaps(other)] == [("ATR-000302", "ATR-001102")]


def test_bounds_tie_at_their_end_and_do_not_hide_a_swap() -> None:
    rows = swapped(study(), "ATR-000302", "ATR-001102")
    limited = [row._replace(value=max(row.value, 0.4), comparator="<" if row.value < 0.4 else "") for row in rows]
    assert [one.accession_ids for one in find_swaps(limited)] == [("ATR-000302", "ATR-001102")]


@pytest.mark.parametrize("subjects", [0, 1, 5])
def test_too_few_subjects_are_not_judged(subjects: int) -> None:
    assert find_swaps(study(subjects)) == ()


def test_subjects_with_one_visit_only_are_judged_by_what_is_known_of_the_others() -> None:
    rows = [row for row in study() if row.subject_id != "S0007" or row.visit == "C2D1"]
    assert find_swaps(rows) == ()
