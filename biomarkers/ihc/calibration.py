"""What is found once for a whole slide, before its tiles are measured: white point, stains, tissue, thresholds.

Knows which parts of a slide to look at. Must not know files, cells' scores or the study.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.artefacts import FOCUS_BLOCK, Artefact, ArtefactMasks, find_artefacts
from biomarkers.ihc.detection import NuclearLevel, nuclear_level
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.slide import (
    Region,
    RgbImage,
    SlideImage,
    Tile,
    TileGrid,
    WorkingScale,
    read_working,
    working_scale,
)
from biomarkers.ihc.stains import (
    StainEstimate,
    StainVectors,
    Vector,
    WhitePoint,
    density_table,
    estimate_vectors,
    find_white_point,
    separate_stains,
)
from biomarkers.ihc.tissue import BARE_GLASS_SHARE, TissueMap, find_tissue
from biomarkers.results import Finding, Severity

LARGEST_COARSE_PIXELS = 8_000_000
"""The coarse picture of a slide stays below this, whatever its size; its pixels grow instead."""

COARSE_CHUNK_PX = 2048
SAMPLE_SIDE_PX = 256
LARGEST_SAMPLE_COUNT = 16
LARGE_ARTEFACT_SHARE = 0.1
"""Share of the tissue from which on what was left out is a warning rather than a note."""

COARSEST_USABLE_UM = 1.05
"""With wider pixels a lymphocyte's nucleus is some five pixels across and neighbours cannot be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """What a tile needs to know of its slide; small, for it travels with every tile."""

    scale: WorkingScale
    white: Vector
    vectors: StainVectors
    nuclei: NuclearLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideCalibration:
    """One slide looked at as a whole.

    Attributes
    ----------
    pixel_size_um
        Of level 0; None when nobody says.
    findings
        What the slide itself gives reason to say, in the order it was found.
    """

    slide_name: str
    acquired_at: str
    pixel_size_um: float | None
    white_point: WhitePoint
    stains: StainEstimate
    optics: Optics
    tissue: TissueMap
    artefacts: ArtefactMasks
    findings: tuple[Finding, ...]

    @property
    def evaluable(self) -> TissueMap:
        """The tissue that shows no pen, fold or dark place."""
        return TissueMap(mask=self.tissue.mask & ~self.artefacts.any, step=self.tissue.step)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileTask:
    """One tile to measure, with the part of the mask of evaluable tissue its core covers."""

    tile: Tile
    tissue: NDArray[np.bool_]
    tissue_step: int


def calibrate_slide(slide: SlideImage, protocol: StainProtocol) -> SlideCalibration:
    """Find white point, tissue, stain directions and the nuclear threshold of a slide.

    Raises
    ------
    StainError
        Nothing on the slide is bright enough to be empty glass.
    """
    settings = protocol.detection
    scale = working_scale(slide, target_um=settings.pixel_size_um, assumed_pixel_size_um=settings.assumed_pixel_size_um)
    step = _tissue_step(scale, protocol.tissue.pixel_size_um)
    coarse = coarse_picture(slide, scale, step)
    white = find_white_point(coarse)
    mask = find_tissue(coarse, white.rgb, white.glass_share, protocol.tissue, step * scale.pixel_size_um)
    tissue = TissueMap(mask=mask, step=step)
    expected = StainVectors.of(protocol.directions.haematoxylin, protocol.directions.dab)
    pixel_um = step * scale.pixel_size_um
    # A first look with the protocol's stains keeps pen out of the places from which the slide's own stains are found.
    first = find_artefacts(coarse, white.rgb, expected, mask, protocol.artefacts, pixel_size_um=pixel_um)
    clean = TissueMap(mask=mask & ~first.any, step=step)
    regions = tuple(_sample_regions(coarse, white.rgb, clean, scale))
    samples = [read_working(slide, scale, region) for region in regions]
    tissue_pixels = [
        sample[_enlarged(clean.crop(region), step, sample.shape)] for sample, region in zip(samples, regions, strict=True)
    ]
    stains = _stains_of(tissue_pixels, white.rgb, expected, protocol)
    if stains.residual_share > protocol.directions.largest_residual_share:
        artefacts = ArtefactMasks.of(mask.shape, {})  # another stain's colours all look like ink
    else:
        artefacts = find_artefacts(coarse, white.rgb, stains.vectors, mask, protocol.artefacts, pixel_size_um=pixel_um)
    haematoxylin = [np.ascontiguousarray(separate_stains(sample, white.rgb, stains.vectors)[..., 0]) for sample in samples]
    level = nuclear_level(haematoxylin, settings, scale.pixel_size_um)
    return SlideCalibration(
        slide_name=slide.name,
        acquired_at=slide.acquired_at,
        pixel_size_um=slide.pixel_size_um,
        white_point=white,
        stains=stains,
        optics=Optics(scale=scale, white=white.rgb, vectors=stains.vectors, nuclei=level),
        tissue=tissue,
        artefacts=artefacts,
        findings=(
            *slide.findings,
            *_findings(slide, scale, white, stains, protocol),
            *_artefact_findings(slide.name, tissue, artefacts, protocol),
        ),
    )


