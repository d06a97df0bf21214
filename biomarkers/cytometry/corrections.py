"""Gates a person corrected, beside those the template found: what moved, what that changes, and the numbers that follow.

Knows how two sets of gates for one acquisition are compared. Must not know files, the store or who may correct. Nothing of the
found gating is changed: a correction gives a gating of its own, whose corrected gates say so and carry no quality figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_gating
from biomarkers.cytometry.cuts import Cut, Mask
from biomarkers.cytometry.evaluation import evaluate
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gate_outlines import BorderMove, Outline, axes_of, have_same_shapes, moved_borders
from biomarkers.cytometry.gate_shapes import Ellipsoid
from biomarkers.cytometry.gated import GatedPopulation, Gating
from biomarkers.cytometry.judging import Judge
from biomarkers.cytometry.panel import ROOT, GateTemplate
from biomarkers.cytometry.strategy import Gate, Strategy
from biomarkers.errors import Fault, GatingError
from biomarkers.provenance import JsonValue, Provenance
from biomarkers.results import Finding, Severity
from biomarkers.study.cellular import PanelMeasurand

BY_PERSON = "by a person"
"""Origin of corrected cuts."""

ChangeKind: TypeAlias = Literal["unchanged", "follows", "moved", "redrawn", "drawn", "removed", "not_gated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationChange:
    """What a correction does to one population.

    Attributes
    ----------
    kind
        ``"unchanged"``; ``"follows"``: its own gate is the same, but a gate above was corrected; ``"moved"``: borders of its
        rectangles; ``"redrawn"``: other shapes; ``"drawn"``: the template had found no gate; ``"removed"``: the corrected file
        has no gate for it; ``"not_gated"``: neither has one.
    gained, lost
        Events only the corrected gate keeps, and only the found one.
    percent_before, percent_after
        Frequency of the template's parent; None where that is empty.
    """

    population: str
    kind: ChangeKind
    moves: tuple[BorderMove, ...]
    count_before: int
    count_after: int
    percent_before: float | None
    percent_after: float | None
    gained: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateComparison:
    """Corrected gates beside found ones.

    Attributes
    ----------
    changes
        One for each population of the panel, in its order.
    unknown
        Populations of the corrected file that the panel does not know; they are not used.
    """

    acquisition: str
    changes: tuple[PopulationChange, ...]
    unknown: tuple[str, ...]
    members: Mapping[str, Mask]
    gates: Mapping[str, tuple[Gate, ...]]
    strategy: Strategy

    @property
    def is_changed(self) -> bool:
        """Whether any population keeps other events, or is drawn otherwise."""
        return any(change.kind not in ("unchanged", "not_gated") for change in self.changes)


def compare_gates(gated: Gating, acquisition: Acquisition, corrected: Strategy) -> GateComparison:
    """Compare a person's gates with the ones found.

    Parameters
    ----------
    corrected
        From :func:`biomarkers.readers.gates.read_gates`, for this acquisition.

    Raises
    ------
    GatingError
        The corrected gates look at channels the file lacks, hang in another tree than the panel's, or bring another spillover
        matrix; all of it at once where it can be.
    """
    has_ellipsoids = any(isinstance(gate.shape, Ellipsoid) for gate in corrected.gates)
    found = found_gates(gated, acquisition, ellipses_as_polygons=not has_ellipsoids)
    names = {template.name for template in gated.panel.populations}
    before, after = _chains(found.strategy, gated, names), _chains(corrected, gated, names)
    _check_matrix(gated, corrected)
    kept = evaluate(corrected, acquisition)
    nothing = np.zeros(gated.event_count, dtype=np.bool_)
    members: dict[str, Mask] = {}
    for template in gated.panel.populations:
        chain = after.get(template.name)
        members[template.name] = nothing if chain is None else kept[chain[-1].gate_id] & gated.root_membership
    changes = tuple(
        _change(template, gated, members, _Pair(before=before, after=after, found=found.strategy, corrected=corrected))
        for template in gated.panel.populations
    )
    used = {gate.gate_id for chain in after.values() for gate in chain}
    return GateComparison(
        acquisition=gated.acquisition,
        changes=changes,
        unknown=tuple(gate.name for gate in corrected.gates if gate.gate_id not in used),
        members=members,
        gates=after,
        strategy=corrected,
    )


def corrected_gating(gated: Gating, comparison: GateComparison, *, by: str, reason: str) -> Gating:
    """Return the gating with a person's gates in place of those found.

    Parameters
    ----------
    by, reason
        As the correction's sidecar says; they go into the findings of every corrected population.
    """
    populations: dict[str, GatedPopulation] = {}
    stained = frozenset(gated.scaled)
    judge = Judge(acquisition=gated.acquisition, panel=gated.panel, populations=populations, stained=stained)
    changes = {change.population: change for change in comparison.changes}
    for template in gated.panel.populations:
        change, found = changes[template.name], gated.populations[template.name]
        if change.kind in ("unchanged", "not_gated"):
            populations[template.name] = found
            continue
        parent = populations[template.parent].count if template.parent != ROOT else int(np.count_nonzero(gated.root_membership))
        population = replace(found, membership=comparison.members[template.name], findings=())
        findings: list[Finding] = []
        if change.kind == "follows":
            findings.extend(finding for finding in found.findings if finding.code != "UNEXPECTED_FREQUENCY")
        else:
            cuts = _cuts(gated, comparison, template.name)
            population = replace(population, cuts=cuts, ellipses=(), combined_quality=None)
            findings.append(_by_person(judge, template, change, by=by, reason=reason))
            if parent < template.min_events:
                findings.append(judge.few_events(template, parent))
        if change.kind != "removed":
            findings.extend(judge.population(template, population, parent))
        populations[template.name] = replace(population, findings=tuple(dict.fromkeys(findings)))
    return replace(gated, populations=populations)


def analyse_correction(
    gated: Gating,
    acquisition: Acquisition,
    corrected: Strategy,
    *,
    by: str,
    reason: str,
    measurands: Sequence[PanelMeasurand],
    accession_id: str,
    run_id: str,
    provenance: Provenance,
) -> AcquisitionAnalysis:
    """Give the numbers with a person's gates, to be recorded as superseding those with the found ones.

    Parameters
    ----------
    run_id, provenance
        Of the superseding run: its sources are the FCS file, the file of gates and the sidecar.

    Raises
    ------
    GatingError
        As :func:`compare_gates`.
    """
    comparison = compare_gates(gated, acquisition, corrected)
    return analyse_gating(
        corrected_gating(gated, comparison, by=by, reason=reason),
        measurands=measurands,
        accession_id=accession_id,
        run_id=run_id,
        provenance=provenance,
        acquired_at=acquisition.acquired_at,
    )


def comparison_document(comparison: GateComparison) -> JsonValue:
    """Say a comparison as data: for programs, for the audit and for the parameters of the superseding run's provenance."""
    return {
        "acquisition": comparison.acquisition,
        "method": BY_PERSON,
        "populations": [
            {
                "name": change.population,
                "change": change.kind,
                "borders": [
                    {"channel": move.channel, "side": move.side, "before": move.before, "after": move.after}
                    for move in change.moves
                ],
                "count": [change.count_before, change.count_after],
                "frequency_percent": [change.percent_before, change.percent_after],
                "gained": change.gained,
                "lost": change.lost,
            }
            for change in comparison.changes
        ],
        "not_used": list(comparison.unknown),
    }


