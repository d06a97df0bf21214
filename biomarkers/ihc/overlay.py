"""Cells drawn onto the slide, to be looked at.

Knows colours and circles. Must not know files or how the cells were found.
"""

from __future__ import annotations

import cv2
import numpy as np

from biomarkers.ihc.calibration import SlideCalibration, coarse_picture
from biomarkers.ihc.scoring import CellTable
from biomarkers.ihc.slide import RgbImage, SlideImage

LARGEST_SIDE_PX = 4096
CIRCLE_UM = 3.5

COLOUR_BY_CLASS = ((40, 90, 255), (255, 220, 0), (255, 140, 0), (230, 0, 0))
"""Blue for negative, then yellow, orange and red for 1+, 2+ and 3+; as QuPath colours them."""


def draw_cells(slide: SlideImage, calibration: SlideCalibration, cells: CellTable) -> RgbImage:
    """Circle every cell in the colour of its intensity class on a picture of at most 4096 pixels a side."""
    scale = calibration.optics.scale
    step = max(1, -(-max(scale.width, scale.height) // LARGEST_SIDE_PX))
    picture = np.ascontiguousarray(coarse_picture(slide, scale, step))
    factor = step * scale.factor
    radius = max(1, round(CIRCLE_UM / (step * scale.pixel_size_um)))
    for x, y, grade in zip(cells.x_px / factor, cells.y_px / factor, cells.intensity_class, strict=True):
        cv2.circle(picture, (round(float(x)), round(float(y))), radius, COLOUR_BY_CLASS[int(grade)], 1, cv2.LINE_AA)
    return picture
