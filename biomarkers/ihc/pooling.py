"""Several slides of one specimen as one, and two visits of one subject compared.

Knows score records. Must not know slides, subjects or files. Counts are added over areas and cells: a mean of the slides'
densities would let a scrap weigh as much as a whole section.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from biomarkers.errors import StainError
from biomarkers.ihc.protocol import EvaluabilitySettings
from biomarkers.ihc.records import ScoreRecord
from biomarkers.ihc.scoring import INTENSITY_CLASSES, garwood_density, wilson_h_score, wilson_percent
from biomarkers.ihc.section import REFUSED_SCORES_BY_CODE, size_refusals
from biomarkers.results import Finding, Interval, Severity

POOLING_STEP = "pooled sections"
"""Names the second step on every run it derives."""

TOO_SMALL = frozenset({"TOO_LITTLE_TISSUE", "TOO_FEW_CELLS"})
"""Why a slide alone may have no score although its cells and area can be added to those of others."""


def pool_slides(slides: Sequence[Sequence[ScoreRecord]], needs: EvaluabilitySettings, *, where: str) -> tuple[ScoreRecord, ...]:
    """Pool slides of one specimen and stain, each given as its scores by region.

    Returns
    -------
    tuple of ScoreRecord
        All tissue first; then the tumour, if it was drawn on every slide.
    """
    regions = [{record.region: record for record in slide} for slide in slides]
    whole = pool_records([slide[0] for slide in slides], needs=needs, where=where)
    if not all("tumour" in region for region in regions):
        return (whole,)
    tumour = pool_records([region["tumour"] for region in regions], needs=needs, where=f"{where.rstrip('.')}, tumour.")
    return (whole, tumour)


def pool_records(records: Sequence[ScoreRecord], *, needs: EvaluabilitySettings | None = None, where: str = "") -> ScoreRecord:
    """Pool the same region of several slides of a specimen: counts over areas and over cells.

    Each slide's share of clustering is kept. The limits cover the spread of cells over these sections, not the choice of
    sections, block or lesion. A slide that cannot be scored makes the score not evaluable rather than being dropped unseen;
    one that is merely small brings what it has, and whether that is enough is judged of all together.

    Parameters
    ----------
    needs
        What is enough; without it a slide that is too small counts as one that cannot be scored.
    where
        What is pooled, for findings.

    Raises
    ------
    StainError
        The records are of different stains or regions, or there is none.
    """
    if not records or len({(record.stain, record.region) for record in records}) > 1:
        raise StainError(
            what="Slides of different stains or regions cannot be pooled.",
            where=", ".join(f"{record.stain} {record.region}" for record in records) or "No slides.",
            remedy="Pool slides of one specimen and one stain.",
        )
    if len(records) == 1:
        return records[0]
    areas = [record.area_mm2 for record in records]
    area = None if any(each is None for each in areas) else float(sum(each for each in areas if each is not None))
    cells, positive = sum(record.cells for record in records), sum(record.positive for record in records)
    findings = tuple(dict.fromkeys(finding for record in records for finding in record.findings))
    forbidden: set[str] = set()
    if needs is not None:
        small = tuple(size_refusals(area, cells, needs, where))
        forbidden = {name for finding in small for name in REFUSED_SCORES_BY_CODE[finding.code]}
        findings = (*(finding for finding in findings if finding.code not in TOO_SMALL), *small)
    h_score_cells = {record.h_score_cells for record in records}
    pooled = _Pooled(
        records=records,
        counts={name: sum(record.class_counts[name] for record in records) for name in INTENSITY_CLASSES},
        cells=cells,
        positive=positive,
        tumour_cells=None if any(r.tumour_cells is None for r in records) else sum(r.tumour_cells or 0 for r in records),
    )
    scored = {
        name
        for name in ("density_per_mm2", "positive_percent", "h_score", "tps", "cps")
        if name not in forbidden and all(_brings(record, name, small_too=needs is not None) for record in records)
    }
    if area and "density_per_mm2" in scored:
        pooled.add_density(area)
    if cells and "positive_percent" in scored:
        pooled.add_percent()
    if cells and h_score_cells == {"all cells"} and "h_score" in scored:
        pooled.add_h_score()
    pooled.add_of_tumour(scored & ({"tps", "cps", "h_score"} if h_score_cells == {"tumour cells"} else {"tps", "cps"}))
    return ScoreRecord(
        region=records[0].region,
        stain=records[0].stain,
        area_mm2=area,
        cells=cells,
        positive=positive,
        class_counts=pooled.counts,
        positive_percent=pooled.values.get("positive_percent"),
        density_per_mm2=pooled.values.get("density_per_mm2"),
        h_score=pooled.values.get("h_score"),
        intervals=pooled.intervals,
        findings=findings,
        inflations=pooled.inflations,
        standard_errors=pooled.errors,
        h_score_cells="tumour cells" if h_score_cells == {"tumour cells"} else "all cells",
        tumour_cells=pooled.tumour_cells,
        tps=pooled.values.get("tps"),
        cps=pooled.values.get("cps"),
    )


@dataclass(slots=True, kw_only=True)
class _Pooled:
    """Slides being pooled: their counts together, and the scores found so far by name."""

    records: Sequence[ScoreRecord]
    counts: Mapping[str, int]
    cells: int
    positive: int
    tumour_cells: int | None
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    inflations: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    def add_density(self, area_mm2: float) -> None:
        inflation = _pooled_inflation(self.records, "density_per_mm2", [record.positive for record in self.records])
        self._add(
            "density_per_mm2",
            self.positive / area_mm2,
            garwood_density(self.positive, area_mm2, inflation),
            math.sqrt(self.positive * inflation) / area_mm2,
            inflation,
        )

    def add_percent(self) -> None:
        inflation = _pooled_inflation(self.records, "positive_percent", [record.cells for record in self.records])
        share = self.positive / self.cells
        self._add(
            "positive_percent",
            100.0 * share,
            wilson_percent(self.positive, self.cells, inflation),
            100.0 * math.sqrt(share * (1.0 - share) / self.cells * inflation),
            inflation,
        )

    def add_h_score(self) -> None:
        """Of all cells; a slide too small for an H-score of its own has the error of independent cells."""
        score = sum(100.0 * weight * self.counts[name] for weight, name in enumerate(INTENSITY_CLASSES)) / self.cells
        error = math.sqrt(
            sum((record.cells / self.cells * _h_score_error(record)) ** 2 for record in self.records if record.cells)
        )
        unseen = self.intervals.get("positive_percent") if self.positive == 0 else None
        upper = None if unseen is None else unseen.upper
        limits = wilson_h_score(score, error, self.cells) if upper is None else Interval(lower=0.0, upper=upper)
        inflation = _pooled_inflation(self.records, "h_score", [record.cells for record in self.records])
        self._add("h_score", score, limits, error, inflation)

    def add_of_tumour(self, names: Collection[str]) -> None:
        """Means of the slides' scores, each weighed by its tumour cells: the count over all of them."""
        for name in sorted(names) if self.tumour_cells else ():
            given = [(record, _value_of(record, name)) for record in self.records]
            if any(value is None for _, value in given):
                continue
            shares = [(record.tumour_cells or 0) / (self.tumour_cells or 1) for record in self.records]
            value = sum(share * (own or 0.0) for share, (_, own) in zip(shares, given, strict=True))
            squares = (
                (share * _of(record.standard_errors, name, 0.0)) ** 2
                for share, record in zip(shares, self.records, strict=True)
            )
            error = math.sqrt(sum(squares))
            highest = 300.0 if name == "h_score" else 100.0
            limits = Interval(lower=max(0.0, value - 1.96 * error), upper=min(highest, value + 1.96 * error))
            self._add(name, value, limits, error, 1.0)

    def _add(self, name: str, value: float, limits: Interval, error: float, inflation: float) -> None:
        self.values[name], self.intervals[name] = value, limits
        self.errors[name], self.inflations[name] = error, inflation


