"""A slide's measured tiles joined into its scores, region by region.

Knows cells, areas and which reasons forbid which score. Must not know pictures, files, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.areas import FocusReading, ScoredRegion, SlideAreas, region_cells, slide_areas
from biomarkers.ihc.artefacts import Artefact
from biomarkers.ihc.calibration import LARGE_ARTEFACT_SHARE, SlideCalibration
from biomarkers.ihc.classes import (
    CELL_CLASSES,
    CellClass,
    ClassCounts,
    class_refusals,
    combined_positive_score,
    tumour_proportion_score,
)
from biomarkers.ihc.protocol import EvaluabilitySettings, StainProtocol
from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.scoring import (
    BlockCounts,
    CellTable,
    Estimate,
    density_per_mm2,
    h_score,
    positive_percent,
)
from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Finding, Quantity, Result, Run, Severity
from biomarkers.study.tissue import IHC_UNITS

StudyScore: TypeAlias = Literal["DENSITY_TISSUE", "DENSITY_TUMOUR", "PCT_POSITIVE", "HSCORE", "TPS", "CPS"]

_SCORE_NAMES: Mapping[StudyScore, str] = {
    "DENSITY_TISSUE": "density_per_mm2",
    "DENSITY_TUMOUR": "density_per_mm2",
    "PCT_POSITIVE": "positive_percent",
    "HSCORE": "h_score",
    "TPS": "tps",
    "CPS": "cps",
}

_ALL = ("positive_percent", "density_per_mm2", "h_score", "tps", "cps")

REFUSED_SCORES_BY_CODE: Mapping[str, tuple[str, ...]] = {
    "WRONG_STAIN": _ALL,
    "RESOLUTION_TOO_LOW": _ALL,
    "TOO_LITTLE_TISSUE": _ALL,
    "NO_TUMOUR_ANNOTATION": _ALL,
    "TOO_FEW_CELLS": ("positive_percent", "h_score", "tps", "cps"),
    "DENSITY_WITHOUT_PIXEL_SIZE": ("density_per_mm2",),
    "NEEDS_TUMOUR_CLASS": ("h_score", "tps", "cps"),
    "NEEDS_CELL_CLASSES": ("tps", "cps"),
    "ASSAY_UNDECLARED": ("tps", "cps"),
    "TOO_FEW_TUMOUR_CELLS": ("tps", "cps"),
    "NEEDS_IMMUNE_CLASSES": ("cps",),
}
"""Which scores a finding of severity REJECT forbids."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileMeasurement:
    """The cells a tile owns, positions in level-0 pixels, and how sharp its picture is."""

    tile_index: int
    cells: CellTable
    focus: FocusReading | None = None


def slide_cells(measurements: Iterable[TileMeasurement]) -> CellTable:
    """Join the cells of all tiles, in the order of the tiles; those out of focus or in excluded regions among them."""
    ordered = sorted(measurements, key=lambda measurement: measurement.tile_index)
    return CellTable.joined([measurement.cells for measurement in ordered])


def areas_of(
    measurements: Iterable[TileMeasurement],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    annotations: Sequence[Annotation] = (),
) -> SlideAreas:
    """Find what of a measured slide is scored; its ``evaluable_cells`` tells which cells count."""
    focus = [measurement.focus for measurement in measurements if measurement.focus is not None]
    return slide_areas(calibration, focus, annotations, least_focus=protocol.artefacts.least_focus)


