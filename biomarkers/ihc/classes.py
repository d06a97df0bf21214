"""Scores that need to know what a cell is: tumour proportion score and combined positive score.

Knows classes given by a person or another program, and when a score has to be refused. Must not know how a cell was classed:
this package does not class cells, and a drawn region says where a cell lies, not what it is.

TPS is the percentage of viable tumour cells with partial or complete membrane staining of any intensity. CPS is the number of
positive tumour cells, lymphocytes and macrophages per 100 viable tumour cells, at most 100.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.intervals import NORMAL_WIDTH, ratio_spread
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.scoring import BlockCounts, Estimate, garwood_density, positive_percent
from biomarkers.results import Finding, Interval, Severity


class CellClass(StrEnum):
    """What a cell is."""

    UNCLASSED = "unclassed"
    TUMOUR = "tumour"
    LYMPHOCYTE = "lymphocyte"
    MACROPHAGE = "macrophage"
    OTHER = "other"


CELL_CLASSES = tuple(CellClass)
"""A cell's class is kept as index into these."""

IMMUNE_CLASSES = (CellClass.LYMPHOCYTE, CellClass.MACROPHAGE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassCounts:
    """Cells in small square blocks by class and intensity, shape (blocks, classes, 4); neighbours as in the block counts."""

    cells: NDArray[np.int64]
    columns: int

    def of(self, *classes: CellClass) -> BlockCounts:
        """Count the cells of some classes."""
        chosen = [CELL_CLASSES.index(each) for each in classes]
        return BlockCounts(cells=self.cells[:, chosen].sum(axis=1), area_mm2=None, columns=self.columns)


def tumour_proportion_score(counts: ClassCounts) -> Estimate:
    """Percentage of tumour cells that are positive."""
    return positive_percent(counts.of(CellClass.TUMOUR))


def combined_positive_score(counts: ClassCounts) -> Estimate:
    """Positive tumour cells, lymphocytes and macrophages per 100 tumour cells, cut off at 100."""
    tumour, both = counts.of(CellClass.TUMOUR), counts.of(CellClass.TUMOUR, *IMMUNE_CLASSES)
    total, positive = tumour.total, both.positive
    ratio = positive / total
    simple = positive / total**2 * (1.0 + ratio)
    spread = ratio_spread(
        both.cells[:, 1:].sum(axis=1).astype(np.float64),
        tumour.cells.sum(axis=1).astype(np.float64),
        columns=counts.columns,
    )
    inflation = 1.0
    if spread is not None and simple > 0 and spread.variance > simple:
        inflation = spread.variance / simple * (spread.width / NORMAL_WIDTH) ** 2
    error = math.sqrt(simple * inflation)
    if positive == 0:
        upper = garwood_density(0, total, 1.0).upper
        assert upper is not None
        limits = (0.0, upper)
    else:
        limits = (max(0.0, ratio - NORMAL_WIDTH * error), ratio + NORMAL_WIDTH * error)
    return Estimate(
        value=min(100.0, 100.0 * ratio),
        interval=Interval(lower=min(100.0, 100.0 * limits[0]), upper=min(100.0, 100.0 * limits[1])),
        inflation=inflation,
        standard_error=100.0 * error,
    )


def class_refusals(
    protocol: StainProtocol, known: Collection[CellClass], tumour_cells: int, *, where: str
) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Say why TPS or CPS cannot be given: each reason with the scores it forbids.

    Parameters
    ----------
    known
        Classes that whoever classed the cells tells apart; empty where nobody did.
    tumour_cells
        Viable tumour cells in the evaluable area.
    """
    if CellClass.TUMOUR not in known:
        yield (
            Finding(
                code="NEEDS_CELL_CLASSES",
                severity=Severity.REJECT,
                where=where,
                message="TPS and CPS are not evaluable: no cells are classed as tumour; a drawn region is not enough.",
                remedy="Give a label image or cell list with classes, or have a pathologist score the slide.",
            ),
            ("tps", "cps"),
        )
        return
    if not (protocol.clone and protocol.platform):
        yield (
            Finding(
                code="ASSAY_UNDECLARED",
                severity=Severity.REJECT,
                where=where,
                message="TPS and CPS are not evaluable: the stain protocol does not name both antibody clone and platform.",
                remedy="Declare clone and platform in a protocol of your own.",
            ),
            ("tps", "cps"),
        )
    if tumour_cells < protocol.evaluability.fewest_tumour_cells:
        yield (
            Finding(
                code="TOO_FEW_TUMOUR_CELLS",
                severity=Severity.REJECT,
                where=where,
                message=f"{tumour_cells} viable tumour cells were found; TPS and CPS need "
                f"{protocol.evaluability.fewest_tumour_cells}.",
                remedy="Cut a further section, or record the specimen as not evaluable.",
            ),
            ("tps", "cps"),
        )
    if not set(IMMUNE_CLASSES) <= set(known):
        yield (
            Finding(
                code="NEEDS_IMMUNE_CLASSES",
                severity=Severity.REJECT,
                where=where,
                message="CPS is not evaluable: it needs lymphocytes and macrophages told apart from other cells.",
                remedy="Give cell classes with both, or have a pathologist score the slide.",
            ),
            ("cps",),
        )
