"""Ellipses around a cloud of cells, found in spite of the strangers among them.

Knows robust location and scatter in two channels, and how far an ellipse would move on another tube of the same cells. Must not
know markers' biology or populations. Everything is deterministic: the draws come from a generator seeded by the caller.

References
----------
Rousseeuw PJ, Van Driessen K. A fast algorithm for the minimum covariance determinant estimator. Technometrics 1999;41:212-223.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

CORE_SHARE = 0.75
"""Share of the seed that decides location and scatter: a quarter of it may be debris or doublets without moving the ellipse."""

EFFICIENCY = 0.35
"""Events of a plain mean and covariance that are as certain as one of the core's: what robustness costs, measured on Gaussian
clouds."""

MEDIAN_CHI_SQUARE = 1.3862943611198906
"""Median of chi-square with two degrees of freedom, 2 ln 2: half of a Gaussian cloud lies within this squared distance."""

MOST_STEPS = 60
"""Concentration steps; each lowers the determinant, and some tens suffice for any number of events."""

DRAWS = 48
"""Bootstrap draws, as many as of a cut."""

FEWEST_FOR_ELLIPSE = 50
"""Events below which an ellipse's width is known to no better than a tenth."""

MOST_FOR_ELLIPSE = 20_000
"""Events from which the ellipse is measured; with as many its width is known to half a percent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ellipse:
    """A gate in the plane of two channels: keeps events whose squared Mahalanobis distance is at most ``distance_square``.

    Attributes
    ----------
    markers
        The two channels, in the order of centre and covariance; values are on the display scale.
    centre, covariance
        Shapes (2,) and (2, 2), as in Gating-ML's EllipsoidGate.
    distance_square
        Limit of the squared distance.
    quality
        0 to 1: how clear the valleys were that told the seed; None without a seed.
    beyond_percent
        Events just outside (up to half as far again) in percent of those inside, of events all other gates of the population
        keep: many mean that the limit cuts through cells.
    origin
        Around what it was drawn.
    draws
        Centres and covariances found again on resampled seeds: shape (draws, 5) of x, y, xx, xy, yy.
    """

    markers: tuple[str, str]
    centre: Points
    covariance: Points
    distance_square: float
    quality: float | None
    origin: str
    beyond_percent: float = 0.0
    draws: Points = field(default_factory=lambda: np.empty((0, 5)))

    def keeps(self, x: Column, y: Column) -> Mask:
        """Tell which events lie inside; events without a value do not."""
        kept: Mask = square_distance(x, y, self.centre, self.covariance) <= self.distance_square
        return kept

    def percent_just_outside(self, x: Column, y: Column) -> float:
        """Events just outside, up to half as far again, in percent of those inside."""
        squares = square_distance(x, y, self.centre, self.covariance)
        inside = int(np.count_nonzero(squares <= self.distance_square))
        shell = int(np.count_nonzero((squares > self.distance_square) & (squares <= 2.25 * self.distance_square)))
        return 100.0 * shell / inside if inside else 0.0


def square_distance(x: Column, y: Column, centre: Points, covariance: Points) -> npt.NDArray[np.float64]:
    """Squared Mahalanobis distance of each event.

    Examples
    --------
    >>> at = np.array([3.0], dtype=np.float32), np.array([0.0], dtype=np.float32)
    >>> float(square_distance(*at, np.zeros(2), np.eye(2))[0])
    9.0
    """
    xx, xy, yy = float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])
    determinant = xx * yy - xy * xy
    across, up = x.astype(np.float64) - centre[0], y.astype(np.float64) - centre[1]
    result: npt.NDArray[np.float64] = (yy * across * across - 2.0 * xy * across * up + xx * up * up) / determinant
    return result


def robust_cloud(x: Column, y: Column) -> tuple[Points, Points] | None:
    """Return centre and covariance of the main cloud; None where there are too few events or no spread.

    Concentration steps from the medians keep the :data:`CORE_SHARE` of events nearest to the cloud until they no longer
    change; the covariance is then scaled so that half of all events lie within the median distance of a Gaussian, which a
    minority of strangers, wherever they lie, hardly moves.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    points = np.column_stack((x[finite], y[finite])).astype(np.float64)
    if len(points) < FEWEST_FOR_ELLIPSE:
        return None
    # Sorted, so that neither the choice among many events nor the last bit of a sum depends on their order in the file.
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    if len(points) > MOST_FOR_ELLIPSE:
        points = points[np.linspace(0, len(points) - 1, MOST_FOR_ELLIPSE).astype(np.intp)]
    centre = np.median(points, axis=0)
    spread = 1.4826 * np.median(np.abs(points - centre), axis=0)
    if not (spread > 0).all():
        return None
    covariance = np.diag(spread**2)
    size = int(np.ceil(CORE_SHARE * len(points)))
    squares = _squares(points, centre, covariance)
    core = np.argpartition(squares, size - 1)[:size]
    for _ in range(MOST_STEPS):
        centre = points[core].mean(axis=0)
        covariance = np.cov(points[core].T)
        if not np.linalg.det(covariance) > 0:
            return None
        squares = _squares(points, centre, covariance)
        nearer = np.argpartition(squares, size - 1)[:size]
        if np.array_equal(np.sort(nearer), np.sort(core)):
            break
        core = nearer
    return centre, covariance * float(np.median(squares)) / MEDIAN_CHI_SQUARE


