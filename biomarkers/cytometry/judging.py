"""What speaks against a gated population's number.

Knows the findings about gates and their thresholds. Must not know how gates are found, nor which numbers a study reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY, Selection
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.gated import GatedPopulation
from biomarkers.cytometry.panel import ROOT, BooleanGate, Gate, GateTemplate, Panel, ingredients_of, markers_of_gate
from biomarkers.results import Finding, Severity

WEAK_VALLEY_QUALITY = 0.3
"""Quality below which a cut is reported with a warning; in the 13 healthy EuroFlow files such cuts were off by points."""

CLEAR_EDGE_QUALITY = 0.9
"""Quality from which a cut without a valley lies where hardly any cells are, so that its exact place matters little."""

LEAST_PERCENT_BEYOND = 10.0
"""Events beyond a scatter limit, in percent of those kept, from which the limit cuts through something. Around the lymphocytes
of twelve healthy EuroFlow samples there were 1 to 6 just beyond the gate, in the two lymphomas 13 and 22."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Writes findings about one acquisition's populations.

    Attributes
    ----------
    acquisition
        Its name, as messages give it.
    populations
        Those gated so far.
    stained
        Markers of the file that gates use.
    """

    acquisition: str
    panel: Panel
    populations: Mapping[str, GatedPopulation]
    stained: frozenset[str] = frozenset()

    def finding(self, code: str, severity: Severity, template: GateTemplate, message: str, remedy: str) -> Finding:
        """Write a finding about a population."""
        where = f"Acquisition '{self.acquisition}', population '{template.name}'."
        return Finding(code=code, severity=severity, where=where, message=message, remedy=remedy)

    def few_events(self, template: GateTemplate, parent_count: int) -> Finding:
        """Say that the parent holds too few events."""
        return self.finding(
            "FEW_EVENTS",
            Severity.REJECT,
            template,
            f"'{template.parent}' holds {parent_count} events; '{template.name}' needs {template.min_events}.",
            "Acquire more events of this tube.",
        )

    def missing_markers(self, template: GateTemplate, missing: Sequence[str]) -> Finding:
        """Say that the file lacks markers, and what became of the population."""
        listed = ", ".join(missing)
        if template.pass_through:
            message = f"The file has no channel for {listed}; all of '{template.parent}' is taken as '{template.name}'."
        else:
            message = f"The file has no channel for {listed}, without which this population cannot be told apart."
        return self.finding(
            "MARKER_MISSING",
            Severity.WARNING if template.pass_through else Severity.REJECT,
            template,
            message,
            "Stain with the panel's full set of markers.",
        )

    def no_cut(self, template: GateTemplate, gate: Gate) -> Finding:
        """Say that a gate could not be placed."""
        places = ", ".join(dict.fromkeys(markers_of_gate(gate)))
        return self.finding(
            "NO_VALLEY",
            Severity.REJECT,
            template,
            f"There are too few events, or all are alike, to place a cut on {places}.",
            "Check that the tube was stained and acquired; acquire more events.",
        )

    def unresolved(self, template: GateTemplate, selection: Selection) -> Iterator[Finding]:
        """Say which limits had to be drawn through cells."""
        for marker, percent in selection.unresolved.items():
            if percent > LEAST_PERCENT_BEYOND:
                yield self.finding(
                    "SCATTER_UNRESOLVED",
                    Severity.WARNING,
                    template,
                    f"{percent:.0f} % of events lie beyond the limit on {marker}, and no valley parts them.",
                    "Look at the scatter plot; correct the gate by hand if other cells reach into it.",
                )

    def population(self, template: GateTemplate, population: GatedPopulation, parent_count: int) -> Iterator[Finding]:
        """Say what speaks against a population's number."""
        yield from self._combination(template)
        yield from self._cuts(template, population)
        for ellipse in population.ellipses:
            yield from self._ellipse(template, ellipse)
        if template.purity_markers and not self.stained & set(template.purity_markers):
            yield self.finding(
                "PURITY_UNVERIFIED",
                Severity.NOTE,
                template,
                f"The tube was stained with neither {' nor '.join(template.purity_markers)}; cells of like scatter may be in.",
                "Read the number as an upper estimate; add one of these markers to prove purity.",
            )
        if template.expected_percent is not None and parent_count >= template.min_events:
            low, high = template.expected_percent
            percent = 100.0 * population.count / parent_count
            if not low <= percent <= high:
                yield self.finding(
                    "UNEXPECTED_FREQUENCY",
                    Severity.WARNING,
                    template,
                    f"{percent:.1f} % of '{template.parent}' is outside the expected {low:g} to {high:g} %.",
                    "Look at the plot before the number is used.",
                )

    def _cuts(self, template: GateTemplate, population: GatedPopulation) -> Iterator[Finding]:
        for cut in population.cuts:
            if cut.quality is not None and cut.quality < WEAK_VALLEY_QUALITY:
                rejected = cut.quality < NO_VALLEY_QUALITY
                yield self.finding(
                    "NO_VALLEY" if rejected else "WEAK_VALLEY",
                    Severity.REJECT if rejected else Severity.WARNING,
                    template,
                    f"Negative and positive are not told apart on {cut.marker}: quality {cut.quality:.2f} ({cut.origin}).",
                    "Look at the plot: check staining, compensation and voltage of this channel.",
                )
            elif cut.lacks_valley:
                by_control = cut.origin == "quantile of control"
                clear = by_control or (cut.quality is not None and cut.quality >= CLEAR_EDGE_QUALITY)
                told = f"one {cut.origin}" if cut.origin.startswith("joint") else f"the {cut.origin}"
                yield self.finding(
                    "NO_VALLEY",
                    Severity.NOTE if clear else Severity.WARNING,
                    template,
                    f"No valley parts negative from positive on {cut.marker}; the cut is {told}.",
                    "None needed: a control without this antibody placed it."
                    if by_control
                    else "Look at the plot before the number is used; a control without this antibody would place the cut.",
                )

    def _ellipse(self, template: GateTemplate, ellipse: Ellipse) -> Iterator[Finding]:
        both = " and ".join(ellipse.markers)
        if ellipse.quality is not None and ellipse.quality < NO_VALLEY_QUALITY:
            yield self.finding(
                "NO_VALLEY",
                Severity.REJECT,
                template,
                f"The cells the gate on {both} is drawn around are not told apart: quality {ellipse.quality:.2f}.",
                "Look at the plot: check staining, compensation and voltage of the seed's channels.",
            )
        elif ellipse.beyond_percent > LEAST_PERCENT_BEYOND:
            yield self.finding(
                "SCATTER_UNRESOLVED",
                Severity.WARNING,
                template,
                f"Just outside the gate on {both} lie {ellipse.beyond_percent:.0f} % as many events as inside: it may cut "
                "through cells that belong together.",
                "Look at the scatter plot; correct the gate by hand if other cells reach into it, or if it cuts some off.",
            )

    def _combination(self, template: GateTemplate) -> Iterator[Finding]:
        """Hand on what was found about the populations it is combined of, and about those above them."""
        sets = [gate.any_of for gate in template.gates if isinstance(gate, BooleanGate)]
        # One of several alternatives in doubt leaves the others; what must hold, or must not, decides.
        alternatives = {name for names in sets for name in names if not all(self._is_rejected(one) for one in names)}
        own = {template.parent, *self._above(template.parent)}
        told: set[str] = set()
        for name in ingredients_of(template):
            for source in (name, *self._above(name)):
                if source in own or source in told:
                    continue
                told.add(source)
                for found in self.populations[source].findings:
                    if found.severity is Severity.NOTE:
                        continue
                    severity = Severity.WARNING if name in alternatives else found.severity
                    where = f"Acquisition '{self.acquisition}', population '{template.name}' through '{source}'."
                    yield replace(found, severity=severity, where=where)

    def _is_rejected(self, name: str) -> bool:
        return any(found.severity is Severity.REJECT for found in self.populations[name].findings)

    def _above(self, name: str) -> tuple[str, ...]:
        return () if name == ROOT else self.panel.ancestors(name)