def score_slide(
    measurements: Iterable[TileMeasurement],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    *,
    scores: Sequence[StudyScore],
    accession_id: str,
    run_id: str,
    provenance: Provenance,
    annotations: Sequence[Annotation] = (),
    known_classes: Collection[CellClass] | None = None,
) -> SlideAnalysis:
    """Join the tiles of a slide into its scores.

    Parameters
    ----------
    scores
        Which of the scores the study reports; each gives one result.
    annotations
        Regions drawn on the slide. Necrosis and exclusions are left out of everything; tumour, stroma and invasive margin are
        scored by themselves too.
    known_classes
        Classes that whoever classed the cells tells apart; by default those that occur.
    """
    measured = tuple(measurements)
    areas = areas_of(measured, calibration, protocol, annotations)
    cells = slide_cells(measured)
    cells = cells.kept(areas.evaluable_cells(cells))
    known = _known(cells) if known_classes is None else frozenset(known_classes)
    wanted = frozenset(_SCORE_NAMES[score] for score in scores)
    slide_findings = (*calibration.findings, *_focus_findings(areas, calibration, protocol))
    records = tuple(
        _score(region, cells, known, calibration, protocol, findings=slide_findings, wanted=wanted) for region in areas.regions
    )
    results = tuple(
        study_result(score, records, protocol, accession_id=accession_id, run_id=run_id, provenance=provenance)
        for score in scores
    )
    vectors = calibration.stains.vectors
    return SlideAnalysis(
        run=Run(
            run_id=run_id,
            assay=Assay.IHC,
            name=calibration.slide_name,
            acquired_at=calibration.acquired_at,
            findings=slide_findings,
            results=results,
            provenance=provenance,
        ),
        stain=protocol.stain,
        pixel_size_um=calibration.pixel_size_um,
        stain_vectors={"haematoxylin": vectors.haematoxylin, "dab": vectors.dab, "residual": vectors.residual},
        white_point=calibration.white_point.rgb,
        scores=records,
        areas=areas.records,
        stain_angles_deg=dict(calibration.stains.angle_deg_by_stain),
    )


def _known(cells: CellTable) -> frozenset[CellClass]:
    if cells.cell_class is None:
        return frozenset()
    return frozenset(CELL_CLASSES[index] for index in np.unique(cells.cell_class))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Blocks:
    """Cells of a region on the grid of small blocks."""

    counts: BlockCounts
    by_class: ClassCounts | None


def _blocks(region: ScoredRegion, cells: CellTable, calibration: SlideCalibration, protocol: StainProtocol) -> _Blocks:
    """Count cells and area in blocks that do not depend on how the slide was tiled."""
    scale, tissue = calibration.optics.scale, calibration.tissue
    mask_pixel_um = tissue.step * scale.pixel_size_um
    block = max(1, round(protocol.evaluability.block_um / mask_pixel_um))
    weight = _block_sums(region.weight, block)
    side_px = block * tissue.step * scale.factor
    row = np.minimum(((cells.y_px + 0.5) / side_px).astype(np.intp), weight.shape[0] - 1)
    column = np.minimum(((cells.x_px + 0.5) / side_px).astype(np.intp), weight.shape[1] - 1)
    place = row * weight.shape[1] + column
    classes = np.zeros(len(cells), dtype=np.intp) if cells.cell_class is None else cells.cell_class.astype(np.intp)
    kinds = len(CELL_CLASSES)
    index = (place * kinds + classes) * 4 + cells.intensity_class
    by_class = np.bincount(index, minlength=weight.size * kinds * 4).reshape(weight.size, kinds, 4).astype(np.int64)
    area_mm2 = None if scale.is_assumed else weight.ravel() * (mask_pixel_um / 1000.0) ** 2
    columns = weight.shape[1]
    return _Blocks(
        counts=BlockCounts(cells=by_class.sum(axis=1), area_mm2=area_mm2, columns=columns),
        by_class=None if cells.cell_class is None else ClassCounts(cells=by_class, columns=columns),
    )


def _block_sums(weight: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, side, block) for side in weight.shape)
    sums: NDArray[np.float64] = np.add.reduceat(np.add.reduceat(weight, rows, axis=0, dtype=np.float64), columns, axis=1)
    return sums