def _brings(record: ScoreRecord, name: str, *, small_too: bool) -> bool:
    """Whether a slide has a score, or would have one if it were larger."""
    if _value_of(record, name) is not None:
        return True
    why = {
        finding.code
        for finding in record.findings
        if finding.severity is Severity.REJECT and name in REFUSED_SCORES_BY_CODE.get(finding.code, ())
    }
    return small_too and bool(why) and why <= TOO_SMALL


def _value_of(record: ScoreRecord, name: str) -> float | None:
    return {
        "density_per_mm2": record.density_per_mm2,
        "positive_percent": record.positive_percent,
        "h_score": record.h_score,
        "tps": record.tps,
        "cps": record.cps,
    }[name]


def _pooled_inflation(records: Sequence[ScoreRecord], name: str, weights: Sequence[int]) -> float:
    """Mean of the slides' inflations, each weighed by what it brings to the total."""
    total = sum(weights)
    if total == 0:
        return 1.0
    return sum(weight * _of(record.inflations, name, 1.0) for record, weight in zip(records, weights, strict=True)) / total


def _h_score_error(record: ScoreRecord) -> float:
    return _of(record.standard_errors, "h_score", math.sqrt(_h_score_variance(record) / record.cells))


def _h_score_variance(record: ScoreRecord) -> float:
    """Variance of 0, 100, 200 and 300 over a slide's cells."""
    shares = [record.class_counts[name] / record.cells for name in INTENSITY_CLASSES]
    mean = sum(100.0 * weight * share for weight, share in enumerate(shares))
    return sum(share * (100.0 * weight - mean) ** 2 for weight, share in enumerate(shares))


