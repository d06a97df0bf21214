"""From light to optical density to stains, and back.

Knows the white point of a slide and the directions of its stains. Must not know cells, tissue or files. Optical density is
-log10(light / white point) for each of red, green and blue, with its sign: values just below 0 are the noise of clear glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.errors import StainError
from biomarkers.ihc.slide import RgbImage

Vector: TypeAlias = tuple[float, float, float]
FloatImage: TypeAlias = NDArray[np.float32]

DARKEST_GLASS = 150
"""Light of clear glass never falls below this on an 8-bit scanner; darker pictures have no white point."""

LIGHT_DENSITY, DARK_DENSITY = 0.05, 1.0
"""Pixels outside these limits tell nothing about a stain's direction: too little dye, or too little light (QuPath's limits)."""

GLASS_PEAK_HALF_WIDTH = 9
"""A peak of the brightness histogram (red + green + blue, 0 to 765) is higher than all within so many steps."""

GREY_COSINE = float(np.cos(0.15))
"""Pixels nearer than .15 rad to grey are dirt, pen or folds (QuPath's test)."""

FEWEST_STAINED_PIXELS = 300
"""Below this a direction would be the noise of a few pixels; the protocol's is used instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhitePoint:
    """Light through empty glass, and the share of the picture that is that bright."""

    red: float
    green: float
    blue: float
    glass_share: float

    @property
    def rgb(self) -> Vector:
        """The three channels."""
        return (self.red, self.green, self.blue)


@dataclass(frozen=True, slots=True, kw_only=True)
class StainVectors:
    """Unit directions of haematoxylin and DAB in optical density; the residual is perpendicular to both."""

    haematoxylin: Vector
    dab: Vector

    @classmethod
    def of(cls, haematoxylin: Vector, dab: Vector) -> StainVectors:
        """Make unit vectors of any two directions.

        Raises
        ------
        StainError
            The directions are nearly the same, so that the stains cannot be told apart.
        """
        first, second = _unit(np.asarray(haematoxylin)), _unit(np.asarray(dab))
        if angle_deg(_vector(first), _vector(second)) < 10.0:
            raise StainError(
                what="The directions of haematoxylin and DAB lie within 10 degrees of each other.",
                where="Stain directions.",
                remedy="Correct the directions in the stain protocol.",
            )
        return cls(haematoxylin=_vector(first), dab=_vector(second))

    @property
    def residual(self) -> Vector:
        """What neither stain explains."""
        return _vector(_unit(np.cross(self.haematoxylin, self.dab)))

    def mixing(self) -> NDArray[np.float64]:
        """Rows are haematoxylin, DAB and residual; amounts (n, 3) @ mixing = optical density (n, 3)."""
        return np.asarray([self.haematoxylin, self.dab, self.residual])


@dataclass(frozen=True, slots=True, kw_only=True)
class StainEstimate:
    """A slide's stain directions, and which of them had to be taken from the protocol and why.

    Attributes
    ----------
    angle_deg_by_stain
        Angle between what the slide shows and the protocol's direction; absent where too few pixels are stained.
    defaulted
        Names of the stains whose direction is the protocol's.
    residual_share
        Share of the stained pixels' squared optical density that neither stain explains.
    """

    vectors: StainVectors
    angle_deg_by_stain: tuple[tuple[str, float], ...]
    defaulted: tuple[str, ...]
    residual_share: float


def angle_deg(one: Vector, other: Vector) -> float:
    """Angle between two directions in degrees."""
    cosine = float(np.dot(_unit(np.asarray(one)), _unit(np.asarray(other))))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def find_white_point(coarse: RgbImage) -> WhitePoint:
    """Find the light of clear glass in a coarse picture of a slide.

    Clear glass is the brightest kind of pixel that makes up a visible part of the picture: the brightest peak of the
    brightness histogram that reaches a tenth of the highest one. A picture full of tissue gives its lightest tissue; the
    small ``glass_share`` then says so.

    Raises
    ------
    StainError
        Nothing in the picture is bright enough to be glass.
    """
    pixels = coarse.reshape(-1, 3)
    brightness = pixels.astype(np.uint16).sum(axis=1)
    histogram = np.bincount(brightness, minlength=766).astype(np.float64)
    smooth = np.convolve(histogram, np.ones(9) / 9, mode="same")
    smooth[: 3 * DARKEST_GLASS] = 0.0
    if not smooth.any():
        raise StainError(
            what=f"No part of the picture is as bright as empty glass (mean light above {DARKEST_GLASS} of 255).",
            where="White point.",
            remedy="Check the exposure of the scan; a fluorescence or inverted picture cannot be scored.",
        )
    # Pale tissue peaks only some steps below the glass and may be the taller peak; the brightest peak is the glass.
    wide = np.lib.stride_tricks.sliding_window_view(np.pad(smooth, GLASS_PEAK_HALF_WIDTH), 2 * GLASS_PEAK_HALF_WIDTH + 1)
    tops = np.flatnonzero((smooth >= 0.1 * smooth.max()) & (smooth == wide.max(axis=1)))
    peak = int(tops[-1])
    at_peak = np.abs(brightness.astype(np.int32) - peak) <= 6
    red, green, blue = np.median(pixels[at_peak], axis=0)
    glass = np.all(pixels >= np.asarray([red, green, blue]) * 0.96, axis=1)
    return WhitePoint(red=float(red), green=float(green), blue=float(blue), glass_share=float(glass.mean()))


def density_table(white: Vector) -> FloatImage:
    """Optical density of every 8-bit light, shape (256, 3); light 0 counts as 1, the darkest a scanner can tell."""
    light = np.maximum(np.arange(256, dtype=np.float64), 1.0)[:, None]
    return np.asarray(-np.log10(light / np.asarray(white)[None, :]), dtype=np.float32)


def optical_density(rgb: RgbImage, white: Vector) -> FloatImage:
    """Optical density of each channel, shape (height, width, 3)."""
    return np.asarray(cv2.LUT(rgb, density_table(white).reshape(1, 256, 3)), dtype=np.float32)


def separate_stains(rgb: RgbImage, white: Vector, vectors: StainVectors) -> FloatImage:
    """Amounts of haematoxylin, DAB and residual in optical density, shape (height, width, 3)."""
    return unmixed(optical_density(rgb, white), vectors)


def unmixed(density: FloatImage, vectors: StainVectors) -> FloatImage:
    """Amounts of the stains that make up the optical density of the three channels, shape (height, width, 3)."""
    unmixing = np.linalg.inv(vectors.mixing())
    return np.asarray(cv2.transform(density, unmixing.T.astype(np.float32)), dtype=np.float32)


def compose_light(stains: NDArray[np.floating], white: Vector, vectors: StainVectors) -> RgbImage:
    """Light that passes the given amounts of haematoxylin, DAB and residual; the inverse of :func:`separate_stains`."""
    density = np.asarray(stains, dtype=np.float64) @ vectors.mixing()
    light = np.asarray(white) * np.power(10.0, -density)
    return np.asarray(np.clip(np.rint(light), 0, 255), dtype=np.uint8)


def estimate_vectors(rgb: RgbImage, white: Vector, expected: StainVectors, *, largest_angle_deg: float) -> StainEstimate:
    """Find the directions of a slide's stains in a sample of its tissue.

    After Macenko et al. (2009), ISBI: the stained pixels span a plane in optical density, and the two stains are the ends of
    the fan they form in it. The ends are percentiles of the pixels nearer to each expected stain, so that a slide with few
    positive cells does not lose its DAB direction to the noise of the many others. A direction farther than
    ``largest_angle_deg`` from the expected one is not believed.

    Parameters
    ----------
    rgb
        Pixels of tissue at working resolution, shape (height, width, 3).
    """
    density = cv2.blur(optical_density(rgb, white), (3, 3)).reshape(-1, 3).astype(np.float64)
    length = np.linalg.norm(density, axis=1)
    usable = (density >= LIGHT_DENSITY).all(axis=1) & (length <= DARK_DENSITY)
    usable &= density.sum(axis=1) < GREY_COSINE * np.sqrt(3.0) * length
    stained = density[usable]
    default = {"haematoxylin": expected.haematoxylin, "dab": expected.dab}
    if len(stained) < FEWEST_STAINED_PIXELS:
        return StainEstimate(vectors=expected, angle_deg_by_stain=(), defaulted=tuple(default), residual_share=0.0)
    found = _fan_ends(stained, expected)
    angles = {name: angle_deg(direction, default[name]) for name, direction in found.items()}
    believed = {name: found[name] for name, angle in angles.items() if angle <= largest_angle_deg}
    chosen = default | believed
    if angle_deg(chosen["haematoxylin"], chosen["dab"]) < 0.5 * angle_deg(expected.haematoxylin, expected.dab):
        believed, chosen = {}, default
    vectors = StainVectors.of(chosen["haematoxylin"], chosen["dab"])
    residual = stained @ np.asarray(vectors.residual)
    share = float(np.sqrt((residual**2).sum() / (stained**2).sum()))
    return StainEstimate(
        vectors=vectors,
        angle_deg_by_stain=tuple(angles.items()),
        defaulted=tuple(name for name in default if name not in believed),
        residual_share=share,
    )


def _fan_ends(stained: NDArray[np.float64], expected: StainVectors) -> dict[str, Vector]:
    """Directions at both ends of the stained pixels' fan, by stain; a stain with too few pixels is absent."""
    _, axes = np.linalg.eigh(np.cov(stained, rowvar=False))
    plane = axes[:, [2, 1]]
    if plane[:, 0].sum() < 0:
        plane[:, 0] *= -1.0
    flat = stained @ plane
    angle = np.arctan2(flat[:, 1], flat[:, 0])
    ends: dict[str, Vector] = {}
    centre = _plane_angle(expected.haematoxylin, plane), _plane_angle(expected.dab, plane)
    middle = 0.5 * (centre[0] + centre[1])
    strong = np.linalg.norm(flat, axis=1) >= 3.0 * LIGHT_DENSITY
    for name, own, other in (("haematoxylin", *centre), ("dab", *centre[::-1])):
        side = strong & (np.sign(angle - middle) == np.sign(own - other))
        if side.sum() < FEWEST_STAINED_PIXELS:
            continue
        share = 10.0 if own < other else 90.0
        end = float(np.percentile(angle[side], share))
        ends[name] = _vector(_unit(plane @ np.asarray([np.cos(end), np.sin(end)])))
    return ends


def _plane_angle(direction: Vector, plane: NDArray[np.float64]) -> float:
    along, across = np.asarray(direction) @ plane
    return float(np.arctan2(across, along))


def _unit(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return direction / np.linalg.norm(direction)


def _vector(direction: NDArray[np.float64]) -> Vector:
    red, green, blue = (float(part) for part in direction)
    return (red, green, blue)
