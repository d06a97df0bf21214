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
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata

from biomarkers.results import Assay, Finding, Severity

SWAP_SUSPECTED = "SWAP_SUSPECTED"

FALSE_ALARM_RATE = 0.05
"""Greatest expected number of false suspicions in a whole study, as far as the model holds."""

FEWEST_SUBJECTS = 12
"""With fewer subjects of two visits the variances within and between are not known well enough."""

SMALLEST_SHARE_MEASURED = 0.8
"""A measurand with fewer values is left out; a specimen with fewer measurands too."""

_SHRINKAGE = 0.05
"""Share of the covariance within subjects that is drawn to its diagonal, so that few subjects do not make it singular."""

_CELLS_AT_ONCE = 50_000
"""Pairs of specimens held against each other at a time: less than half a megabyte a table."""


class PlannedValue(NamedTuple):
    """A number in the timepoint table at a planned visit; the bound itself where there is a comparator."""

    assay: str
    measurand: str
    subject_id: str
    visit: str
    accession_id: str
    value: float
    comparator: str


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


class _Slot(NamedTuple):
    """The place of a specimen: a subject's visit."""

    subject_id: str
    visit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profiles:
    """Specimens of one assay: their places, their accessions, and their measurands on the normal scale, one row each."""

    slots: tuple[_Slot, ...]
    accession_ids: tuple[str, ...]
    scores: NDArray[np.float64]


def find_swaps(values: Iterable[PlannedValue]) -> tuple[SwapSuspicion, ...]:
    """Look for pairs of specimens that were swapped, assay by assay and over the assays of one draw together.

    Parameters
    ----------
    values
        The numbers of the timepoint table at planned visits, in any order.

    Returns
    -------
    tuple of SwapSuspicion
        The most likely first; each subject is in one pair at most: look again when it has been cleared up. A swap of one
        subject's own visits cannot be seen, and of two subjects with two visits each it cannot be told which visit it was.
    """
    by_assay = {assay.value: _Gathered() for assay in Assay}
    for value in values:
        by_assay[value.assay].add(value)
    models: dict[str, _Model] = {}
    for assay, gathered in by_assay.items():
        profiles = _profiles(gathered)
        if profiles is not None:
            models[assay] = _model(profiles)
    found = [suspicion for assay, model in models.items() for suspicion in _suspicions({assay: model})]
    for one, other in combinations(models, 2):
        found += _suspicions({one: models[one], other: models[other]})
    return _best_pairs(found)


@dataclass(slots=True)
class _Gathered:
    """Values of one assay as they come, packed: of a large study there are hundreds of thousands."""

    places: dict[_Slot, int] = field(default_factory=dict)
    accession_ids: list[str] = field(default_factory=list)
    columns: dict[str, tuple[array[int], array[float]]] = field(default_factory=dict)

    def add(self, one: PlannedValue) -> None:
        """Note a value and where it belongs."""
        slot = _Slot(one.subject_id, one.visit)
        place = self.places.setdefault(slot, len(self.places))
        if place == len(self.accession_ids):
            self.accession_ids.append(one.accession_id)
        # Tubes of one draw can differ by measurand; the first by name stands for it, whatever order values come in.
        self.accession_ids[place] = min(self.accession_ids[place], one.accession_id)
        places, values = self.columns.setdefault(one.measurand, (array("q"), array("d")))
        places.append(place)
        # Bounds tie beyond all numbers of their side.
        values.append(one.value if not one.comparator else -math.inf if one.comparator == "<" else math.inf)