def _score(
    region: ScoredRegion,
    cells: CellTable,
    known: frozenset[CellClass],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    *,
    findings: tuple[Finding, ...],
    wanted: frozenset[str],
) -> ScoreRecord:
    blocks = _blocks(region, cells.kept(region_cells(region, cells)), calibration, protocol)
    counts, by_class = blocks.counts, blocks.by_class
    tumour = by_class.of(CellClass.TUMOUR) if by_class is not None and CellClass.TUMOUR in known else None
    needs_tumour = protocol.scoring.needs_tumour_class
    where = f"Slide '{calibration.slide_name}', stain {protocol.stain}, {region.name}."
    refusals = [*_refusals(counts, protocol, needs_tumour and tumour is None, where)]
    if wanted & {"tps", "cps"} or (needs_tumour and tumour is not None):
        tumour_cells = 0 if tumour is None else tumour.total
        refusals += [finding for finding, _ in class_refusals(protocol, known, tumour_cells, where=where)]
    refused = {
        name for finding in (*findings, *refusals) if finding.severity is Severity.REJECT
        for name in REFUSED_SCORES_BY_CODE.get(finding.code, ())
    }  # fmt: skip
    of_tumour = needs_tumour and tumour is not None
    given: dict[str, Estimate] = {}
    if "positive_percent" not in refused:
        given["positive_percent"] = positive_percent(counts)
    if "density_per_mm2" not in refused:
        given["density_per_mm2"] = density_per_mm2(counts)
    if "h_score" not in refused and (not of_tumour or (tumour is not None and tumour.total)):
        given["h_score"] = h_score(tumour if of_tumour and tumour is not None else counts)
    if tumour is not None and by_class is not None:
        if "tps" not in refused:
            given["tps"] = tumour_proportion_score(by_class)
        if "cps" not in refused:
            given["cps"] = combined_positive_score(by_class)
    values = {name: estimate.value for name, estimate in given.items()}
    return ScoreRecord(
        region=region.name,
        stain=protocol.stain,
        area_mm2=None if counts.area_mm2 is None else float(counts.area_mm2.sum()),
        cells=counts.total,
        positive=counts.positive,
        class_counts=counts.class_counts,
        positive_percent=values.get("positive_percent"),
        density_per_mm2=values.get("density_per_mm2"),
        h_score=values.get("h_score"),
        intervals={name: estimate.interval for name, estimate in given.items()},
        findings=(*findings, *refusals),
        inflations={name: estimate.inflation for name, estimate in given.items()},
        standard_errors={name: estimate.standard_error for name, estimate in given.items()},
        h_score_cells="tumour cells" if of_tumour else "all cells",
        tumour_cells=None if tumour is None else tumour.total,
        tps=values.get("tps"),
        cps=values.get("cps"),
    )


def _refusals(counts: BlockCounts, protocol: StainProtocol, lacks_tumour_class: bool, where: str) -> Iterator[Finding]:  # noqa: FBT001  - private
    """Reasons found while scoring why some score cannot be given, each a finding of severity REJECT."""
    area = None if counts.area_mm2 is None else float(counts.area_mm2.sum())
    yield from size_refusals(area, counts.total, protocol.evaluability, where)
    if lacks_tumour_class:
        yield Finding(
            code="NEEDS_TUMOUR_CLASS",
            severity=Severity.REJECT,
            where=where,
            message="The H-score, TPS and CPS are not evaluable: they need cells classed as tumour, lymphocyte or macrophage.",
            remedy="Give cell classes; the percentage and density of positive cells of any kind need none.",
        )


def size_refusals(area_mm2: float | None, cells: int, needs: EvaluabilitySettings, where: str) -> Iterator[Finding]:
    """Say what of tissue and cells is too little for a score, each a finding of severity REJECT."""
    if area_mm2 is None:
        yield Finding(
            code="DENSITY_WITHOUT_PIXEL_SIZE",
            severity=Severity.REJECT,
            where=where,
            message="Density is not evaluable: the tissue area is unknown without a pixel size.",
            remedy="Declare the pixel size (--pixel-size-um, or pixel_size_um in the sidecar).",
        )
    elif area_mm2 < needs.smallest_tissue_mm2:
        yield Finding(
            code="TOO_LITTLE_TISSUE",
            severity=Severity.REJECT,
            where=where,
            message=f"{area_mm2:.3g} mm² of tissue can be evaluated; {needs.smallest_tissue_mm2:g} mm² are needed.",
            remedy="Cut a further section, or record the specimen as not evaluable.",
        )
    if cells < needs.fewest_cells:
        yield Finding(
            code="TOO_FEW_CELLS",
            severity=Severity.REJECT,
            where=where,
            message=f"{cells} cells were found; {needs.fewest_cells} are needed for a percentage or an H-score.",
            remedy="Cut a further section, or record the specimen as not evaluable.",
        )