def _chains(strategy: Strategy, gated: Gating, names: set[str]) -> dict[str, tuple[Gate, ...]]:
    """Find each population's own gates, from below its parent down to itself.

    Raises
    ------
    GatingError
        A population occurs twice, or below another parent than the panel says.
    """
    by_id = {gate.gate_id: gate for gate in strategy.gates}
    found: dict[str, tuple[Gate, ...]] = {}
    faults: list[Fault] = []
    for template in gated.panel.populations:
        candidates = [gate for gate in strategy.gates if gate.name == template.name]
        placed: list[tuple[Gate, ...]] = []
        parents: list[str] = []
        for gate in candidates:
            chain, above = [gate], gate.parent
            while above is not None and by_id[above].name not in names:
                chain.append(by_id[above])
                above = by_id[above].parent
            parents.append(ROOT if above is None else by_id[above].name)
            if parents[-1] == template.parent:
                placed.append(tuple(reversed(chain)))
        if len(placed) == 1:
            found[template.name] = placed[0]
        elif candidates:
            listed = ", ".join(f"'{parent}'" for parent in parents)
            faults.append(
                Fault(
                    where=f"Acquisition '{gated.acquisition}', population '{template.name}'.",
                    what=f"The corrected gates have it below {listed}; the panel has it once, below '{template.parent}'.",
                    remedy="Move gates, but keep the tree of populations as it was exported.",
                )
            )
    if faults:
        raise GatingError.gathered(faults)
    return found