def _profiles(gathered: _Gathered) -> _Profiles | None:
    """Lay values out as one profile a specimen; None where there is too little to compare."""
    slots = sorted(gathered.places)
    order = [gathered.places[slot] for slot in slots]
    accession_ids = [gathered.accession_ids[place] for place in order]
    values = np.full((len(slots), len(gathered.columns)), np.nan)
    for column, measurand in enumerate(sorted(gathered.columns)):
        places, measured = gathered.columns[measurand]
        values[places, column] = measured
    values = values[order]
    values = values[:, (~np.isnan(values)).mean(axis=0) >= SMALLEST_SHARE_MEASURED] if slots else values
    kept = (~np.isnan(values)).mean(axis=1) >= SMALLEST_SHARE_MEASURED if values.shape[1] else np.zeros(len(slots), dtype=bool)
    slots, accession_ids = list(compress(slots, kept)), list(compress(accession_ids, kept))
    visits = np.array([slot.visit for slot in slots])
    scores = _normal_scores(values[kept], visits)
    scores = scores[:, scores.std(axis=0) > 0] if slots else scores
    counts = np.unique([slot.subject_id for slot in slots], return_counts=True)[1]
    if scores.shape[1] == 0 or int((counts >= 2).sum()) < FEWEST_SUBJECTS:
        return None
    return _Profiles(slots=tuple(slots), accession_ids=tuple(accession_ids), scores=scores)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """How likely each specimen of an assay is in each place, in a form that gives any part of that table at once.

    Attributes
    ----------
    others
        How many other specimens are known of the subject of each place.
    scores_by_others
        Scores of all specimens in units in which, given so many other specimens, distances are likelihoods.
    expected
        What is expected in each place, in the units of its number of others.
    log_roots
        Half the logarithm of the determinant of the spread in each place.
    own
        Log-likelihood of each specimen where it stands.
    """

    profiles: _Profiles
    others: NDArray[np.intp]
    scores_by_others: Mapping[int, NDArray[np.float64]]
    expected: NDArray[np.float64]
    log_roots: NDArray[np.float64]
    own: NDArray[np.float64]

    def log_ratios(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the logarithm of the likelihood of a swap over that of the labels, of some specimens with some."""
        swapped = self._fits(rows, columns) + self._fits(columns, rows).T
        ratios: NDArray[np.float64] = swapped - self.own[rows, None] - self.own[None, columns]
        return ratios

    def _fits(self, specimens: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.float64]:
        fits = np.empty((specimens.size, places.size))
        for count, scores in self.scores_by_others.items():
            here = self.others[places] == count
            fits[:, here] = -0.5 * cdist(scores[specimens], self.expected[places[here]], "sqeuclidean")
        fits -= self.log_roots[places]
        return fits


def _model(profiles: _Profiles) -> _Model:
    subjects = np.array([slot.subject_id for slot in profiles.slots])
    scores = profiles.scores
    within, between = _covariances(scores, subjects)
    codes, place = np.unique(subjects, return_inverse=True)
    sums = np.zeros((codes.size, scores.shape[1]))
    np.add.at(sums, place, scores)
    # What else is known of the subject of each place: all its specimens but the one in question.
    others = np.bincount(place, minlength=codes.size)[place] - 1
    means = (sums[place] - scores) / np.maximum(others, 1)[:, None]
    scores_by_others: dict[int, NDArray[np.float64]] = {}
    expected, log_roots, own = np.empty_like(scores), np.empty(subjects.size), np.empty(subjects.size)
    for count in np.unique(others).tolist():
        here = others == count
        drawn = between @ np.linalg.inv(between + within / count) if count else np.zeros_like(within)
        spread = between + within - drawn @ between
        root = np.linalg.cholesky((spread + spread.T) / 2.0)
        scores_by_others[count] = np.linalg.solve(root, scores.T).T
        expected[here] = np.linalg.solve(root, drawn @ means[here].T).T
        log_roots[here] = np.log(np.diag(root)).sum()
        own[here] = -0.5 * ((scores_by_others[count][here] - expected[here]) ** 2).sum(axis=1) - log_roots[here]
    return _Model(
        profiles=profiles, others=others, scores_by_others=scores_by_others, expected=expected, log_roots=log_roots, own=own
    )


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


def _suspicions(models: Mapping[str, _Model]) -> Iterator[SwapSuspicion]:
    """Hold every two draws that all these assays measured against each other, adding up what each assay says.

    Some rows of the table at a time: of thousands of specimens the whole would take gigabytes.
    """
    slots = sorted(set.intersection(*(set(model.profiles.slots) for model in models.values())))
    places = [_places(model.profiles, slots) for model in models.values()]
    accession_ids = [
        ";".join(
            dict.fromkeys(model.profiles.accession_ids[at[draw]] for model, at in zip(models.values(), places, strict=True))
        )
        for draw in range(len(slots))
    ]
    subjects, counts = np.unique([slot.subject_id for slot in slots], return_inverse=True, return_counts=True)[1:]
    threshold = math.log(max(1, (len(slots) ** 2 - int((counts**2).sum())) // 2) / FALSE_ALARM_RATE)
    rows_at_once = max(1, _CELLS_AT_ONCE // max(1, len(slots)))
    for start in range(0, len(slots), rows_at_once):
        rows, columns = np.arange(start, min(start + rows_at_once, len(slots))), np.arange(start, len(slots))
        ratios = sum(
            (model.log_ratios(at[rows], at[columns]) for model, at in zip(models.values(), places, strict=True)),
            start=np.zeros((rows.size, columns.size)),
        )
        ratios[subjects[rows, None] == subjects[None, columns]] = -np.inf
        for row, column in np.argwhere(np.triu(ratios, k=1) > threshold).tolist():
            first, second = start + row, start + column
            yield SwapSuspicion(
                accession_ids=(accession_ids[first], accession_ids[second]),
                subject_ids=(slots[first].subject_id, slots[second].subject_id),
                visits=(slots[first].visit, slots[second].visit),
                assays=tuple(models),
                log_likelihood_ratio=float(ratios[row, column]),
                threshold=threshold,
            )


def _places(profiles: _Profiles, slots: Iterable[_Slot]) -> NDArray[np.intp]:
    at = {slot: index for index, slot in enumerate(profiles.slots)}
    return np.array([at[slot] for slot in slots], dtype=np.intp)


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
