"""`biomarkers ihc`: one image, without a lab; and how well people and a lab's results agree.

Knows what is asked for and how a score is shown. Must not know how it is computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say
from biomarkers.cli.reader_agreement import agreement
from biomarkers.cli.slide_tables import batches, pairs

if TYPE_CHECKING:
    from biomarkers.ihc.analysis import TileMeasurement
    from biomarkers.ihc.calibration import SlideCalibration, TileTask
    from biomarkers.ihc.labels import LabelImage
    from biomarkers.ihc.protocol import StainProtocol
    from biomarkers.ihc.records import AreaRecord, ScoreRecord, SlideAnalysis
    from biomarkers.ihc.regions import Annotation
    from biomarkers.ihc.scoring import CellTable
    from biomarkers.ihc.slide import SlideOpener
    from biomarkers.provenance import JsonValue

app = typer.Typer(no_args_is_help=True, help="Immunohistochemistry: score stained tissue sections.")
app.command()(agreement)
app.command()(batches)
app.command()(pairs)

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


def _page_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.casefold() != ".html":
        raise typer.BadParameter("the file's name must end in .html")
    return path


def _overlay_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.casefold() != ".png":
        raise typer.BadParameter("the file's name must end in .png")
    return path


@app.command()
def score(
    image: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="Slide or field: OME-TIFF, TIFF, SVS, NDPI, QPTIFF, MRXS, PNG, JPEG and others."
        ),
    ],
    *,
    stain: Annotated[str, typer.Option(help="Packaged stain (cd4, cd8, pdl1, ki67) or a stain protocol's TOML file.")],
    pixel_size_um: Annotated[
        float | None, typer.Option(min=0.02, max=20.0, help="Width of a pixel in micrometres, where the file does not say.")
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="QuPath annotations (GeoJSON) classed Tumor, Stroma, Invasive margin, Necrosis or Exclude.",
        ),
    ] = None,
    cells: Annotated[
        Path | None,
        typer.Option(callback=_cell_file, help="Write every cell: .parquet, or .geojson.gz as QuPath opens it."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(callback=_overlay_file, help="Write a PNG with every cell marked by its class.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(callback=_page_file, help="Write the quality page (.html): masks, stains, fields with cells, scores."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Nuclei found by StarDist, Cellpose or InstanSeg (.tif, .png, .npy: 0 outside nuclei) in place of our own.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="CSV with label and class (tumour, lymphocyte, macrophage, other): for TPS and CPS.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score one image: positive cells in percent, per mm2 of tissue, and the H-score, with 95 % intervals.

    Accuracy was shown on nuclear Ki-67. Membrane CD4, CD8 and PD-L1 are not yet proven against labelled cells; CD4+ cells are
    not T cells alone; TPS by image analysis needs a pathologist's confirmation.
    """
    from biomarkers.ihc.analysis import calibrate_slide, parameters, score_slide, tile_tasks
    from biomarkers.provenance import Provenance, canonical_json, software_version, utc_now
    from biomarkers.readers.annotations import read_annotations
    from biomarkers.readers.slides import open_slide
    from biomarkers.readers.stain_protocols import packaged_protocol, read_protocol

    if classes is not None and labels is None:
        raise typer.BadParameter("--classes says what the cells of --labels are; give both.")
    if labels is not None and cells is not None and cells.suffix != ".parquet":
        raise typer.BadParameter("with --labels the outlines are another program's; write the cells as .parquet.")
    protocol = read_protocol(Path(stain)) if stain.endswith(".toml") else packaged_protocol(stain)
    opener = partial(open_slide, image, pixel_size_um=pixel_size_um)
    annotations: tuple[Annotation, ...] = ()
    with opener() as slide:
        if roi is not None:
            level = slide.levels[0]
            annotations = read_annotations(roi, width=level.width, height=level.height)
        calibration = calibrate_slide(slide, protocol)
        size = slide.levels[0].width, slide.levels[0].height
    tasks = tile_tasks(calibration, protocol)
    if labels is None:
        tiles = sorted(_measured(opener, tasks, calibration, protocol), key=lambda tile: tile.tile_index)
    else:
        from biomarkers.readers.label_images import read_label_image

        labelled = read_label_image(labels, width=size[0], height=size[1], classes=classes)
        tiles = _labelled(opener, tasks, calibration, protocol, labelled)
    provenance = Provenance(
        sources=(),
        inputs=(),
        software=software_version(),
        parameters=canonical_json(parameters(protocol)),
        computed_at=utc_now(),
    )
    analysis = score_slide(
        tiles,
        calibration,
        protocol,
        scores=() if classes is None else ("TPS", "CPS"),
        accession_id="",
        run_id="",
        provenance=provenance,
        annotations=annotations,
        known_classes=None if labels is None or labelled.class_by_label is None else set(labelled.class_by_label.values()),
    )
    measured = _Measured(
        opener=opener,
        calibration=calibration,
        protocol=protocol,
        tiles=tiles,
        annotations=annotations,
        analysis=analysis,
        are_found_elsewhere=labels is not None,
    )
    if cells is not None:
        _write_cells(cells, measured)
    if overlay is not None:
        _write_overlay(overlay, measured)
    if page is not None:
        _write_page(page, measured)
    if as_json:
        print_json(_document(analysis))
    else:
        _show(analysis)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A slide measured and scored, ready to be written down."""

    opener: SlideOpener
    calibration: SlideCalibration
    protocol: StainProtocol
    tiles: Sequence[TileMeasurement]
    annotations: Sequence[Annotation]
    analysis: SlideAnalysis
    are_found_elsewhere: bool = False

    def scored_cells(self) -> CellTable:
        """Return the cells that count."""
        from biomarkers.reports.slide_files import scored_cells

        return scored_cells(self.tiles, self.calibration, self.protocol, self.annotations)


def _write_cells(path: Path, measured: _Measured) -> None:
    from biomarkers.readers.cell_files import write_cells_parquet
    from biomarkers.reports.slide_files import cells_with_borders

    calibration, protocol = measured.calibration, measured.protocol
    if path.suffix == ".parquet":
        write_cells_parquet(path, measured.scored_cells(), pixel_size_um=calibration.pixel_size_um)
        return
    with measured.opener() as slide:
        cells_with_borders(path, slide, calibration, protocol, measured.tiles, annotations=measured.annotations)


def _write_overlay(path: Path, measured: _Measured) -> None:
    from biomarkers.ihc.overlay import draw_cells
    from biomarkers.readers.cell_files import write_picture

    with measured.opener() as slide:
        write_picture(path, draw_cells(slide, measured.calibration, measured.scored_cells()))


def _write_page(path: Path, measured: _Measured) -> None:
    from biomarkers.ihc.section import areas_of
    from biomarkers.reports.slide_page import slide_page
    from biomarkers.reports.slide_pictures import slide_pictures

    areas = areas_of(measured.tiles, measured.calibration, measured.protocol, measured.annotations)
    with measured.opener() as slide:
        pictures = slide_pictures(
            slide,
            measured.calibration,
            measured.protocol,
            measured.scored_cells(),
            annotations=measured.annotations,
            areas=areas,
            are_found_elsewhere=measured.are_found_elsewhere,
        )
    path.write_text(slide_page(measured.analysis, pictures, title=f"Slide {measured.analysis.run.name}"), encoding="utf-8")


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


def _labelled(
    opener: SlideOpener,
    tasks: tuple[TileTask, ...],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    labelled: LabelImage,
) -> list[TileMeasurement]:
    """Measure cells found elsewhere, in this process: the label image would cross to others with every tile."""
    from biomarkers.ihc.labels import measure_labels

    with opener() as slide:
        return [measure_labels(slide, task, calibration.optics, protocol, labelled) for task in tasks]


def _document(analysis: SlideAnalysis) -> JsonValue:
    whole, *regions = analysis.scores
    figures = _figures(whole)
    findings = dict.fromkeys(finding for record in analysis.scores for finding in record.findings)
    return {
        "stain": analysis.stain,
        "pixel_size_um": analysis.pixel_size_um,
        "tissue_area_mm2": figures.pop("area_mm2"),
        **figures,
        "regions": [{"region": record.region, **_figures(record)} for record in regions],
        "areas": [_area(area) for area in analysis.areas],
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
            for finding in findings
        ],
    }


def _area(area: AreaRecord) -> JsonValue:
    return {"name": area.name, "area_mm2": area.area_mm2, "percent_of_tissue": 100.0 * area.share_of_tissue}


def _figures(record: ScoreRecord) -> dict[str, JsonValue]:
    from biomarkers.results import Severity

    return {
        "area_mm2": record.area_mm2,
        "cells": record.cells,
        "positive": record.positive,
        "positive_percent": record.positive_percent,
        "density_per_mm2": record.density_per_mm2,
        "h_score": record.h_score,
        "h_score_of": record.h_score_cells,
        "classes": dict(record.class_counts),
        "intervals": {name: [limits.lower, limits.upper] for name, limits in record.intervals.items()},
        "tps": record.tps,
        "cps": record.cps,
        "not_evaluable": [finding.message for finding in record.findings if finding.severity is Severity.REJECT],
    }


def _show(analysis: SlideAnalysis) -> None:
    for record in analysis.scores:
        rows: list[tuple[str, object, object, object]] = [
            ("positive cells, %", record.positive_percent, *_limits(record, "positive_percent")),
            ("positive cells per mm2 of tissue", record.density_per_mm2, *_limits(record, "density_per_mm2")),
            (f"H-score of {record.h_score_cells}", record.h_score, *_limits(record, "h_score")),
            *((("TPS, %", record.tps, *_limits(record, "tps")),) if record.tps is not None else ()),
            *((("CPS", record.cps, *_limits(record, "cps")),) if record.cps is not None else ()),
            ("area, mm2", record.area_mm2, None, None),
            ("cells", record.cells, None, None),
            *((f"cells {name}", count, None, None) for name, count in record.class_counts.items()),
        ]
        title = f"{analysis.run.name}, {analysis.stain}, {record.region}"
        print_table(("score", "value", "lower 95 %", "upper 95 %"), rows, title=title)
    for finding in dict.fromkeys(finding for record in analysis.scores for finding in record.findings):
        say(f"{finding.severity.value.upper()} {finding.code}: {finding.message} {finding.remedy}")


def _limits(record: ScoreRecord, name: str) -> tuple[float | None, float | None]:
    interval = record.intervals.get(name)
    return (None, None) if interval is None else (interval.lower, interval.upper)
