"""Specimens whose profile does not fit their subject, as after two tubes were swapped.

Knows that a subject resembles itself over visits more than it resembles others. Must not know arms, nor change anything: what
it finds is for a person to look at.

Each measurand is ranked within its visit and laid on a normal scale, so that units, bounds (which tie at their end) and what
treatment does to all play no part. Of every two specimens of different subjects the likelihood of their having been swapped is
held against that of their labels, under a normal model with variance between subjects and within. If labels are right, a ratio
of t times occurs with a probability of at most 1/t, so that the threshold bounds the rate of false alarms over all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata

from biomarkers.results import Assay, Finding, Severity
from biomarkers.timepoints.alignment import TimepointRow

SWAP_SUSPECTED = "SWAP_SUSPECTED"

FALSE_ALARM_RATE = 0.05
"""Greatest expected number of false suspicions in a whole study, as far as the model holds."""

FEWEST_SUBJECTS = 12
"""With fewer subjects of two visits the variances within and between are not known well enough."""

SMALLEST_SHARE_MEASURED = 0.8
"""A measurand with fewer values is left out; a specimen with fewer measurands too."""

_SHRINKAGE = 0.05
"""Share of the covariance within subjects that is drawn to its diagonal, so that few subjects do not make it singular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapSuspicion:
    """Two specimens that fit each other's subject better than their own.

    Attributes
    ----------
    assays
        In which their profiles say so together.
    log_likelihood_ratio
        Of swapped against as labelled, in natural logarithms; ``threshold`` is what it exceeds.
    """

    accession_ids: tuple[str, str]
    subject_ids: tuple[str, str]
    visits: tuple[str, str]
    assays: tuple[str, ...]
    log_likelihood_ratio: float
    threshold: float


@dataclass(frozen=True, slots=True, order=True)
class _Slot:
    """The place of a specimen: a subject's visit."""

    subject_id: str
    visit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profiles:
    """Specimens of one assay: their places, their accessions, and their measurands on the normal scale, one row each."""

    slots: tuple[_Slot, ...]
    accession_ids: tuple[str, ...]
    scores: NDArray[np.float64]


def find_swaps(rows: Iterable[TimepointRow]) -> tuple[SwapSuspicion, ...]:
    """Look for pairs of specimens that were swapped, assay by assay and over the assays of one draw together.

    Parameters
    ----------
    rows
        The timepoint table; planned visits alone are looked at.

    Returns
    -------
    tuple of SwapSuspicion
        The most likely first; each subject is in one pair at most: look again when it has been cleared up. A swap of one
        subject's own visits cannot be seen, and of two subjects with two visits each it cannot be told which visit it was.
    """
    listed = [row for row in rows if row.value is not None and row.visit_number is not None and row.accession_id]
    by_assay: dict[str, tuple[_Profiles, NDArray[np.float64]]] = {}
    for assay in Assay:
        profiles = _profiles([row for row in listed if row.assay == assay.value])
        if profiles is not None:
            by_assay[assay.value] = (profiles, _log_ratios(profiles))
    found = [
        suspicion for assay, (profiles, ratios) in by_assay.items() for suspicion in _suspicions(profiles, ratios, (assay,))
    ]
    for one, other in combinations(by_assay, 2):
        found += _suspicions(*_together(by_assay[one], by_assay[other]), (one, other))
    return _best_pairs(found)


