"""What a slide's page shows besides numbers: the section, a few fields at full resolution, the histogram of DAB.

Knows a slide, its calibration and its cells. Must not know how a page is laid out. Everything is bounded in size, and can be
made again from the raw file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.analysis import measure_tile, outline_tile
from biomarkers.ihc.areas import SlideAreas
from biomarkers.ihc.calibration import SlideCalibration, TileTask, coarse_picture
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.scoring import CellTable
from biomarkers.ihc.slide import Region, RgbImage, SlideImage, Tile
from biomarkers.readers.cell_files import octagons
from biomarkers.reports.figures import photograph

THUMBNAIL_PX = 900
"""Longest side of the picture of the whole section."""

FIELD_UM = 160.0
FIELD_LARGEST_PX = 640
"""A field is as wide as 160 micrometres, and never wider than so many pixels of the slide."""

HISTOGRAM_BINS = 72

_OUTLINE = (0, 140, 90)
_LEFT_OUT = (235, 40, 235)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMark:
    """A cell in a field: its place in the field's pixels, and its intensity class."""

    x: float
    y: float
    intensity_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOutline:
    """The border of a cell's nucleus in the field's pixels, and its intensity class."""

    corners: tuple[tuple[float, float], ...]
    intensity_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPicture:
    """A field at full resolution.

    Attributes
    ----------
    reason
        Why this one is shown.
    region
        Where it lies, in level-0 pixels.
    photo
        Its pixels as a ``data:`` address, nothing drawn on them.
    cells
        The cells in it.
    outlines
        Their borders, found again for this field alone.
    cell_radius_px
        Of the mark around a cell.
    pixel_size_um
        None where nobody says.
    """

    reason: str
    region: Region
    photo: str
    cells: tuple[CellMark, ...]
    outlines: tuple[CellOutline, ...]
    cell_radius_px: float
    pixel_size_um: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLine:
    """A line of an annotation in the section picture's pixels; ``kind`` is its class as one word."""

    kind: str
    name: str
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionPicture:
    """The whole section with the border of its tissue drawn on it, and what was annotated.

    ``pixel_size_um`` is that of the picture, None where nobody says.
    """

    photo: str
    width: int
    height: int
    pixel_size_um: float | None
    level_0_per_pixel: float
    regions: tuple[RegionLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DabHistogram:
    """Cells by optical density of DAB, with the densities from which on a cell counts as 1+, 2+ and 3+."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    cutoffs: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlidePictures:
    """All pictures of a slide's page."""

    section: SectionPicture
    fields: tuple[FieldPicture, ...]
    histogram: DabHistogram


def slide_pictures(
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    cells: CellTable,
    *,
    annotations: Sequence[Annotation] = (),
    areas: SlideAreas | None = None,
    are_found_elsewhere: bool = False,
) -> SlidePictures:
    """Make the pictures of a slide's page.

    Parameters
    ----------
    cells
        Those that were scored.
    annotations
        Drawn on the section.
    areas
        Tissue that was left out is tinted.
    are_found_elsewhere
        The cells are another program's: each is drawn as an octagon of its place and area, not with a border found here.
    """
    return SlidePictures(
        section=section_picture(slide, calibration, annotations, areas),
        fields=field_pictures(slide, calibration, protocol, cells, areas, are_found_elsewhere=are_found_elsewhere),
        histogram=dab_histogram(cells, protocol.scoring.cutoffs),
    )


def section_picture(
    slide: SlideImage,
    calibration: SlideCalibration,
    annotations: Sequence[Annotation] = (),
    areas: SlideAreas | None = None,
) -> SectionPicture:
    """Picture the whole section with the border of the tissue that was measured."""
    scale = calibration.optics.scale
    step = max(1, -(-max(scale.width, scale.height) // THUMBNAIL_PX))
    picture = np.array(coarse_picture(slide, scale, step))
    mask = calibration.tissue.mask
    rows = np.minimum(np.arange(picture.shape[0]) * step // calibration.tissue.step, mask.shape[0] - 1)
    columns = np.minimum(np.arange(picture.shape[1]) * step // calibration.tissue.step, mask.shape[1] - 1)
    place = np.ix_(rows, columns)
    if areas is not None:
        left_out = (mask & ~areas.evaluable)[place]
        picture[left_out] = (0.5 * picture[left_out] + 0.5 * np.asarray(_LEFT_OUT)).astype(np.uint8)
    picture[_border(mask[place])] = _OUTLINE
    stated = calibration.pixel_size_um
    return SectionPicture(
        photo=photograph(picture),
        width=picture.shape[1],
        height=picture.shape[0],
        pixel_size_um=None if stated is None else stated * step * scale.factor,
        level_0_per_pixel=step * scale.factor,
        regions=tuple(_region_lines(annotations, step * scale.factor)),
    )


def _region_lines(annotations: Sequence[Annotation], level_0_per_pixel: float) -> Iterator[RegionLine]:
    for annotation in annotations:
        for ring in annotation.rings:
            # A line drawn by hand has a corner a pixel; the picture cannot show more than some thousand.
            every = max(1, len(ring) // 2000)
            corners = tuple((x / level_0_per_pixel, y / level_0_per_pixel) for x, y in ring[::every])
            yield RegionLine(kind=annotation.kind.value.replace(" ", "-"), name=annotation.name, corners=corners)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask within two pixels of its outside; the picture's own edge is no border."""
    inner = mask
    for _ in range(2):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def field_pictures(
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    cells: CellTable,
    areas: SlideAreas | None = None,
    *,
    are_found_elsewhere: bool = False,
) -> tuple[FieldPicture, ...]:
    """Choose up to three fields: the one with most positive cells, the one with most cells, and a usual one."""
    level, scale = slide.levels[0], calibration.optics.scale
    level_0_um = scale.pixel_size_um / scale.factor
    side = min(FIELD_LARGEST_PX, max(1, round(FIELD_UM / level_0_um)))
    columns, rows = -(-level.width // side), -(-level.height // side)
    column = np.clip((cells.x_px + 0.5) // side, 0, columns - 1).astype(np.intp)
    row = np.clip((cells.y_px + 0.5) // side, 0, rows - 1).astype(np.intp)
    index = row * columns + column
    every = np.bincount(index, minlength=rows * columns)
    positive = np.bincount(index[cells.intensity_class > 0], minlength=rows * columns)
    fields = []
    for reason, place in _chosen(every, positive):
        width, height = min(side, level.width), min(side, level.height)
        region = Region(
            x=min(place % columns * side, level.width - width),
            y=min(place // columns * side, level.height - height),
            width=width,
            height=height,
        )
        pixels: RgbImage = slide.read_region(0, region)
        fields.append(
            FieldPicture(
                reason=reason,
                region=region,
                photo=photograph(pixels),
                cells=_marks(cells, region),
                outlines=_octagons(cells, region, level_0_um)
                if are_found_elsewhere
                else _outlines(slide, calibration, protocol, region, areas),
                cell_radius_px=3.5 / level_0_um,
                pixel_size_um=calibration.pixel_size_um,
            )
        )
    return tuple(fields)


def _chosen(every: NDArray[np.intp], positive: NDArray[np.intp]) -> list[tuple[str, int]]:
    """Blocks to show with the reason; each once, none without cells."""
    chosen: list[tuple[str, int]] = []
    if positive.any():
        chosen.append(("most positive cells", int(np.argmax(positive))))
    left = every.copy()
    left[[place for _, place in chosen]] = 0
    if left.any():
        chosen.append(("most cells", int(np.argmax(left))))
    left[[place for _, place in chosen]] = 0
    filled = np.flatnonzero(left)
    if filled.size:
        usual = float(np.median(every[every > 0]))
        chosen.append(("as many cells as is usual", int(filled[np.argmin(np.abs(left[filled] - usual))])))
    return chosen


def _marks(cells: CellTable, region: Region) -> tuple[CellMark, ...]:
    inside = region.holds(cells.x_px, cells.y_px)
    return tuple(
        CellMark(x=float(x) + 0.5 - region.x, y=float(y) + 0.5 - region.y, intensity_class=int(grade))
        for x, y, grade in zip(cells.x_px[inside], cells.y_px[inside], cells.intensity_class[inside], strict=True)
    )


def _octagons(cells: CellTable, region: Region, level_0_um: float) -> tuple[CellOutline, ...]:
    """Draw the cells of a field where their own borders are not at hand."""
    shown = cells.kept(region.holds(cells.x_px, cells.y_px))
    corner = np.asarray([region.x, region.y])
    return tuple(
        CellOutline(corners=tuple((float(x), float(y)) for x, y in outline - corner), intensity_class=int(grade))
        for outline, grade in zip(octagons(shown, pixel_size_um=level_0_um), shown.intensity_class, strict=True)
    )


def _outlines(
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    region: Region,
    areas: SlideAreas | None,
) -> tuple[CellOutline, ...]:
    """Find the cells of a field again, with their borders: a fraction of a second, where the whole slide takes minutes."""
    task = _field_task(calibration, protocol, region)
    cells = measure_tile(slide, task, calibration.optics, protocol).cells
    outlines = outline_tile(slide, task, calibration.optics, protocol)
    inside = region.holds(cells.x_px, cells.y_px)
    if areas is not None:
        inside &= areas.evaluable_cells(cells)
    corner = np.asarray([region.x, region.y])
    return tuple(
        CellOutline(
            corners=tuple((float(x), float(y)) for x, y in outline - corner),
            intensity_class=int(grade),
        )
        for outline, grade, shown in zip(outlines, cells.intensity_class, inside, strict=True)
        if shown
    )


def _field_task(calibration: SlideCalibration, protocol: StainProtocol, region: Region) -> TileTask:
    """Make a tile that holds a field, begins on a pixel of the tissue mask and is read with the same margin as all tiles."""
    scale, step = calibration.optics.scale, calibration.tissue.step
    halo = round(protocol.detection.halo_um / scale.pixel_size_um)
    left, top = (int(place / scale.factor) // step * step for place in (region.x, region.y))
    right = min(scale.width, int((region.x + region.width) / scale.factor) + 2)
    bottom = min(scale.height, int((region.y + region.height) / scale.factor) + 2)
    core = Region(x=left, y=top, width=right - left, height=bottom - top)
    outer_left, outer_top = max(0, left - halo), max(0, top - halo)
    padded = Region(
        x=outer_left,
        y=outer_top,
        width=min(scale.width, right + halo) - outer_left,
        height=min(scale.height, bottom + halo) - outer_top,
    )
    tile = Tile(index=0, core=core, padded=padded)
    return TileTask(tile=tile, tissue=calibration.tissue.crop(core), tissue_step=step)


def dab_histogram(cells: CellTable, cutoffs: tuple[float, float, float]) -> DabHistogram:
    """Count cells by optical density; the few beyond the shown range lie in its last bins."""
    density = cells.dab_od[np.isfinite(cells.dab_od)]
    high = max(1.25 * cutoffs[2], float(np.percentile(density, 99.8)) if density.size else 0.0)
    low = min(0.0, float(np.percentile(density, 0.2)) if density.size else 0.0)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(density, low, high), bins=edges)
    return DabHistogram(counts=counts.astype(np.int64), edges=edges, cutoffs=cutoffs)
