"""One stained slide as a scanner writes it, with the truth of the cells on it.

Knows light through dyes, how stains and scanners vary, and pyramidal OME-TIFF. Must not know arms or other specimens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from numpy.random import Generator
from numpy.typing import NDArray

from biomarkers.results import Assay
from biomarkers.simulation.courses import TissueStain
from biomarkers.simulation.sections import PIXEL_SIZE_UM, DrawnSection, draw_section
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.truth import TrueValue

HAEMATOXYLIN = (0.650, 0.704, 0.286)
DAB = (0.268, 0.570, 0.776)
"""Optical density of the dyes in red, green and blue (Ruifrok and Johnston, Anal Quant Cytol Histol 2001;23:291)."""

TILE_PX = 256
LEVEL_STEP = 4
LEVELS = 3

_JPEG_QUALITY = 92
_CAMERA_NOISE = 1.6
_STRIP_PX = 128
_UNITS = {"DENSITY_TISSUE": "cells/mm2", "PCT_POSITIVE": "%", "HSCORE": "H-score"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideJob:
    """All that decides one slide's bytes, beside the seed.

    Attributes
    ----------
    scores
        What the study reports of the stain; their truth is counted over drawn cells and the drawn outline.
    is_scrap
        The tissue came off: almost only glass is left.
    kept_share
        Share of the file's bytes that were written; less than 1 for a copy that broke off.
    """

    seed: int
    accession_id: str
    subject_id: str
    visit: str
    file_name: str
    stain: str
    scores: tuple[str, ...]
    size_px: int
    tissue: TissueStain
    is_scrap: bool = False
    kept_share: float = 1.0

    @property
    def assay(self) -> Assay:
        """Whose inbox the file belongs into."""
        return Assay.IHC

    def write(self, folder: Path) -> tuple[TrueValue, ...]:
        """Write the file and return what is true of it."""
        rng = stream(self.seed, "slide", self.accession_id, self.stain)
        section = draw_section(self.tissue, self.size_px, is_scrap=self.is_scrap, rng=rng)
        content = ome_tiff(scanned(section, rng), name=f"{self.accession_id} {self.stain}")
        (folder / self.file_name).write_bytes(content[: round(self.kept_share * len(content))])
        return tuple(self._truth(section))

    def _truth(self, section: DrawnSection) -> Iterator[TrueValue]:
        cells, positive = sum(section.grades), sum(section.grades[1:])
        if cells == 0 or section.tissue_area_mm2 == 0.0:
            return
        value_by_score = {
            "DENSITY_TISSUE": positive / section.tissue_area_mm2,
            "PCT_POSITIVE": 100.0 * positive / cells,
            "HSCORE": 100.0 * sum(grade * count for grade, count in enumerate(section.grades)) / cells,
        }
        for score in self.scores:
            yield TrueValue(
                accession_id=self.accession_id,
                subject_id=self.subject_id,
                visit=self.visit,
                assay=Assay.IHC,
                measurand=f"{self.stain}_{score}",
                value=value_by_score[score],
                unit=_UNITS[score],
            )


def scanned(section: DrawnSection, rng: Generator) -> NDArray[np.uint8]:
    """Let light through the dyes: red, green and blue of 8 bits, shape (size, size, 3).

    Each slide has its own dye vectors (some degrees about the usual ones), strengths and white point.
    """
    blue, brown = _turned(HAEMATOXYLIN, rng), _turned(DAB, rng)
    strength = np.exp(np.array([0.12, 0.03]) * rng.standard_normal(2))
    white = rng.uniform(236.0, 250.0) + rng.uniform(-3.0, 3.0, 3)
    natural = -np.log(10.0) * np.stack([blue * strength[0], brown * strength[1]])
    size = section.dab.shape[0]
    noise = _camera_noise(size, rng)
    picture = np.empty((size, size, 3), dtype=np.uint8)
    # A strip at a time stays in the processor's cache: twice as fast as whole channels.
    for top in range(0, size, _STRIP_PX):
        strip = slice(top, min(top + _STRIP_PX, size))
        for channel in range(3):
            light = section.haematoxylin[strip] * np.float32(natural[0, channel])
            light += section.dab[strip] * np.float32(natural[1, channel])
            np.exp(light, out=light)
            light *= np.float32(white[channel])
            light += noise[channel, : light.shape[0]]
            np.clip(light, 0.0, 255.0, out=light)
            picture[strip, :, channel] = light
    return picture


def _turned(vector: tuple[float, float, float], rng: Generator) -> NDArray[np.float64]:
    """Turn a dye's vector by a few degrees at random; its length is 1."""
    turned = np.array(vector) / np.linalg.norm(vector) + 0.025 * rng.standard_normal(3)
    unit: NDArray[np.float64] = turned / np.linalg.norm(turned)
    return unit


def _camera_noise(size: int, rng: Generator) -> NDArray[np.float32]:
    """Noise of one strip, used all over the slide: fresh noise for every pixel would cost more than all the rest."""
    noise = rng.standard_normal((3, _STRIP_PX, min(size, 512)), dtype=np.float32)
    noise = np.tile(noise, (1, 1, -(-size // noise.shape[2])))[:, :, :size]
    # Half a step up: conversion to 8 bits cuts off, it does not round.
    return np.float32(_CAMERA_NOISE) * noise + np.float32(0.5)


def ome_tiff(picture: NDArray[np.uint8], *, name: str) -> bytes:
    """Write a tiled pyramid, its smaller levels as SubIFDs, JPEG inside, with the pixel size in OME-XML.

    The bytes hold no time, no random id and no software version: the same picture gives the same file.
    """
    levels = [picture]
    while len(levels) < LEVELS and min(levels[-1].shape[:2]) >= 2 * LEVEL_STEP:
        levels.append(_reduced(levels[-1]))
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for number, level in enumerate(levels):
            tiff.write(
                level,
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=0 if number == 0 else 1,
                tile=(TILE_PX, TILE_PX),
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                # Full colour resolution: a membrane is thinner than a pixel of halved chroma.
                subsampling=(1, 1),
                photometric="rgb",
                resolution=(_pixels_per_cm(number), _pixels_per_cm(number)),
                resolutionunit="CENTIMETER",
                description=_ome_xml(picture, name) if number == 0 else None,
                metadata=None,
                software="",
                maxworkers=1,
            )
    return buffer.getvalue()


def _pixels_per_cm(level: int) -> float:
    return 10_000.0 / (PIXEL_SIZE_UM * float(LEVEL_STEP**level))


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average blocks of pixels; what does not fill a block is left out."""
    height, width = (length // LEVEL_STEP for length in picture.shape[:2])
    whole = picture[: height * LEVEL_STEP, : width * LEVEL_STEP]
    total = np.zeros((height, width, 3), dtype=np.uint16)
    for down in range(LEVEL_STEP):
        for right in range(LEVEL_STEP):
            total += whole[down::LEVEL_STEP, right::LEVEL_STEP]
    return (total // LEVEL_STEP**2).astype(np.uint8)


def _ome_xml(picture: NDArray[np.uint8], name: str) -> str:
    height, width = picture.shape[:2]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 '
        'http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="simulated scanner">'
        f'<Image ID="Image:0" Name="{name}">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeC="3" SizeZ="1" '
        f'SizeT="1" Interleaved="true" PhysicalSizeX="{PIXEL_SIZE_UM}" PhysicalSizeXUnit="&#181;m" '
        f'PhysicalSizeY="{PIXEL_SIZE_UM}" PhysicalSizeYUnit="&#181;m">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
