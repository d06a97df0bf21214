"""What a declared staining and fixation protocol lets one read from fixed cells.

Knows which markers do not survive which protocol, each rule with its source. Must not know events or results. A population that
rests on a marker the protocol cannot show is not evaluable, and neither is any population found through it; where only the
viability gate falls away, the others stay, with a warning that dead cells are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.panel import BooleanGate, GateTemplate, Panel, markers_of
from biomarkers.results import Finding, Severity
from biomarkers.study.cellular import Fixation

MOST_HOURS = 48.0
"""Hours in fixative from which forward and side scatter have fallen so far that gains had to be set anew (Stewart JC,
Villasmil ML, Frampton MW. Cytometry A 2007;71A:379-385); fluorescence had lost 5 to 39 % after 96 hours, by cell and marker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixationRule:
    """Why a marker cannot be read under a protocol.

    Attributes
    ----------
    names
        How panels call the marker, lower case, letters and digits only.
    source
        Where the rule comes from; "laboratory knowledge" where no publication was read for it.
    """

    names: tuple[str, ...]
    why: str
    remedy: str
    source: str


VIABILITY = ("viability", "livedead", "vivid", "lived", "ld", "aqua", "zombie", "7aad", "pi", "dapi")

_DYE_ON_FIXED = FixationRule(
    names=VIABILITY,
    why="the dye met fixed cells, whose membranes let it into all of them",
    remedy="Stain with a fixable dye before fixing.",
    source="laboratory knowledge: amine-reactive dyes tell dead cells by their open membrane, which fixation opens in all",
)
_DYE_OF_DNA = FixationRule(
    names=VIABILITY,
    why="the dye binds DNA reversibly and enters every cell once fixed",
    remedy="Use an amine-reactive, fixable dye before fixing.",
    source="laboratory knowledge: 7-AAD, propidium iodide and DAPI must be acquired on unfixed cells",
)
_NO_DYE = FixationRule(
    names=VIABILITY,
    why="no viability dye is declared",
    remedy="Stain with a fixable dye before fixing.",
    source="the study's own declaration",
)
_CCR7 = FixationRule(
    names=("ccr7", "cd197"),
    why="its epitope is lost or masked when cells are fixed before staining",
    remedy="Stain CCR7 on living cells, then fix.",
    source="laboratory knowledge: chemokine receptors are stained on living cells; aldehydes mask their epitopes",
)
_CD127 = FixationRule(
    names=("cd127", "il7ra"),
    why="its epitope is weakened when cells are fixed before staining, so that low and high cannot be parted",
    remedy="Stain CD127 on living cells, then fix.",
    source="laboratory knowledge: Treg protocols stain CD25 and CD127 on living cells before the FoxP3 buffers",
)
_FOXP3 = FixationRule(
    names=("foxp3",),
    why="it lies in the nucleus, and no permeabilisation is declared",
    remedy="Fix and permeabilise with a transcription-factor buffer set, then stain FoxP3.",
    source="laboratory knowledge: antibodies do not enter cells fixed with aldehyde alone",
)


def broken_rules(fixation: Fixation | None) -> tuple[FixationRule, ...]:
    """Name the rules a protocol breaks. Without a declaration cells are taken as living and whole, so that only FoxP3 falls."""
    if fixation is None:
        return (_FOXP3,)
    rules: list[FixationRule] = []
    if fixation.viability_dye == "none":
        rules.append(_NO_DYE)
    elif fixation.viability_dye == "dna":
        rules.append(_DYE_OF_DNA)
    elif fixation.order == "fix_then_stain":
        rules.append(_DYE_ON_FIXED)
    if fixation.order == "fix_then_stain":
        rules += [_CCR7, _CD127]
    if not fixation.permeabilised:
        rules.append(_FOXP3)
    return tuple(rules)


def unreadable_markers(panel: Panel, fixation: Fixation | None) -> Mapping[str, FixationRule]:
    """Find the panel's markers that the protocol cannot show, by the panel's name for them."""
    rules = broken_rules(fixation)
    return {
        marker.name: rule
        for marker in panel.markers
        for rule in rules
        if {_plain(name) for name in (marker.name, *marker.aliases)} & set(rule.names)
    }


