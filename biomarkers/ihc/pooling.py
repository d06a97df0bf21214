"""Several slides of one specimen as one, and two visits of one subject compared.

Knows score records. Must not know slides, subjects or files. Counts are added over areas and cells: a mean of the slides'
densities would let a scrap weigh as much as a whole section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.errors import StainError
from biomarkers.ihc.records import ScoreRecord
from biomarkers.ihc.scoring import INTENSITY_CLASSES, garwood_density, wilson_percent
from biomarkers.results import Finding, Interval, Severity


def pool_records(records: Sequence[ScoreRecord]) -> ScoreRecord:
    """Pool the same region of several slides of a specimen: counts over areas and over cells.

    Each slide's share of clustering is kept. The limits cover the spread of cells over these sections, not the choice of
    sections, block or lesion. A slide that cannot be scored makes the score not evaluable rather than being dropped unseen.

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
    counts = {name: sum(record.class_counts[name] for record in records) for name in INTENSITY_CLASSES}
    values, intervals, inflations, errors = {}, {}, {}, {}
    if area and all(record.density_per_mm2 is not None for record in records):
        inflation = _pooled_inflation(records, "density_per_mm2", [record.positive for record in records])
        values["density_per_mm2"] = positive / area
        intervals["density_per_mm2"] = garwood_density(positive, area, inflation)
        inflations["density_per_mm2"] = inflation
        errors["density_per_mm2"] = math.sqrt(positive * inflation) / area
    if cells and all(record.positive_percent is not None for record in records):
        inflation = _pooled_inflation(records, "positive_percent", [record.cells for record in records])
        share = positive / cells
        values["positive_percent"] = 100.0 * share
        intervals["positive_percent"] = wilson_percent(positive, cells, inflation)
        inflations["positive_percent"] = inflation
        errors["positive_percent"] = 100.0 * math.sqrt(share * (1.0 - share) / cells * inflation)
    over_all = {record.h_score_cells for record in records} == {"all cells"}
    if cells and over_all and all(record.h_score is not None for record in records):
        score, error = _pooled_h_score(records, cells)
        values["h_score"], errors["h_score"] = score, error
        inflations["h_score"] = _pooled_inflation(records, "h_score", [record.cells for record in records])
        upper = intervals["positive_percent"].upper if positive == 0 and "positive_percent" in intervals else None
        intervals["h_score"] = Interval(
            lower=max(0.0, score - 1.96 * error), upper=min(300.0, score + 1.96 * error) if upper is None else upper
        )
    findings = tuple(dict.fromkeys(finding for record in records for finding in record.findings))
    return ScoreRecord(
        region=records[0].region,
        stain=records[0].stain,
        area_mm2=area,
        cells=cells,
        positive=positive,
        class_counts=counts,
        positive_percent=values.get("positive_percent"),
        density_per_mm2=values.get("density_per_mm2"),
        h_score=values.get("h_score"),
        intervals=intervals,
        findings=findings,
        inflations=inflations,
        standard_errors=errors,
    )


def _pooled_inflation(records: Sequence[ScoreRecord], name: str, weights: Sequence[int]) -> float:
    """Mean of the slides' inflations, each weighed by what it brings to the total."""
    total = sum(weights)
    if total == 0:
        return 1.0
    return sum(weight * _of(record.inflations, name, 1.0) for record, weight in zip(records, weights, strict=True)) / total


def _pooled_h_score(records: Sequence[ScoreRecord], cells: int) -> tuple[float, float]:
    score, variance = 0.0, 0.0
    for record in records:
        assert record.h_score is not None
        share = record.cells / cells
        score += share * record.h_score
        variance += (share * _of(record.standard_errors, "h_score", 0.0)) ** 2
    return score, math.sqrt(variance)


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
    first, second = baseline_circumstances or SlideCircumstances(), later_circumstances or SlideCircumstances()
    limits = _limits(baseline, score), _limits(later, score)
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
        findings=tuple(_changed(first, second, f"{baseline.stain} {baseline.region}, {score}.")),
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


def _limits(record: ScoreRecord, score: str) -> _Limits | None:
    interval = record.intervals.get(score)
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