def _profiles(rows: Sequence[TimepointRow]) -> _Profiles | None:
    """Lay the rows out as one profile a specimen; None where there is too little to compare."""
    measurands = sorted({row.measurand for row in rows})
    accessions: dict[_Slot, str] = {}
    for row in rows:
        accessions.setdefault(_Slot(row.subject_id, row.visit), row.accession_id or "")
    slots = sorted(accessions)
    place = {slot: at for at, slot in enumerate(slots)}
    column = {measurand: at for at, measurand in enumerate(measurands)}
    values = np.full((len(slots), len(measurands)), np.nan)
    for row in rows:
        # Bounds tie beyond all numbers of their side.
        value = row.value if not row.comparator else -math.inf if row.comparator == "<" else math.inf
        values[place[_Slot(row.subject_id, row.visit)], column[row.measurand]] = value
    values = values[:, (~np.isnan(values)).mean(axis=0) >= SMALLEST_SHARE_MEASURED] if slots else values
    kept = (~np.isnan(values)).mean(axis=1) >= SMALLEST_SHARE_MEASURED if values.shape[1] else np.zeros(len(slots), dtype=bool)
    slots = [slot for slot, is_kept in zip(slots, kept.tolist(), strict=True) if is_kept]
    visits = np.array([slot.visit for slot in slots])
    scores = _normal_scores(values[kept], visits)
    scores = scores[:, scores.std(axis=0) > 0] if slots else scores
    counts = np.unique([slot.subject_id for slot in slots], return_counts=True)[1]
    if scores.shape[1] == 0 or int((counts >= 2).sum()) < FEWEST_SUBJECTS:
        return None
    return _Profiles(slots=tuple(slots), accession_ids=tuple(accessions[slot] for slot in slots), scores=scores)


def _normal_scores(values: NDArray[np.float64], visits: NDArray[np.str_]) -> NDArray[np.float64]:
    """Rank each measurand within each visit and lay it on a normal scale; what was not measured lies in the middle."""
    scores = np.zeros_like(values)
    for visit in np.unique(visits):
        here = visits == visit
        for column in range(values.shape[1]):
            known = here & ~np.isnan(values[:, column])
            ranks = rankdata(values[known, column])
            scores[known, column] = norm.ppf((ranks - 0.375) / (ranks.size + 0.25))
    return scores


def _log_ratios(profiles: _Profiles) -> NDArray[np.float64]:
    """Return, for every two specimens, the logarithm of the likelihood of a swap over that of the labels."""
    subjects = np.array([slot.subject_id for slot in profiles.slots])
    within, between = _covariances(profiles.scores, subjects)
    codes, place = np.unique(subjects, return_inverse=True)
    counts = np.bincount(place, minlength=codes.size)
    sums = np.zeros((codes.size, profiles.scores.shape[1]))
    np.add.at(sums, place, profiles.scores)
    # What else is known of the subject of each place: all its specimens but the one in question.
    others = counts[place] - 1
    means = (sums[place] - profiles.scores) / np.maximum(others, 1)[:, None]
    fits = np.empty((subjects.size, subjects.size))
    for count in np.unique(others):
        here = others == count
        fits[:, here] = _log_likelihoods(profiles.scores, means[here], int(count), within, between)
    own = np.diag(fits)
    ratios: NDArray[np.float64] = fits + fits.T - own[:, None] - own[None, :]
    ratios[subjects[:, None] == subjects[None, :]] = -np.inf
    return ratios