def fixation_findings(panel: Panel, fixation: Fixation | None) -> Mapping[str, tuple[Finding, ...]]:
    """Say of each population what the protocol takes from it.

    Returns
    -------
    Mapping
        Findings by population, only where there are some. One of severity ``REJECT`` means that it is not evaluable.
    """
    unreadable = unreadable_markers(panel, fixation)
    findings: dict[str, tuple[Finding, ...]] = {}
    rejected: set[str] = set()
    undyed: set[str] = set()
    for population in panel.populations:
        own = [name for name in dict.fromkeys(markers_of(population)) if name in unreadable]
        above = [name for name in _rests_on(population) if name in rejected]
        if own and not population.pass_through:
            rejected.add(population.name)
            findings[population.name] = tuple(_not_evaluable(population, name, unreadable[name]) for name in own)
        elif above:
            rejected.add(population.name)
            findings[population.name] = (_rests_on_unreadable(population, above),)
        elif own:
            undyed.add(population.name)
            findings[population.name] = tuple(_not_evaluable(population, name, unreadable[name]) for name in own)
        elif any(name in undyed for name in (*_rests_on(population), *panel.ancestors(population.name))):
            findings[population.name] = (_dead_cells(population),)
    late = _late(fixation)
    if late is not None:
        for population in panel.populations:
            findings[population.name] = (*findings.get(population.name, ()), late)
    return findings


def purity_findings(panel: Panel, found: Sequence[str]) -> Mapping[str, tuple[Finding, ...]]:
    """Say which populations cannot be proven pure by the markers a file has, by population.

    Parameters
    ----------
    found
        Markers that :func:`biomarkers.cytometry.markers.match_markers` found in the file.
    """
    present = {_plain(name) for name in found}
    return {
        population.name: (
            Finding(
                code="PURITY_UNVERIFIED",
                severity=Severity.NOTE,
                where=f"Panel '{panel.name}', population '{population.name}'.",
                message=f"The tube stains neither {' nor '.join(population.purity_markers)}: cells of like scatter may be in.",
                remedy="Read the number as an upper estimate; add one of these markers to prove purity.",
            ),
        )
        for population in panel.populations
        if population.purity_markers and not present & {_plain(name) for name in population.purity_markers}
    }


def _rests_on(population: GateTemplate) -> Iterator[str]:
    """Name the populations this one is made of: its parent, and those it combines."""
    yield population.parent
    for gate in population.gates:
        if isinstance(gate, BooleanGate):
            yield from (*gate.all_of, *gate.any_of, *gate.none_of)


def _not_evaluable(population: GateTemplate, marker: str, rule: FixationRule) -> Finding:
    return Finding(
        code="FIXATION_UNSUPPORTED",
        severity=Severity.REJECT,
        where=f"Population '{population.name}', marker '{marker}'.",
        message=f"By the declared protocol {marker} cannot be read: {rule.why} (source: {rule.source}).",
        remedy=rule.remedy,
    )


def _rests_on_unreadable(population: GateTemplate, above: Sequence[str]) -> Finding:
    return Finding(
        code="FIXATION_UNSUPPORTED",
        severity=Severity.REJECT,
        where=f"Population '{population.name}'.",
        message=f"It is found through {', '.join(repr(name) for name in dict.fromkeys(above))}, which the declared protocol "
        "cannot show.",
        remedy="See the findings there.",
    )


def _dead_cells(population: GateTemplate) -> Finding:
    return Finding(
        code="VIABILITY_NOT_EVALUABLE",
        severity=Severity.WARNING,
        where=f"Population '{population.name}'.",
        message="Dead cells could not be left out, because the declared protocol does not support the viability dye.",
        remedy="Read dim and rare populations with care: dead cells bind antibodies without meaning.",
    )


def _late(fixation: Fixation | None) -> Finding | None:
    if fixation is None or fixation.hours_to_acquisition <= MOST_HOURS:
        return None
    return Finding(
        code="FIXED_TOO_LONG",
        severity=Severity.WARNING,
        where="Study definition, fixation.",
        message=f"Cells may lie {fixation.hours_to_acquisition:g} hours in fixative; scatter falls by {MOST_HOURS:g} hours and "
        "fluorescence after it (Stewart, Cytometry A 2007;71A:379).",
        remedy="Acquire sooner; compare intensities within one staining batch only.",
    )


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
