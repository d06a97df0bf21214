"""One process or two: the same cells and scores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import tifffile

from biomarkers.ihc.analysis import calibrate_slide, measure_tiles, score_slide, tile_tasks
from biomarkers.provenance import Provenance
from biomarkers.readers.slides import open_slide
from biomarkers.readers.stain_protocols import packaged_protocol


def test_two_processes_find_what_one_finds(paint_slide: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tiff"
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, paint_slide().pixels, tile=(256, 256), photometric="rgb", compression="jpeg", metadata=metadata)
    protocol = packaged_protocol("cd8")
    protocol = protocol.model_copy(update={"detection": protocol.detection.model_copy(update={"tile_px": 512})})
    opener = partial(open_slide, path)
    with opener() as slide:
        calibration = calibrate_slide(slide, protocol)
    tasks = tile_tasks(calibration, protocol)
    assert len(tasks) == 4
    measure = partial(measure_tiles, opener, optics=calibration.optics, protocol=protocol)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        together = [tile for tiles in executor.map(measure, [tasks[:1], tasks[1:]]) for tile in tiles]
    provenance = Provenance(
        sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    score = partial(
        score_slide, calibration=calibration, protocol=protocol, scores=("DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE"),
        accession_id="A-1", run_id="ihc-1", provenance=provenance,
    )  # fmt: skip
    assert score(together) == score(measure(tasks))
