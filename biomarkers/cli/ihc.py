"""`biomarkers ihc`: one image, without a lab.

Knows what is asked for and how a score is shown. Must not know how it is computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.ihc.analysis import SlideAnalysis, TileMeasurement
    from biomarkers.ihc.calibration import SlideCalibration, TileTask
    from biomarkers.ihc.protocol import StainProtocol
    from biomarkers.ihc.slide import SlideOpener
    from biomarkers.provenance import JsonValue

app = typer.Typer(no_args_is_help=True, help="Immunohistochemistry: score stained tissue sections.")

FEW_TILES = 6
"""So few tiles are measured sooner than further processes have started."""

CELL_FILES = (".parquet", ".geojson", ".geojson.gz")


@app.callback()
def _group() -> None:
    """Immunohistochemistry: score stained tissue sections."""


def _cell_file(path: Path | None) -> Path | None:
    if path is not None and not path.name.endswith(CELL_FILES):
        raise typer.BadParameter(f"the file's name must end in {', '.join(CELL_FILES)}")
    return path


def _overlay_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.casefold() != ".png":
        raise typer.BadParameter("the file's name must end in .png")
    return path


@app.command()
def score(
    image: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Slide or field: OME-TIFF, TIFF, SVS, PNG or JPEG.")
    ],
    *,
    stain: Annotated[str, typer.Option(help="Packaged stain (cd4, cd8, pdl1, ki67) or a stain protocol's TOML file.")],
    pixel_size_um: Annotated[
        float | None, typer.Option(min=0.02, max=20.0, help="Width of a pixel in micrometres, where the file does not say.")
    ] = None,
    cells: Annotated[
        Path | None,
        typer.Option(callback=_cell_file, help="Write every cell: .parquet, or .geojson.gz as QuPath opens it."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(callback=_overlay_file, help="Write a PNG with every cell circled by its class.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score one image: positive cells in percent, per mm2 of tissue, and the H-score, with 95 % intervals."""
    from biomarkers.ihc.analysis import calibrate_slide, parameters, score_slide, slide_cells, tile_tasks
    from biomarkers.provenance import Provenance, canonical_json, software_version, utc_now
    from biomarkers.readers.slides import open_slide
    from biomarkers.readers.stain_protocols import packaged_protocol, read_protocol

    protocol = read_protocol(Path(stain)) if stain.endswith(".toml") else packaged_protocol(stain)
    opener = partial(open_slide, image, pixel_size_um=pixel_size_um)
    with opener() as slide:
        calibration = calibrate_slide(slide, protocol)
    tasks = tile_tasks(calibration, protocol)
    tiles = sorted(_measured(opener, tasks, calibration, protocol), key=lambda tile: tile.tile_index)
    provenance = Provenance(
        sources=(),
        inputs=(),
        software=software_version(),
        parameters=canonical_json(parameters(protocol)),
        computed_at=utc_now(),
    )
    analysis = score_slide(tiles, calibration, protocol, scores=(), accession_id="", run_id="", provenance=provenance)
    if cells is not None:
        _write_cells(cells, opener, list(zip(tasks, tiles, strict=True)), calibration, protocol)
    if overlay is not None:
        from biomarkers.ihc.overlay import draw_cells
        from biomarkers.readers.cell_files import write_picture

        with opener() as slide:
            write_picture(overlay, draw_cells(slide, calibration, slide_cells(tiles)))
    if as_json:
        print_json(_document(analysis))
    else:
        _show(analysis)


def _write_cells(
    path: Path,
    opener: SlideOpener,
    measured: Sequence[tuple[TileTask, TileMeasurement]],
    calibration: SlideCalibration,
    protocol: StainProtocol,
) -> None:
    from biomarkers.ihc.analysis import outline_tile, slide_cells
    from biomarkers.readers.cell_files import write_cells_geojson, write_cells_parquet

    if path.suffix == ".parquet":
        cells = slide_cells(tile for _, tile in measured)
        write_cells_parquet(path, cells, pixel_size_um=calibration.pixel_size_um)
        return
    with opener() as slide:
        write_cells_geojson(
            path, ((tile.cells, outline_tile(slide, task, calibration.optics, protocol)) for task, tile in measured)
        )


def _measured(
    opener: SlideOpener, tasks: tuple[TileTask, ...], calibration: SlideCalibration, protocol: StainProtocol
) -> Iterator[TileMeasurement]:
    """Measure all tiles; many of them in several processes, with a progress bar."""
    from biomarkers.ihc.analysis import measure_tiles

    if len(tasks) <= FEW_TILES:
        yield from measure_tiles(opener, tasks, calibration.optics, protocol)
        return
    import multiprocessing

    from rich.console import Console
    from rich.progress import Progress

    # Fresh processes: a forked one would share the position in an open slide.
    fresh = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(tasks))
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ProcessPoolExecutor(max_workers=workers, mp_context=fresh) as executor,
    ):
        bar = progress.add_task("Measuring tiles", total=len(tasks))
        chunks = [tasks[start : start + 4] for start in range(0, len(tasks), 4)]
        futures = [executor.submit(measure_tiles, opener, chunk, calibration.optics, protocol) for chunk in chunks]
        for future in as_completed(futures):
            measured = future.result()
            progress.advance(bar, len(measured))
            yield from measured


def _document(analysis: SlideAnalysis) -> JsonValue:
    from biomarkers.results import Severity

    record = analysis.scores[0]
    return {
        "stain": analysis.stain,
        "pixel_size_um": analysis.pixel_size_um,
        "tissue_area_mm2": record.area_mm2,
        "regions": [],
        "cells": record.cells,
        "positive": record.positive,
        "positive_percent": record.positive_percent,
        "density_per_mm2": record.density_per_mm2,
        "h_score": record.h_score,
        "classes": dict(record.class_counts),
        "intervals": {name: [limits.lower, limits.upper] for name, limits in record.intervals.items()},
        "tps": None,
        "cps": None,
        "not_evaluable": [finding.message for finding in record.findings if finding.severity is Severity.REJECT],
        "stain_vectors": {name: list(vector) for name, vector in analysis.stain_vectors.items()},
        "white_point": list(analysis.white_point),
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "where": finding.where,
                "message": finding.message,
                "remedy": finding.remedy,
            }
            for finding in record.findings
        ],
    }


def _show(analysis: SlideAnalysis) -> None:
    record = analysis.scores[0]
    rows: list[tuple[str, object, object, object]] = [
        ("positive cells, %", record.positive_percent, *_limits(analysis, "positive_percent")),
        ("positive cells per mm2 of tissue", record.density_per_mm2, *_limits(analysis, "density_per_mm2")),
        ("H-score of all cells", record.h_score, *_limits(analysis, "h_score")),
        ("tissue, mm2", record.area_mm2, None, None),
        ("cells", record.cells, None, None),
        *((f"cells {name}", count, None, None) for name, count in record.class_counts.items()),
    ]
    print_table(("score", "value", "lower 95 %", "upper 95 %"), rows, title=f"{analysis.run.name}, {analysis.stain}")
    for finding in record.findings:
        say(f"{finding.severity.value.upper()} {finding.code}: {finding.message} {finding.remedy}")


def _limits(analysis: SlideAnalysis, name: str) -> tuple[float | None, float | None]:
    interval = analysis.scores[0].intervals.get(name)
    return (None, None) if interval is None else (interval.lower, interval.upper)