def tile_tasks(calibration: SlideCalibration, protocol: StainProtocol) -> tuple[TileTask, ...]:
    """List the tiles that hold tissue; the others cost nothing."""
    scale, tissue = calibration.optics.scale, calibration.evaluable
    block = FOCUS_BLOCK * tissue.step
    side = max(1, protocol.detection.tile_px // block) * block
    halo = round(protocol.detection.halo_um / scale.pixel_size_um)
    grid = TileGrid(width=scale.width, height=scale.height, tile=side, halo=halo)
    tasks = (TileTask(tile=tile, tissue=tissue.crop(tile.core), tissue_step=tissue.step) for tile in grid)
    return tuple(task for task in tasks if task.tissue.any())


def _tissue_step(scale: WorkingScale, target_um: float) -> int:
    step = max(1, round(target_um / scale.pixel_size_um))
    while scale.width * scale.height > LARGEST_COARSE_PIXELS * step * step:
        step *= 2
    return step


def coarse_picture(slide: SlideImage, scale: WorkingScale, step: int) -> RgbImage:
    """Picture the whole slide with ``step`` working pixels to a pixel, from the coarsest level that resolves it."""
    wanted = step * scale.factor
    index = max(number for number, level in enumerate(slide.levels) if number == 0 or level.downsample <= wanted * 1.01)
    level = slide.levels[index]
    reduction = min(max(1, int(wanted / level.downsample + 0.01)), level.width, level.height)
    columns, rows = level.width // reduction, level.height // reduction
    picture = np.empty((rows, columns, 3), dtype=np.uint8)
    chunk = max(1, COARSE_CHUNK_PX // reduction)
    for top in range(0, rows, chunk):
        for left in range(0, columns, chunk):
            height, width = min(chunk, rows - top), min(chunk, columns - left)
            region = Region(x=left * reduction, y=top * reduction, width=width * reduction, height=height * reduction)
            pixels = slide.read_region(index, region)
            picture[top : top + height, left : left + width] = cv2.resize(
                pixels, (width, height), interpolation=cv2.INTER_AREA
            ).reshape(height, width, 3)
    size = (-(-scale.width // step), -(-scale.height // step))
    if size == (columns, rows):
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8).reshape(size[1], size[0], 3)


def _sample_regions(coarse: RgbImage, white: Vector, tissue: TissueMap, scale: WorkingScale) -> Iterator[Region]:
    """Choose squares of tissue: some spread evenly over it, some where it is brownest, so that few positive cells are seen."""
    block = max(1, SAMPLE_SIDE_PX // tissue.step)
    area = tissue.block_pixels(block)
    table = density_table(white)
    brown = np.where(tissue.mask, table[:, 2][coarse[..., 2]] - table[:, 0][coarse[..., 0]], 0.0)
    padded = np.zeros((area.shape[0] * block, area.shape[1] * block))
    padded[: brown.shape[0], : brown.shape[1]] = brown
    brownness = padded.reshape(area.shape[0], block, area.shape[1], block).max(axis=(1, 3)).ravel()
    full = np.flatnonzero(area.ravel() >= min(0.5 * block * block, 0.5 * area.max(initial=0)))
    full = full[area.ravel()[full] > 0]
    evenly = full[np.unique(np.linspace(0, len(full) - 1, LARGEST_SAMPLE_COUNT // 2).astype(np.intp))] if len(full) else full
    rest = np.setdiff1d(full, evenly)
    brownest = rest[np.argsort(-brownness[rest], kind="stable")[: LARGEST_SAMPLE_COUNT // 2]]
    side = block * tissue.step
    for index in np.union1d(evenly, brownest):
        x, y = int(index) % area.shape[1] * side, int(index) // area.shape[1] * side
        yield Region(x=x, y=y, width=min(side, scale.width - x), height=min(side, scale.height - y))


def _enlarged(mask: NDArray[np.bool_], step: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Spread a coarse mask over the working pixels of the region it was cut for."""
    return np.repeat(np.repeat(mask, step, axis=0), step, axis=1)[: shape[0], : shape[1]]


def _stains_of(
    samples: list[NDArray[np.uint8]], white: Vector, expected: StainVectors, protocol: StainProtocol
) -> StainEstimate:
    """Find the stains in pixels of tissue, each sample of shape (pixels, 3)."""
    if not samples:
        return StainEstimate(vectors=expected, angle_deg_by_stain=(), defaulted=("haematoxylin", "dab"), residual_share=0.0)
    pixels = np.concatenate(samples).reshape(-1, 1, 3)
    return estimate_vectors(pixels, white, expected, largest_angle_deg=protocol.directions.largest_angle_deg)


def _findings(
    slide: SlideImage, scale: WorkingScale, white: WhitePoint, stains: StainEstimate, protocol: StainProtocol
) -> Iterator[Finding]:
    where = f"Slide '{slide.name}', stain {protocol.stain}."
    if scale.is_assumed:
        yield Finding(
            code="NO_PIXEL_SIZE",
            severity=Severity.WARNING,
            where=where,
            message=f"The picture does not state its pixel size; cells were sought as if it were {_assumed(protocol)} µm.",
            remedy="Declare the pixel size (--pixel-size-um, or pixel_size_um in the sidecar); without it no density is given.",
        )
    elif scale.pixel_size_um > COARSEST_USABLE_UM:
        yield Finding(
            code="RESOLUTION_TOO_LOW",
            severity=Severity.REJECT,
            where=where,
            message=f"The finest pixels are {scale.pixel_size_um:.3g} µm wide; cells need {COARSEST_USABLE_UM:g} µm or less.",
            remedy="Scan at 20x or more, or correct the pixel size.",
        )
    if white.glass_share < BARE_GLASS_SHARE:
        yield Finding(
            code="NO_EMPTY_GLASS",
            severity=Severity.NOTE,
            where=where,
            message=f"Only {white.glass_share:.1%} of the picture is bright; the white point is that of the palest tissue.",
            remedy="Optical densities may be too low; scan some empty glass with the tissue.",
        )
    if stains.residual_share > protocol.directions.largest_residual_share:
        yield Finding(
            code="WRONG_STAIN",
            severity=Severity.REJECT,
            where=where,
            message=f"Haematoxylin and DAB leave {stains.residual_share:.0%} of the colour unexplained, "
            f"more than the {protocol.directions.largest_residual_share:.0%} that is believed; this may be an H&E slide.",
            remedy="Check that the slide is stained with DAB and haematoxylin.",
        )
    if stains.defaulted:
        measured = dict(stains.angle_deg_by_stain)
        far = [f"{name} lies {measured[name]:.0f}° off" for name in stains.defaulted if name in measured]
        missing = [f"{name} colours too few pixels" for name in stains.defaulted if name not in measured]
        yield Finding(
            code="STAIN_VECTORS_DEFAULTED",
            severity=Severity.WARNING if far else Severity.NOTE,
            where=where,
            message=f"The protocol's direction was used for {' and '.join(stains.defaulted)}: {', '.join([*far, *missing])}.",
            remedy="Nothing if the slide has next to no stain of that kind; else look at the slide.",
        )


def _artefact_findings(
    slide_name: str, tissue: TissueMap, artefacts: ArtefactMasks, protocol: StainProtocol
) -> Iterator[Finding]:
    for artefact, code, remedy in (
        (Artefact.PEN, "PEN", "Nothing if the marked part may be left out; else clean the slide and scan it again."),
        (Artefact.FOLD, "FOLD", "Nothing if the fold may be left out; else cut a further section."),
        (Artefact.NO_LIGHT, "NO_LIGHT", "Look for dirt or an air bubble; scan the slide again."),
    ):
        share = float((artefacts.mask(artefact) & tissue.mask).sum()) / max(1, int(tissue.mask.sum()))
        if share > 0:
            yield Finding(
                code=code,
                severity=Severity.WARNING if share >= LARGE_ARTEFACT_SHARE else Severity.NOTE,
                where=f"Slide '{slide_name}', stain {protocol.stain}.",
                message=f"{share:.1%} of the tissue is covered ({artefact.value}) and was left out.",
                remedy=remedy,
            )


def _assumed(protocol: StainProtocol) -> str:
    return f"{protocol.detection.assumed_pixel_size_um:g}"