def _focus_findings(areas: SlideAreas, calibration: SlideCalibration, protocol: StainProtocol) -> Iterator[Finding]:
    share = next(record.share_of_tissue for record in areas.records if record.name == Artefact.OUT_OF_FOCUS.value)
    if share > 0:
        yield Finding(
            code="OUT_OF_FOCUS",
            severity=Severity.WARNING if share >= LARGE_ARTEFACT_SHARE else Severity.NOTE,
            where=f"Slide '{calibration.slide_name}', stain {protocol.stain}.",
            message=f"{share:.1%} of the tissue is out of focus and was left out.",
            remedy="Nothing if the part may be left out; else scan the slide again.",
        )


def study_result(
    score: StudyScore,
    records: Sequence[ScoreRecord],
    protocol: StainProtocol,
    *,
    accession_id: str,
    run_id: str,
    provenance: Provenance,
) -> Result:
    """Make a result of the study out of the scores of a slide, or of several pooled ones.

    Parameters
    ----------
    records
        Of all tissue first; then of the regions drawn, of which the tumour counts for scores of tumour.
    """
    name = _SCORE_NAMES[score]
    record = records[0]
    if score in ("DENSITY_TUMOUR", "TPS", "CPS"):
        tumour = next((each for each in records if each.region == "tumour"), None)
        if tumour is not None:
            record = tumour
        elif score == "DENSITY_TUMOUR":
            record = _without_tumour(record)
    value = {
        "positive_percent": record.positive_percent,
        "density_per_mm2": record.density_per_mm2,
        "h_score": record.h_score,
        "tps": record.tps,
        "cps": record.cps,
    }[name]
    concerning = tuple(
        finding
        for finding in record.findings
        if finding.severity is Severity.WARNING
        or (finding.severity is Severity.REJECT and name in REFUSED_SCORES_BY_CODE.get(finding.code, ()))
        or finding.code == "STAIN_VECTORS_DEFAULTED"
    )
    return Result(
        accession_id=accession_id,
        assay=Assay.IHC,
        measurand=f"{protocol.stain}_{score}",
        quantity=None if value is None else Quantity(value=value, unit=IHC_UNITS[score]),
        interval=record.intervals.get(name),
        denominator=_denominator(score, record),
        n_replicates=record.cells if record.tumour_cells is None or name not in ("tps", "cps") else record.tumour_cells,
        run_id=run_id,
        findings=concerning,
        provenance=provenance,
    )


def _denominator(score: StudyScore, record: ScoreRecord) -> str:
    if score in ("DENSITY_TISSUE", "DENSITY_TUMOUR"):
        kind = "tissue" if score == "DENSITY_TISSUE" else "viable tumour"
        return f"{kind} of unknown area" if record.area_mm2 is None else f"{record.area_mm2:.4g} mm² of {kind}"
    if score in ("TPS", "CPS"):
        return "viable tumour cells"
    if score == "HSCORE" and record.h_score_cells != "all cells":
        return f"{record.h_score_cells} in tissue"
    return "all cells in tissue"


def _without_tumour(record: ScoreRecord) -> ScoreRecord:
    """Give no number per area of tumour where nobody drew the tumour."""
    finding = Finding(
        code="NO_TUMOUR_ANNOTATION",
        severity=Severity.REJECT,
        where=record.findings[0].where if record.findings else f"Stain {record.stain}.",
        message="The density per mm² of viable tumour is not evaluable: no tumour is annotated on the slide.",
        remedy="Draw tumour (and necrosis) in QuPath and give the GeoJSON with the slide.",
    )
    return replace(record, density_per_mm2=None, area_mm2=None, intervals={}, findings=(*record.findings, finding))
