"""Which spillover matrix applies, undoing it, and whether the result resolves.

Knows linear algebra on events and what a failed compensation looks like. Must not know gates or where a matrix was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition, Spillover
from biomarkers.cytometry.panel import DeclaredSpillover, Panel
from biomarkers.results import Finding, Severity

WORST_CONDITION = 1e4
"""Condition number of a spillover matrix beyond which undoing it multiplies noise by thousands: two rows are nearly one."""

TIED_CORRELATION = 0.3
"""Rank correlation of two markers that no cell carries together, from which they are said to be one light seen twice. CD4 and
CD8 among the T cells of eight healthy public samples lie between -0.69 and -0.58; a file with a wrong matrix gave +0.63."""

FEWEST_FOR_CHECK = 200
"""Events below which a correlation is too uncertain to condemn a file."""


BLOCK = 1 << 13
"""Events compensated at a time, so that they stay in the processor's cache between steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompensatedEvents:
    """Events with spillover undone.

    Attributes
    ----------
    values
        float32, shape (events, channels), linear.
    findings
        Of severity ``REJECT`` where frequencies from these events would be wrong.
    spillover
        The matrix that was undone; None where none was.
    """

    values: npt.NDArray[np.float32]
    findings: tuple[Finding, ...]
    spillover: Spillover | None = None


def compensate(acquisition: Acquisition, panel: Panel, columns: Mapping[str, int]) -> CompensatedEvents:
    """Undo spillover as the panel asks.

    Parameters
    ----------
    columns
        Column by marker name, from :func:`biomarkers.cytometry.markers.match_markers`.
    """
    if panel.data == "scaled" or panel.compensation == "none":
        return CompensatedEvents(values=acquisition.events, findings=())
    where = f"Acquisition '{acquisition.name}'."
    spillover = acquisition.spillover if panel.spillover is None else _declared(panel.name, panel.spillover)
    if spillover is None:
        return CompensatedEvents(
            values=acquisition.events,
            findings=(
                _reject(
                    "COMPENSATION_MISSING",
                    where,
                    f"The file carries no usable spillover matrix and panel '{panel.name}' needs one.",
                    'Export the file with its compensation; for data unmixed already use a panel with compensation = "none".',
                ),
            ),
        )
    places = [acquisition.detector_index(detector) for detector in spillover.detectors]
    absent = [detector for detector, place in zip(spillover.detectors, places, strict=True) if place is None]
    if absent:
        return CompensatedEvents(
            values=acquisition.events,
            findings=(
                _reject(
                    "COMPENSATION_MISMATCH",
                    f"{where[:-1]}, keyword {spillover.keyword}.",
                    f"The spillover matrix names detectors the file does not have: {', '.join(absent)}.",
                    "Export the file again with all its channels.",
                ),
            ),
        )
    if float(np.linalg.cond(spillover.matrix)) > WORST_CONDITION:
        return CompensatedEvents(
            values=acquisition.events,
            findings=(
                _reject(
                    "COMPENSATION_UNRESOLVED",
                    f"{where[:-1]}, keyword {spillover.keyword}.",
                    "The spillover matrix cannot be undone: two fluorochromes look the same on all detectors.",
                    "Compute the compensation again from single stains.",
                ),
            ),
        )
    detectors = [place for place in places if place is not None]
    return CompensatedEvents(
        values=undo_spillover(acquisition.events, detectors, spillover.matrix),
        findings=tuple(_coverage_findings(acquisition, panel, columns, spillover, detectors)),
        spillover=spillover,
    )


def _declared(panel: str, given: DeclaredSpillover) -> Spillover:
    return Spillover(keyword=f"of panel '{panel}'", detectors=given.detectors, matrix=np.array(given.rows, dtype=np.float64))


def undo_spillover(
    events: npt.NDArray[np.float32], detectors: list[int], matrix: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Multiply the detectors' columns by the inverse of the spillover matrix; other columns stay.

    Row *i* of the matrix says what fluorochrome *i* sheds, so observed = true x matrix. The sums are formed in double precision
    and rounded once: small true values are differences of large observed ones.

    Returns
    -------
    numpy.ndarray
        Shape (events, channels), each channel's events beside each other in memory.
    """
    values = np.empty(events.shape[::-1], dtype=np.float32)
    inverse = np.ascontiguousarray(np.linalg.inv(matrix).T)
    others = [column for column in range(events.shape[1]) if column not in set(detectors)]
    with np.errstate(over="ignore", invalid="ignore"):  # events that are no measurement stay none
        for start in range(0, events.shape[0], BLOCK):
            block = events[start : start + BLOCK]
            values[detectors, start : start + BLOCK] = inverse @ block[:, detectors].astype(np.float64).T
            values[others, start : start + BLOCK] = block[:, others].T
    return values.T


def _coverage_findings(
    acquisition: Acquisition, panel: Panel, columns: Mapping[str, int], spillover: Spillover, detectors: list[int]
) -> list[Finding]:
    where = f"Acquisition '{acquisition.name}', keyword {spillover.keyword}."
    findings = []
    uncovered = [
        marker.name
        for marker in panel.markers
        if marker.kind == "fluorescence" and marker.name in columns and columns[marker.name] not in detectors
    ]
    if uncovered:
        findings.append(
            Finding(
                code="COMPENSATION_PARTIAL",
                severity=Severity.WARNING,
                where=where,
                message=f"The spillover matrix does not cover {', '.join(uncovered)}.",
                remedy="Compute the compensation with single stains of all fluorochromes.",
            )
        )
    if np.allclose(spillover.matrix, np.eye(len(detectors))):
        findings.append(
            Finding(
                code="COMPENSATION_IDENTITY",
                severity=Severity.NOTE,
                where=where,
                message="The spillover matrix changes nothing.",
                remedy="None needed where the events were unmixed; otherwise export the compensation that was set.",
            )
        )
    return findings


def resolution_findings(
    name: str,
    panel: Panel,
    scaled: Mapping[str, npt.NDArray[np.float32]],
    members: Mapping[str, npt.NDArray[np.bool_]],
) -> tuple[Finding, ...]:
    """Judge whether markers that no cell carries together are told apart.

    Parameters
    ----------
    scaled
        Values on the display scale by marker.
    members
        Membership by population.
    """
    tied = []
    for pair in panel.exclusive:
        one, other = pair.markers
        if one not in scaled or other not in scaled or pair.among not in members:
            continue
        x, y = (scaled[marker][members[pair.among]] for marker in pair.markers)
        kept = np.isfinite(x) & np.isfinite(y)
        if int(kept.sum()) < FEWEST_FOR_CHECK:
            continue
        correlation = rank_correlation(x[kept], y[kept])
        if correlation > TIED_CORRELATION:
            tied.append(f"{one} and {other} among '{pair.among}' ({correlation:.2f})")
    if not tied:
        return ()
    return (
        _reject(
            "COMPENSATION_UNRESOLVED",
            f"Acquisition '{name}'.",
            f"Markers that no cell carries together rise together: {', '.join(tied)}; rank correlation > {TIED_CORRELATION:g}.",
            "Compute the compensation again from single stains of this batch; check that the matrix belongs to these events.",
        ),
    )


def rank_correlation(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> float:
    """Spearman's correlation; equal values, rare among compensated events, are ranked in file order."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _reject(code: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.REJECT, where=where, message=message, remedy=remedy)