def _check_matrix(gated: Gating, corrected: Strategy) -> None:
    own = gated.spillover
    for name, matrix in corrected.matrices.items():
        if not any(axis.compensation == name for gate in corrected.gates for axis in axes_of(gate)):
            continue
        same = (
            own is not None
            and matrix.detectors == own.detectors
            and matrix.fluorochromes == own.detectors
            and not matrix.is_inverted
            and np.allclose(matrix.coefficients, own.matrix, rtol=0, atol=1e-6)
        )
        if not same:
            raise GatingError(
                what=f"The corrected gates bring another spillover matrix, '{name}'; only gates can be corrected here.",
                where=f"Acquisition '{gated.acquisition}'.",
                remedy="Save the gates with the file's own matrix, or declare the new matrix for the panel and gate again.",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """Own gates of every population, found and corrected."""

    before: Mapping[str, tuple[Gate, ...]]
    after: Mapping[str, tuple[Gate, ...]]
    found: Strategy
    corrected: Strategy


def _change(template: GateTemplate, gated: Gating, members: Mapping[str, Mask], pair: _Pair) -> PopulationChange:
    name = template.name
    was, now = gated.populations[name].membership, members[name]
    parent_now = members[template.parent] if template.parent != ROOT else gated.root_membership
    moves: tuple[BorderMove, ...] = ()
    kind: ChangeKind
    if name not in pair.after:
        kind = "removed" if name in pair.before else "not_gated"
    elif name not in pair.before:
        kind = "drawn"
    else:
        old, new = Outline.of(pair.before[name], pair.found), Outline.of(pair.after[name], pair.corrected)
        moves = moved_borders(old, new)
        if not have_same_shapes(old, new):
            kind = "redrawn"
        elif moves:
            kind = "moved"
        else:
            kind = "unchanged" if np.array_equal(was, now) else "follows"
    return PopulationChange(
        population=name,
        kind=kind,
        moves=moves,
        count_before=int(np.count_nonzero(was)),
        count_after=int(np.count_nonzero(now)),
        percent_before=_percent(was, gated.parent_membership(name)),
        percent_after=_percent(now, parent_now),
        gained=int(np.count_nonzero(now & ~was)),
        lost=int(np.count_nonzero(was & ~now)),
    )


def _percent(members: Mask, parent: Mask) -> float | None:
    of = int(np.count_nonzero(parent))
    return 100.0 * int(np.count_nonzero(members)) / of if of else None


def _cuts(gated: Gating, comparison: GateComparison, name: str) -> tuple[Cut, ...]:
    """Return the borders of corrected rectangles as cuts on the template's scales, where a marker has one."""
    if name not in comparison.gates:
        return ()
    outline = Outline.of(comparison.gates[name], comparison.strategy)
    markers = {detector: marker for marker, detector in gated.detectors.items() if marker in gated.transforms}
    cuts = []
    for (channel, side), value in outline.borders.items():
        if channel in markers:
            marker = markers[channel]
            at = float(gated.transforms[marker].exact(np.array([value]))[0])
            cuts.append(Cut(marker=marker, sign="+" if side == "lower" else "-", value=at, quality=None, origin=BY_PERSON))
    return tuple(cuts)


def _by_person(judge: Judge, template: GateTemplate, change: PopulationChange, *, by: str, reason: str) -> Finding:
    if change.kind == "removed":
        return judge.finding(
            "GATE_REMOVED",
            Severity.REJECT,
            template,
            f"{by} removed the gate: {reason}",
            "None needed if the population is not to be reported; otherwise draw its gate.",
        )
    return judge.finding(
        "GATE_BY_PERSON",
        Severity.NOTE,
        template,
        f"{by} corrected the gate: {reason} It kept {change.count_before} events before and keeps {change.count_after} now.",
        "None needed; the number with the found gate stays on record.",
    )
