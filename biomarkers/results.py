"""The shape all three assays end in.

Knows quantities, intervals and findings. Must not know how any of them was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from biomarkers.provenance import Provenance, content_digest

Comparator: TypeAlias = Literal["", "<", ">"]


class Assay(StrEnum):
    """The three kinds of measurement; the value is also the name of the inbox."""

    ELISA = "elisa"
    CYTOMETRY = "cytometry"
    IHC = "ihc"


class Severity(StrEnum):
    """How much a finding weighs."""

    NOTE = "note"
    WARNING = "warning"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a number that its reader must know.

    Attributes
    ----------
    code
        Upper-case word with underscores, stable over versions, as in the timepoint table.
    severity
        ``REJECT`` means that no number is reported.
    where, message, remedy
        The place, what was found with its values and units, and what to do.
    """

    code: str
    severity: Severity
    where: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its unit, and a comparator when it is only a bound.

    ``Quantity(value=3.1, unit="pg/mL", comparator="<")`` says that the quantity lies below 3.1 pg/mL.
    """

    value: float
    unit: str
    comparator: Comparator = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError("a quantity is a finite number; a missing one is None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Limits that hold the quantity with the given confidence; an open side is None."""

    lower: float | None
    upper: float | None
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What every assay ends in: one measurand of one specimen from one run.

    Attributes
    ----------
    quantity
        None when the specimen was measured and the number is not evaluable; then a finding of severity ``REJECT`` says why.
    interval
        None when no interval can be given, as for a value outside the range.
    denominator
        What a frequency, ratio or density refers to; empty for a plain concentration.
    n_replicates
        Independent readings behind the number: wells, events of the denominator, scored cells.
    run_id
        The plate, acquisition or scan.
    """

    accession_id: str
    assay: Assay
    measurand: str
    quantity: Quantity | None
    interval: Interval | None
    denominator: str
    n_replicates: int | None
    run_id: str
    findings: tuple[Finding, ...]
    provenance: Provenance

    @property
    def result_id(self) -> str:
        """Identity that derives from content: equal inputs, code and number give the same id."""
        quantity, interval = self.quantity, self.interval
        digest = content_digest(
            {
                "accession_id": self.accession_id,
                "measurand": self.measurand,
                "run_id": self.run_id,
                "quantity": None if quantity is None else [quantity.value, quantity.unit, quantity.comparator],
                "interval": None if interval is None else [interval.lower, interval.upper, interval.level],
                "findings": [[finding.code, finding.where, finding.message] for finding in self.findings],
                "provenance": self.provenance.identity,
            }
        )
        return f"r-{digest[:20]}"

    @property
    def is_evaluable(self) -> bool:
        """Whether a number or a bound is reported."""
        return self.quantity is not None


def run_identity(assay: Assay, instrument_sha256: str, part: str = "") -> str:
    """Name a run by the instrument's bytes and, where one file holds several runs, the part: plate id, series, data set."""
    return f"{assay.value}-{content_digest([instrument_sha256, part])[:16]}"


def derived_run_identity(assay: Assay, step: str, key: str) -> str:
    """Name a run that no instrument made: the step that derives it, and what it is derived for, such as an accession."""
    return f"{assay.value}-{content_digest(['derived', step, key])[:16]}"


def finding_codes(findings: Iterable[Finding]) -> str:
    """Join the codes of findings by ``;``, each once, in alphabetical order, as the timepoint table shows them."""
    return ";".join(sorted({finding.code for finding in findings}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One plate, acquisition or scan as analysed once: the part that all assays share.

    Attributes
    ----------
    run_id
        From :func:`run_identity`; the same bytes analysed again keep it.
    name
        What people call the run: the plate's name, the file's stem.
    acquired_at
        The instrument's own date and time, verbatim; empty when the file does not say.
    findings
        What concerns the whole run; findings about one result travel with it.
    results
        In a stable order.
    """

    run_id: str
    assay: Assay
    name: str
    acquired_at: str
    findings: tuple[Finding, ...]
    results: tuple[Result, ...]
    provenance: Provenance

    @property
    def analysis_id(self) -> str:
        """Identity of this analysis of the run; derives from its content."""
        digest = content_digest(
            [
                self.run_id,
                self.provenance.identity,
                [result.result_id for result in self.results],
                [[finding.code, finding.where, finding.message] for finding in self.findings],
            ]
        )
        return f"a-{digest[:20]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A result another was derived from.

    Attributes
    ----------
    replaces
        Whether the derived result takes its place: the same measurand of the same specimen, better known now that other files
        are at hand.
    """

    analysis_id: str
    result_id: str
    replaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A finding about results of another run, which only the whole set of runs could show.

    Attributes
    ----------
    run_id
        The run it is about.
    accession_id, measurand
        Which of its results; empty for all of them.
    """

    run_id: str
    finding: Finding
    accession_id: str = ""
    measurand: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedAnalysis:
    """What a second step derived from results of other runs: results of its own, remarks about theirs, or both.

    Attributes
    ----------
    step
        Name of the second step.
    run
        Named by :func:`derived_run_identity`; its provenance names every file behind the parents as source, and every parent
        as input. Its findings are those of the remarks, in their order.
    """

    step: str
    run: Run
    parents: tuple[Parent, ...]
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        if not self.step or self.run.findings != tuple(remark.finding for remark in self.remarks):
            raise ValueError("a derived analysis names its step, and its run's findings are those of its remarks")