def redraw(centre: Points, covariance: Points, events: int, seed: int) -> Points:
    """Draw centre and covariance again as other tubes of as many events would give them.

    The estimate spreads like a Gaussian's own centre and covariance from :data:`EFFICIENCY` times as many events, whose
    sampling distributions are, for so many, Gaussian (with a Wishart's moments).
    """
    rng = np.random.default_rng(seed)
    core = max(EFFICIENCY * min(events, MOST_FOR_ELLIPSE), 2.0)
    (xx, xy), (_, yy) = covariance
    around = np.array(
        [
            [2 * xx * xx, 2 * xx * xy, 2 * xy * xy],
            [2 * xx * xy, xx * yy + xy * xy, 2 * xy * yy],
            [2 * xy * xy, 2 * xy * yy, 2 * yy * yy],
        ]
    )
    # The factors of Gaussian vectors come from Cholesky's decomposition, which is the same on every platform.
    places = rng.standard_normal((DRAWS, 2)) @ np.linalg.cholesky(covariance / core).T + centre
    shapes = rng.standard_normal((DRAWS, 3)) @ np.linalg.cholesky(around / core).T + np.array([xx, xy, yy])
    return np.column_stack((places, shapes))


def moved_counts(ellipse: Ellipse, x: Column, y: Column) -> npt.NDArray[np.float64]:
    """Count events inside each drawn ellipse, as differences from the ellipse itself."""
    squares = square_distance(x, y, ellipse.centre, ellipse.covariance)
    # Only events near the limit can change sides.
    near = (squares > 0.5 * ellipse.distance_square) & (squares < 1.6 * ellipse.distance_square)
    x, y = x[near], y[near]
    inside = int(np.count_nonzero(squares[near] <= ellipse.distance_square))
    moved = np.empty(len(ellipse.draws))
    for number, (across, up, xx, xy, yy) in enumerate(ellipse.draws):
        drawn = square_distance(x, y, np.array([across, up]), np.array([[xx, xy], [xy, yy]]))
        moved[number] = np.count_nonzero(drawn <= ellipse.distance_square) - inside
    return moved


def _squares(points: Points, centre: Points, covariance: Points) -> npt.NDArray[np.float64]:
    xx, xy, yy = float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])
    across, up = points[:, 0] - centre[0], points[:, 1] - centre[1]
    result: npt.NDArray[np.float64] = (yy * across * across - 2.0 * xy * across * up + xx * up * up) / (xx * yy - xy * xy)
    return result