def _covariances(scores: NDArray[np.float64], subjects: NDArray[np.str_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the covariance within subjects and between them."""
    _, place = np.unique(subjects, return_inverse=True)
    counts = np.bincount(place)
    means = np.zeros((counts.size, scores.shape[1]))
    np.add.at(means, place, scores)
    means /= counts[:, None]
    residuals = scores - means[place]
    within = residuals.T @ residuals / max(1, scores.shape[0] - counts.size)
    within = (1.0 - _SHRINKAGE) * within + _SHRINKAGE * np.diag(np.diag(within)) + 1e-6 * np.eye(scores.shape[1])
    heights, directions = np.linalg.eigh(np.cov(scores, rowvar=False).reshape(within.shape) - within)
    between = (directions * np.maximum(heights, 1e-6)) @ directions.T
    return within, between


def _log_likelihoods(
    scores: NDArray[np.float64],
    means: NDArray[np.float64],
    count: int,
    within: NDArray[np.float64],
    between: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log-likelihood of every specimen in places whose subjects have so many other specimens with these means."""
    drawn = between @ np.linalg.inv(between + within / count) if count else np.zeros_like(within)
    spread = between + within - drawn @ between
    root = np.linalg.cholesky((spread + spread.T) / 2.0)
    expected = np.linalg.solve(root, drawn @ means.T).T
    squares = cdist(np.linalg.solve(root, scores.T).T, expected, "sqeuclidean")
    logs: NDArray[np.float64] = -0.5 * squares - float(np.log(np.diag(root)).sum())
    return logs


def _together(
    one: tuple[_Profiles, NDArray[np.float64]], other: tuple[_Profiles, NDArray[np.float64]]
) -> tuple[_Profiles, NDArray[np.float64]]:
    """Add up what two assays say of whole draws."""
    shared = sorted(set(one[0].slots) & set(other[0].slots))
    ratios = np.zeros((len(shared), len(shared)))
    accessions: list[list[str]] = [[] for _ in shared]
    for profiles, own in (one, other):
        at = {slot: index for index, slot in enumerate(profiles.slots)}
        places = np.array([at[slot] for slot in shared], dtype=np.intp)
        ratios += own[np.ix_(places, places)]
        for here, index in zip(accessions, places.tolist(), strict=True):
            here.append(profiles.accession_ids[index])
    joined = tuple(";".join(dict.fromkeys(ids)) for ids in accessions)
    return _Profiles(slots=tuple(shared), accession_ids=joined, scores=np.zeros((len(shared), 0))), ratios


def _suspicions(profiles: _Profiles, ratios: NDArray[np.float64], assays: tuple[str, ...]) -> list[SwapSuspicion]:
    pairs = max(1, int(np.isfinite(ratios).sum()) // 2)
    threshold = math.log(pairs / FALSE_ALARM_RATE)
    upper = np.triu(ratios, k=1)
    return [
        SwapSuspicion(
            accession_ids=(profiles.accession_ids[first], profiles.accession_ids[second]),
            subject_ids=(profiles.slots[first].subject_id, profiles.slots[second].subject_id),
            visits=(profiles.slots[first].visit, profiles.slots[second].visit),
            assays=assays,
            log_likelihood_ratio=float(ratios[first, second]),
            threshold=threshold,
        )
        for first, second in np.argwhere(upper > threshold).tolist()
    ]


def _best_pairs(found: Iterable[SwapSuspicion]) -> tuple[SwapSuspicion, ...]:
    """Keep the most likely pairs; a subject is in one alone, because a swap makes its other visits look odd as well."""
    taken: set[str] = set()
    kept = []
    for one in sorted(found, key=lambda one: (-one.log_likelihood_ratio, one.accession_ids, one.assays)):
        if not taken.intersection(one.subject_ids):
            taken.update(one.subject_ids)
            kept.append(one)
    return tuple(kept)


def swap_findings(suspicions: Iterable[SwapSuspicion]) -> Mapping[str, Finding]:
    """Return the finding of each accession suspected."""
    found: dict[str, Finding] = {}
    for one in suspicions:
        for at, other in ((0, 1), (1, 0)):
            for accession_id in one.accession_ids[at].split(";"):
                found[accession_id] = Finding(
                    code=SWAP_SUSPECTED,
                    severity=Severity.WARNING,
                    where=f"Specimen '{accession_id}' of subject '{one.subject_ids[at]}' at {one.visits[at]}.",
                    message=f"By its profile in {' and '.join(one.assays)} it fits subject '{one.subject_ids[other]}' at "
                    f"{one.visits[other]} better, and specimen '{one.accession_ids[other]}' fits this one "
                    f"(log-likelihood ratio {one.log_likelihood_ratio:.1f}, threshold {one.threshold:.1f}).",
                    remedy="Check tubes, plate map and labels of both subjects at all visits; correct the lists, or note that "
                    "they are right.",
                )
    return found
