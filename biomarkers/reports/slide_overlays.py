"""Cells drawn onto pictures of a slide, from the whole section down to single cells, as PNG.

Knows zooms and colours. Must not know how cells were found. Every picture is bounded in size, whatever the slide.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import PIL.ImageDraw

from biomarkers.ihc.calibration import SlideCalibration
from biomarkers.ihc.overlay import COLOUR_BY_CLASS
from biomarkers.ihc.scoring import CellTable
from biomarkers.ihc.slide import Region, SlideImage
from biomarkers.reports.slide_pictures import FieldPicture

WHOLE_PX = 1536
MIDDLE_UM = 1200.0
"""Width of the middle zoom: a few glands or nests with what surrounds them."""

MIDDLE_PX = 960
MARK_UM = 3.5


def overlay_pictures(
    slide: SlideImage, calibration: SlideCalibration, cells: CellTable, fields: tuple[FieldPicture, ...]
) -> dict[str, bytes]:
    """Draw every cell at three zooms: the whole section, the surroundings of each field, and each field with borders.

    Returns
    -------
    dict
        PNG by name: ``overlay.png``, then ``overlay-1-around.png`` and ``overlay-1.png`` for the first field, and so on.
    """
    level = slide.levels[0]
    whole = Region(x=0, y=0, width=level.width, height=level.height)
    pictures = {"overlay.png": _png(marked(slide, calibration, cells, whole, WHOLE_PX))}
    level_0_um = calibration.optics.scale.pixel_size_um / calibration.optics.scale.factor
    for number, field in enumerate(fields, start=1):
        around = _around(field.region, round(MIDDLE_UM / level_0_um), whole)
        if around != whole:
            pictures[f"overlay-{number}-around.png"] = _png(marked(slide, calibration, cells, around, MIDDLE_PX))
        pictures[f"overlay-{number}.png"] = _png(outlined(field))
    return pictures


def _around(region: Region, side: int, whole: Region) -> Region:
    """Take a square around the middle of a region, moved so that it lies on the slide."""
    width, height = min(side, whole.width), min(side, whole.height)
    x = min(max(0, region.x + region.width // 2 - width // 2), whole.width - width)
    y = min(max(0, region.y + region.height // 2 - height // 2), whole.height - height)
    return Region(x=x, y=y, width=width, height=height)


def marked(
    slide: SlideImage, calibration: SlideCalibration, cells: CellTable, region: Region, longest_px: int
) -> PIL.Image.Image:
    """Picture a region given in level-0 pixels with a mark for every cell; at most ``longest_px`` a side.

    Negative cells are drawn first, so that among many of them the few positive ones are seen.
    """
    reduction = max(1.0, max(region.width, region.height) / longest_px)
    picture = _read_reduced(slide, region, reduction)
    drawing = PIL.ImageDraw.Draw(picture)
    pixel_um = calibration.optics.scale.pixel_size_um / calibration.optics.scale.factor * reduction
    radius = MARK_UM / pixel_um
    inside = region.holds(cells.x_px, cells.y_px)
    shown = cells.kept(inside)
    order = np.argsort(shown.intensity_class, kind="stable")
    x, y = ((place + 0.5 - start) / reduction for place, start in ((shown.x_px, region.x), (shown.y_px, region.y)))
    for index in order.tolist():
        colour = COLOUR_BY_CLASS[int(shown.intensity_class[index])]
        centre_x, centre_y = float(x[index]), float(y[index])
        if radius >= 2:
            box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
            drawing.ellipse(box, outline=colour)
        else:
            drawing.point((centre_x, centre_y), fill=colour)
    return picture


def _read_reduced(slide: SlideImage, region: Region, reduction: float) -> PIL.Image.Image:
    """Read a region at a lower resolution, in bands, from the coarsest level that holds it."""
    index = max(number for number, level in enumerate(slide.levels) if number == 0 or level.downsample <= reduction)
    level = slide.levels[index]
    left, top = int(region.x / level.downsample), int(region.y / level.downsample)
    width = max(1, min(level.width - left, round(region.width / level.downsample)))
    height = max(1, min(level.height - top, round(region.height / level.downsample)))
    wide, high = max(1, round(region.width / reduction)), max(1, round(region.height / reduction))
    picture = PIL.Image.new("RGB", (wide, high))
    # A slide without a pyramid is read at full resolution; one band of it at a time stays small.
    band = max(1, int(high * 4_000_000 / (width * height)))
    for start in range(0, high, band):
        stop = min(high, start + band)
        first, last = start * height // high, max(start * height // high + 1, stop * height // high)
        pixels = slide.read_region(index, Region(x=left, y=top + first, width=width, height=last - first))
        part = PIL.Image.fromarray(pixels).resize((wide, stop - start), PIL.Image.Resampling.BOX)
        picture.paste(part, (0, start))
    return picture


def outlined(field: FieldPicture) -> PIL.Image.Image:
    """Picture a field at full resolution with the border of every cell."""
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(field.photo.partition(",")[2]))).convert("RGB")
    drawing = PIL.ImageDraw.Draw(picture)
    for outline in field.outlines:
        drawing.line([*outline.corners, outline.corners[0]], fill=COLOUR_BY_CLASS[outline.intensity_class], width=2)
    return picture


def _png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
