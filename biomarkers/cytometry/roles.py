"""What part a tube plays, and what the tubes that are no specimens tell: cuts from FMOs, readings of the control PBMC.

Knows the study's patterns and sidecars. Must not know files or which accessions exist. Nothing is guessed: a name that fits no
pattern is a specimen's only if it is written as one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.cytometry.cut_records import ControlCut
from biomarkers.cytometry.cuts import seed_of_draws
from biomarkers.cytometry.density import redraw_quantile
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.panel import Panel, QuantileGate, ValleyGate
from biomarkers.errors import GatingError, IdentifierError
from biomarkers.results import Finding, Result, Severity
from biomarkers.study.cellular import TubeRole, TubeSidecar
from biomarkers.study.definition import IdentifierPatterns
from biomarkers.study.identifiers import specimen_from_fcs_name

FEWEST_FMO_EVENTS = 200
"""Events of an FMO's parent population below which its upper quantile is not worth a cut: two events lie above it."""

_PLACES = {
    "{marker}": r"(?P<marker>[A-Za-z0-9+-]+)",
    "{batch}": r"(?P<batch>[A-Za-z0-9-]+)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """Who an acquisition is.

    Attributes
    ----------
    accession_id
        Of a specimen, or of the specimen a control was made from; empty where the name does not say.
    marker
        The one left out (FMO) or the only one (single stain).
    """

    role: TubeRole
    accession_id: str = ""
    marker: str = ""
    batch: str = ""


def tube_of(name: str, patterns: IdentifierPatterns, sidecar: TubeSidecar | None = None) -> Tube:
    """Tell a tube's part from its file's name and its sidecar; where both speak they must agree.

    A name that fits neither a pattern of ``identifiers.fcs_roles`` nor the specimens' is a specimen's whose accession must come
    from the sidecar or from a keyword.

    Raises
    ------
    IdentifierError
        Several patterns of different roles fit, or the sidecar contradicts the name.
    """
    fitting = [tube for pattern in patterns.fcs_roles if (tube := _by_pattern(name, patterns, pattern.role, pattern.pattern))]
    specimen = specimen_from_fcs_name(patterns, name)
    if specimen is not None:
        fitting.append(Tube(role=TubeRole.SPECIMEN, accession_id=specimen.accession_id, batch=specimen.batch))
    if len({tube.role for tube in fitting}) > 1:
        raise IdentifierError(
            what=f"The file's name fits the patterns of {' and '.join(tube.role for tube in fitting)}.",
            where=f"File '{name}'.",
            remedy="Make the patterns in study.toml, identifiers, exclude each other, or rename the file.",
        )
    by_name = fitting[0] if fitting else None
    if sidecar is None:
        return by_name or Tube(role=TubeRole.SPECIMEN)
    return _agreed(name, by_name, sidecar)


def with_batch_by_keyword(tube: Tube, patterns: IdentifierPatterns, keywords: Mapping[str, str]) -> Tube:
    """Take the staining batch from the file's keyword, where the study names one and neither name nor sidecar has said it."""
    said = keywords.get(patterns.fcs_batch_keyword.upper(), "").strip() if patterns.fcs_batch_keyword else ""
    return replace(tube, batch=said) if said and not tube.batch else tube


def _by_pattern(name: str, patterns: IdentifierPatterns, role: TubeRole, pattern: str) -> Tube | None:
    places = {**_PLACES, "{accession_id}": f"(?P<accession_id>{patterns.accession_id})"}
    expression = "".join(places.get(part, re.escape(part)) for part in re.split(r"(\{[a-z_]+\})", pattern))
    found = re.fullmatch(expression, name, flags=re.IGNORECASE)
    if found is None:
        return None
    said = found.groupdict()
    return Tube(
        role=role,
        accession_id=said.get("accession_id") or "",
        marker=said.get("marker") or "",
        batch=said.get("batch") or "",
    )


def _agreed(name: str, by_name: Tube | None, sidecar: TubeSidecar) -> Tube:
    said = by_name or Tube(role=sidecar.role or TubeRole.SPECIMEN)
    pairs = {
        "role": (sidecar.role or "", by_name.role if by_name else ""),
        "accession_id": (sidecar.accession_id, said.accession_id),
        "marker": (sidecar.marker, said.marker),
        "batch": (sidecar.batch, said.batch),
    }
    for word, (beside, named) in pairs.items():
        if beside and named and beside.casefold() != named.casefold():
            raise IdentifierError(
                what=f"The sidecar says {word} '{beside}', the file's name says '{named}'.",
                where=f"File '{name}'.",
                remedy="Find out which is right; rename the file or correct the sidecar.",
            )
    return Tube(
        role=sidecar.role or said.role,
        accession_id=sidecar.accession_id or said.accession_id,
        marker=sidecar.marker or said.marker,
        batch=sidecar.batch or said.batch,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FmoCut:
    """Where positives begin, by a tube without the marker's antibody.

    Attributes
    ----------
    lower, upper
        95 % limits of the quantile, from order statistics; None where the events do not reach that far.
    """

    marker: str
    quantile: float
    value: float
    lower: float | None
    upper: float | None
    events: int


def fmo_cut(values: npt.NDArray[np.float32], *, marker: str, quantile: float = 0.99) -> FmoCut:
    """Cut at a quantile of an FMO's parent population.

    Parameters
    ----------
    values
        The marker's channel on the display scale of the specimens, of the FMO's events in the population that is to be parted.
    quantile
        Share of the negatives that stay below; 0.99 and 0.995 are usual.

    Raises
    ------
    GatingError
        The FMO holds too few events.
    """
    finite = np.sort(values[np.isfinite(values)])
    if finite.size < FEWEST_FMO_EVENTS:
        raise GatingError(
            what=f"The FMO holds {finite.size} events of this population; {FEWEST_FMO_EVENTS} are needed for a cut.",
            where=f"Marker '{marker}'.",
            remedy="Acquire more events of the FMO.",
        )
    expected, spread = finite.size * quantile, 1.96 * (finite.size * quantile * (1 - quantile)) ** 0.5
    below, above = int(np.floor(expected - spread)), int(np.ceil(expected + spread))
    return FmoCut(
        marker=marker,
        quantile=quantile,
        value=float(np.quantile(finite, quantile)),
        lower=float(finite[below]) if below >= 0 else None,
        upper=float(finite[above]) if above < finite.size else None,
        events=int(finite.size),
    )


def control_cuts(gated: Gating, marker: str) -> tuple[ControlCut, ...]:
    """Place the cuts of every gate that asks for this control, on a gated FMO; gates with too few events have none.

    Parameters
    ----------
    gated
        The FMO, gated by the specimens' panel.
    marker
        The one it lacks, as the panel names it.
    """
    found = []
    for template in gated.panel.populations:
        for gate in template.gates:
            if not isinstance(gate, QuantileGate | ValleyGate) or not gate.control or gate.marker != marker:
                continue
            if marker not in gated.linear:
                continue
            values = gated.linear[marker][gated.parent_membership(template.name)]
            values = values[np.isfinite(values)]
            if values.size < FEWEST_FMO_EVENTS:
                continue
            cut = fmo_cut(values, marker=marker, quantile=gate.quantile)
            draws = redraw_quantile(values, gate.quantile, seed_of_draws(template.name, marker))
            found.append(
                ControlCut(
                    population=template.name,
                    marker=marker,
                    quantile=cut.quantile,
                    value=cut.value,
                    lower=cut.lower,
                    upper=cut.upper,
                    draws=tuple(float(draw) for draw in draws),
                    events=cut.events,
                )
            )
    return tuple(found)


def controlled_markers(panel: Panel) -> tuple[str, ...]:
    """Name the markers for which a panel asks for an FMO."""
    gates = (gate for template in panel.populations for gate in template.gates)
    asking = (gate.marker for gate in gates if isinstance(gate, QuantileGate | ValleyGate) and gate.control)
    return tuple(dict.fromkeys(asking))


def populations_asking(panel: Panel, *, without: Collection[str]) -> frozenset[str]:
    """Name the populations with a gate that asks for an FMO of a marker which is not among those named."""
    return frozenset(
        template.name
        for template in panel.populations
        for gate in template.gates
        if isinstance(gate, QuantileGate | ValleyGate) and gate.control and gate.marker not in without
    )


def control_readings(results: Mapping[str, Result], *, batch: str, measured_at: str) -> tuple[ControlReading, ...]:
    """Put what a control PBMC gave on record for charting, by measurand code."""
    return tuple(
        ControlReading(
            batch=batch,
            measured_at=measured_at,
            measurand=code,
            value=None if result.quantity is None or result.quantity.comparator else result.quantity.value,
            unit="" if result.quantity is None else result.quantity.unit,
            lower=None if result.interval is None else result.interval.lower,
            upper=None if result.interval is None else result.interval.upper,
            run_id=result.run_id,
        )
        for code, result in sorted(results.items())
    )


def batch_findings(batch: str, readings: Sequence[ControlReading], violated: Mapping[str, str]) -> tuple[Finding, ...]:
    """Say of a batch that its control failed; the findings go with every result of the batch.

    Parameters
    ----------
    readings
        Of the batch's control PBMC; none at all is a finding too.
    violated
        By measurand, the rule of its Levey-Jennings chart that the reading breaks, in words.
    """
    where = f"Staining batch '{batch}'."
    if not readings:
        return (
            Finding(
                code="CONTROL_MISSING",
                severity=Severity.NOTE,
                where=where,
                message="No control PBMC was acquired with this batch.",
                remedy="Stain one aliquot of the control PBMC with every batch.",
            ),
        )
    lost = sorted(reading.measurand for reading in readings if reading.value is None)
    faults = [
        *(f"{name} has no reportable value" for name in lost),
        *(f"{name}: {why}" for name, why in sorted(violated.items())),
    ]
    if not faults:
        return ()
    return (
        Finding(
            code="CONTROL_FAILED",
            severity=Severity.WARNING,
            where=where,
            message=f"The control PBMC of this batch failed: {'; '.join(faults)}.",
            remedy="Look at staining, compensation and instrument of this batch; stain again where the cause lies there.",
        ),
    )
