"""A subject's visits gated together; the truth comes from the simulation of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from drawn_visits import BLOOD, DRIFT, share_percent, varied

from biomarkers.cytometry.acquisition import Acquisition, Channel, Spillover
from biomarkers.cytometry.found_cuts import distance_findings, found_cuts, group_distances, lend
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.joint_gating import frequency_change, gate_jointly, joint_cuts
from biomarkers.cytometry.panel import Panel
from biomarkers.readers.panels import packaged_panel
from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube
from biomarkers.simulation.courses import BloodCells

CHANNELS = tuple(Channel(detector=one.name, marker=one.marker, top=262_144.0) for one in DETECTORS)


def acquire(
    name: str, blood: BloodCells, seed: int, events: int = 5000, drift: Mapping[str, float] | None = None
) -> Acquisition:
    day = cytometer_day(np.random.default_rng(1))
    tube = draw_tube(blood, events, day, np.random.default_rng(seed), drift or {})
    return Acquisition(
        name=name,
        version="3.1",
        events=tube.events,
        channels=CHANNELS,
        spillover=Spillover(keyword="$SPILLOVER", detectors=COLOURS, matrix=tube.spillover),
        keywords={},
        acquired_at="",
        findings=(),
    )


@pytest.fixture(scope="module")
def trial() -> Panel:
    return packaged_panel("pbmc-lineage")


@pytest.fixture(scope="module")
def visits() -> dict[str, Acquisition]:
    return {
        name: acquire(name, varied(BLOOD, number), seed=40 + number, drift=DRIFT if number == 2 else None)
        for number, name in enumerate(("BASELINE", "C2D1", "C6D1"))
    }


def test_the_joint_cut_of_a_gate_is_the_same_at_every_visit_and_the_single_one_stays_beside_it(
    trial: Panel, visits: dict[str, Acquisition]
) -> None:
    gated = gate_jointly(visits, trial)
    cut = next(cut for cut in gated.cuts if (cut.population, cut.marker) == ("T", "CD3"))
    assert cut.members == ("BASELINE", "C2D1", "C6D1")
    for name in visits:
        (joint,) = gated.joint[name].populations["T"].cuts
        assert joint.origin == "joint with other visits"
        # On each visit's own display scale the cut lies where the same compensated light lies.
        on_scale = gated.joint[name].transforms["CD3"].exact(np.array([cut.value]))[0]
        assert joint.value == pytest.approx(on_scale)
        assert gated.single[name].populations["T"].cuts[0].origin == "own"


def test_the_order_of_arrival_never_matters(trial: Panel, visits: dict[str, Acquisition]) -> None:
    single = {name: gate_acquisition(visits[name], trial) for name in visits}
    assert joint_cuts(single) == joint_cuts({name: single[name] for name in reversed(list(single))})


def test_a_cut_frozen_at_review_is_not_moved_by_a_later_visit(trial: Panel, visits: dict[str, Acquisition]) -> None:
    single = {name: gate_acquisition(visits[name], trial) for name in visits}
    reviewed = joint_cuts({name: single[name] for name in ("BASELINE", "C2D1")})
    later = joint_cuts(single, frozen=reviewed)
    by_place = {(cut.population, cut.marker): cut for cut in later}
    for cut in reviewed:
        kept = by_place[cut.population, cut.marker]
        assert kept.frozen
        assert kept.value == cut.value
        assert set(kept.members) >= set(cut.members)


def test_a_visit_whose_staining_moved_far_keeps_its_own_cut_and_says_so(trial: Panel) -> None:
    # Thrice the light in one colour moves negatives and positives alike, and their valley with them.
    visits = {f"V{number}": acquire(f"v{number}", BLOOD, seed=60 + number) for number in range(3)}
    events = visits["V1"].events.copy()
    column = visits["V1"].detector_index("BV785-A")
    spillover = visits["V1"].spillover
    place = spillover.detectors.index("BV785-A")
    events[:, column] *= 3.0
    matrix = spillover.matrix.copy()
    matrix[:, place] *= 3.0
    matrix[place] /= 3.0
    visits["V1"] = replace(visits["V1"], events=events, spillover=replace(spillover, matrix=matrix))
    gated = gate_jointly(visits, trial)
    cut = next(cut for cut in gated.cuts if (cut.population, cut.marker) == ("T", "CD3"))
    assert cut.shifted == ("V1",)
    assert cut.members == ("V0", "V2")
    assert "CUT_SHIFTED" in {finding.code for finding in gated.findings["V1"]}
    assert gated.joint["V1"].populations["T"].cuts[0].origin == "own"


def test_a_change_between_visits_is_given_with_its_interval(trial: Panel, visits: dict[str, Acquisition]) -> None:
    gated = gate_jointly(visits, trial)
    change = frequency_change(gated, "BASELINE", "C6D1", population="CD4", denominator="T")
    assert change.interval.lower < change.joint < change.interval.upper
    with pytest.raises(ValueError, match="does not lie above"):
        frequency_change(gated, "BASELINE", "C6D1", population="CD4", denominator="B")


def test_a_cut_far_from_its_group_is_flagged_and_the_group_can_lend_its_own(trial: Panel) -> None:
    group = [gate_acquisition(acquire(f"g{seed}", BLOOD, seed=seed, events=3000), trial) for seed in range(100, 106)]
    cuts = [cut for gated in group for cut in found_cuts(gated)]
    distances = group_distances(group[0], cuts)
    assert {distance.group_size for distance in distances} == {5}
    assert distance_findings("g100", distances) == ()
    moved = [replace(cut, value=cut.value * 4) if cut.place == ("T", "CD3") else cut for cut in cuts]
    far = distance_findings("g100", group_distances(group[0], moved))
    assert [finding.code for finding in far] == ["CUT_FAR_FROM_GROUP"]
    assert "below the median of 5 other acquisitions" in far[0].message
    offered = {(cut.population, cut.marker): cut for cut in lend(cuts, "g100")}
    others = sorted(cut.value for cut in cuts if cut.place == ("T", "CD3") and cut.acquisition != "g100")
    assert offered["T", "CD3"].value == others[2]


def test_a_population_without_a_valley_borrows_from_the_subjects_other_visits(trial: Panel) -> None:
    flat = acquire("flat", BLOOD, seed=71, events=4000, drift={"CD4": 0.0})
    sound = acquire("sound", BLOOD, seed=72, events=4000)
    lent = [
        replace(cut, kind="visits")
        for cut in lend(
            [replace(one, acquisition=f"o{n}") for n in range(5) for one in found_cuts(gate_acquisition(sound, trial))], "flat"
        )
    ]
    alone = gate_acquisition(flat, trial).populations["CD4"]
    helped = gate_acquisition(flat, trial, outside=lent).populations["CD4"]
    assert any(finding.code == "NO_VALLEY" for finding in alone.findings)
    assert helped.cuts[0].origin == "borrowed from visits"
    # Nobody is stained, so nobody is positive: the noise of an own cut would have made a third of the cells CD4+.
    assert helped.count < 0.02 * alone.count


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_changes_between_visits_are_recovered_within_their_intervals_in_spite_of_a_drift_of_staining(trial: Panel) -> None:
    watched = {"CD4": "T", "CD8": "T", "B": "lymphocytes", "NK": "lymphocytes", "Treg": "CD4", "CD4_naive": "CD4"}
    watched |= {"CD8_naive": "CD8", "CD4_PD1": "CD4", "CD8_PD1": "CD8", "CD8_central_memory": "CD8"}
    within = []
    for subject in range(10):
        person = varied(BLOOD, 1000 + subject)
        bloods = [varied(person, 10 * subject + visit) for visit in range(4)]
        acquired = {
            f"V{visit}": acquire(f"s{subject}v{visit}", blood, 7000 + 10 * subject + visit, 8000, DRIFT if visit == 2 else None)
            for visit, blood in enumerate(bloods)
        }
        gated = gate_jointly(acquired, trial)
        for population, denominator in watched.items():
            before, *after = (share_percent(blood, population, denominator) for blood in bloods)
            for visit, true in enumerate(after, start=1):
                change = frequency_change(gated, "V0", f"V{visit}", population=population, denominator=denominator)
                within.append(change.interval.lower <= true - before <= change.interval.upper)
    # 300 changes of which 95 in 100 should be recovered; those of one visit share its cells, so that chance takes 3 in 100.
    assert np.mean(within) >= 0.92