def _of(values: Mapping[str, float] | None, name: str, otherwise: float) -> float:
    return otherwise if values is None else values.get(name, otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideCircumstances:
    """What else may differ between two visits; empty where nobody recorded it."""

    batch: str = ""
    scanner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """How a score changed from baseline to a later visit of one subject.

    Attributes
    ----------
    difference
        Later less baseline, in the score's unit.
    difference_interval, ratio_interval
        95 % limits; None where either visit has none. They cover the spread of cells over both sections, never the choice of
        section, block or lesion, which between two biopsies is usually the larger part.
    ratio
        Later over baseline, for densities; None where the baseline is 0.
    """

    score: str
    baseline: float
    later: float
    difference: float
    difference_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None
    baseline_circumstances: SlideCircumstances
    later_circumstances: SlideCircumstances
    findings: tuple[Finding, ...]


def paired_change(
    baseline: ScoreRecord,
    later: ScoreRecord,
    *,
    score: str,
    baseline_circumstances: SlideCircumstances | None = None,
    later_circumstances: SlideCircumstances | None = None,
) -> PairedChange | None:
    """Compare a score of two visits.

    Limits join those of both visits (method of variance estimates recovery: Zou and Donner 2008, Stat Med 27:1693; for the
    ratio Donner and Zou 2012, Stat Methods Med Res 21:347), so that a count of 0 keeps its uncertainty.

    Parameters
    ----------
    score
        ``"density_per_mm2"``, ``"positive_percent"`` or ``"h_score"``.

    Returns
    -------
    PairedChange or None
        None where the score is not evaluable at either visit.

    Raises
    ------
    StainError
        The visits were stained differently or scored in different regions.
    """
    if (baseline.stain, baseline.region) != (later.stain, later.region):
        raise StainError(
            what="Only the same stain and region of two visits can be compared.",
            where=f"{baseline.stain} {baseline.region} and {later.stain} {later.region}.",
            remedy="Choose records of one stain and one region.",
        )
    before, after = _value(baseline, score), _value(later, score)
    if before is None or after is None:
        return None
    return score_change(
        score,
        MeasuredScore(value=before, interval=baseline.intervals.get(score), circumstances=baseline_circumstances),
        MeasuredScore(value=after, interval=later.intervals.get(score), circumstances=later_circumstances),
        where=f"{baseline.stain} {baseline.region}, {score}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScore:
    """A score of one visit with its 95 % limits, and what else is known of the slide."""

    value: float
    interval: Interval | None
    circumstances: SlideCircumstances | None = None


def score_change(score: str, baseline: MeasuredScore, later: MeasuredScore, *, where: str) -> PairedChange:
    """Compare a score of two visits, as :func:`paired_change` does, given the numbers alone."""
    before, after = baseline.value, later.value
    first, second = baseline.circumstances or SlideCircumstances(), later.circumstances or SlideCircumstances()
    limits = _limits(baseline.interval), _limits(later.interval)
    ratio = after / before if score == "density_per_mm2" and before > 0 else None
    return PairedChange(
        score=score,
        baseline=before,
        later=after,
        difference=after - before,
        difference_interval=None if None in limits else _difference(before, after, *limits),
        ratio=ratio,
        ratio_interval=None if ratio is None or None in limits else _ratio(before, after, *limits),
        baseline_circumstances=first,
        later_circumstances=second,
        findings=tuple(_changed(first, second, where)),
    )


def _value(record: ScoreRecord, score: str) -> float | None:
    values = {
        "density_per_mm2": record.density_per_mm2,
        "positive_percent": record.positive_percent,
        "h_score": record.h_score,
    }
    if score not in values:
        raise StainError(
            what=f"'{score}' is not a score that visits are compared by.",
            where="Paired change.",
            remedy=f"Use one of {', '.join(values)}.",
        )
    return values[score]


_Limits = tuple[float, float]


def _limits(interval: Interval | None) -> _Limits | None:
    if interval is None or interval.lower is None or interval.upper is None:
        return None
    return interval.lower, interval.upper


def _difference(before: float, after: float, first: _Limits | None, second: _Limits | None) -> Interval:
    assert first is not None
    assert second is not None
    change = after - before
    return Interval(
        lower=change - math.hypot(after - second[0], first[1] - before),
        upper=change + math.hypot(second[1] - after, before - first[0]),
    )


def _ratio(before: float, after: float, first: _Limits | None, second: _Limits | None) -> Interval:
    """Donner and Zou's closed form; without an upper limit where the baseline's limits reach 0."""
    assert first is not None
    assert second is not None
    product = before * after
    (low_1, high_1), (low_2, high_2) = first, second
    lower_root = product**2 - low_2 * high_1 * (2 * after - low_2) * (2 * before - high_1)
    lower = (product - math.sqrt(max(0.0, lower_root))) / (high_1 * (2 * before - high_1)) if high_1 != 2 * before else 0.0
    if low_1 <= 0:
        return Interval(lower=max(0.0, lower), upper=None)
    upper_root = product**2 - high_2 * low_1 * (2 * after - high_2) * (2 * before - low_1)
    upper = (product + math.sqrt(max(0.0, upper_root))) / (low_1 * (2 * before - low_1))
    return Interval(lower=max(0.0, lower), upper=upper)


def _changed(first: SlideCircumstances, second: SlideCircumstances, where: str) -> list[Finding]:
    findings = []
    for code, word, one, other in (
        ("BATCH_CHANGED", "stain batch", first.batch, second.batch),
        ("SCANNER_CHANGED", "scanner", first.scanner, second.scanner),
    ):
        if one and other and one != other:
            findings.append(
                Finding(
                    code=code,
                    severity=Severity.WARNING,
                    where=where,
                    message=f"The {word} differs between the visits: '{one}' and '{other}'.",
                    remedy="Compare the control slides of both before reading the change.",
                )
            )
    return findings
