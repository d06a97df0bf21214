"""The command that assesses an assay over validation plates, without a lab.

Knows arguments and how answers are shown. Must not compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.elisa.plate import PlateLayout, PlateMap, PlateRead
    from biomarkers.elisa.records import PlateAnalysis
    from biomarkers.elisa.validation import AssayPerformance
    from biomarkers.provenance import JsonValue
    from biomarkers.study.soluble import Analyte

Plates = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Plate-reader exports of the validation.")]
Layout = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Layout of all these plates.")]
Study = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="study.toml that declares the analytes; else the packaged one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def performance(files: Plates, *, layout: Layout, study: Study = None, as_json: AsJson = False) -> None:
    """Assess an assay over validation plates: precision profile, functional limits, noise, LoB and LoD.

    Every control slot is a level, every plate a run. What is printed as noise belongs into study.toml as variance_power and
    noise_crossover, the limits as lloq and uloq with their origin; nothing is declared here.
    """
    from biomarkers.elisa.validation import assess
    from biomarkers.readers.plate_layouts import read_layout

    design = read_layout(layout)
    analytes = _analytes(study)
    found = assess([analysis for file in files for analysis in _analysed(file, design, analytes)])
    if as_json:
        print_json({"analytes": [_document(one) for one in found]})
        return
    for one in found:
        _show(one)


def _analytes(study: Path | None) -> Mapping[str, Analyte]:
    from biomarkers.readers.study_files import packaged_study, read_study

    declared = packaged_study() if study is None else read_study(study)
    return {analyte.code: analyte for analyte in declared.analytes}


def _analysed(file: Path, layout: PlateLayout, analytes: Mapping[str, Analyte]) -> Sequence[PlateAnalysis]:
    from biomarkers.elisa.analysis import analyse_plate
    from biomarkers.elisa.plate import reads_by_plate
    from biomarkers.errors import CurveFitError
    from biomarkers.provenance import Provenance, software_version, utc_now
    from biomarkers.readers.plate_reads import read_plates

    analyses = []
    for plate_id, reads in reads_by_plate(read_plates(file)).items():
        try:
            analyses.append(
                analyse_plate(
                    reads,
                    _plate_map(reads, layout),
                    layout,
                    analytes=analytes,
                    run_id=plate_id,
                    provenance=Provenance(
                        sources=(), inputs=(), software=software_version(), parameters="{}", computed_at=utc_now()
                    ),
                )
            )
        except CurveFitError as error:
            say(f"File '{file.name}', plate '{plate_id}' is left out. {error}")
    return analyses


def _plate_map(reads: Sequence[PlateRead], layout: PlateLayout) -> PlateMap:
    """Put each specimen slot's own name where an accession stands on study plates."""
    from biomarkers.elisa.plate import MapEntry, PlateMap, WellRole

    slots = dict.fromkeys((*layout.slots(WellRole.SAMPLE), *layout.slots(WellRole.SPIKE)))
    entries = (MapEntry(slot=slot, accession_id=slot, analyte="", dilution_factor=None, kit_lot="") for slot in slots)
    return PlateMap(plate_id=reads[0].plate_id, layout=layout.name, entries=tuple(entries))


def _document(one: AssayPerformance) -> JsonValue:
    return {
        "analyte": one.analyte,
        "unit": one.unit,
        "plates": one.plates,
        "plates_without_curve": one.plates_without_curve,
        "levels": [asdict(level) for level in one.levels],
        "functional_limits": None if one.limits is None else asdict(one.limits),
        "noise_crossover": None if one.crossover is None else asdict(one.crossover),
        "variance_power": None if one.power is None else asdict(one.power),
        "detection": None if one.detection is None else asdict(one.detection),
        "findings": [asdict(finding) | {"severity": str(finding.severity)} for finding in one.findings],
    }


def _show(one: AssayPerformance) -> None:
    print_table(
        ["level", "nominal", "mean", "runs", "readings", "repeatability CV %", "total CV %", "bias %"],
        [
            [
                level.level,
                level.nominal,
                level.mean,
                level.runs,
                level.readings,
                level.repeatability_cv_percent,
                level.total_cv_percent,
                level.bias_percent,
            ]
            for level in one.levels
        ],
        title=f"{one.analyte}, {one.unit}: {one.plates} plates, {one.plates_without_curve} without a curve",
    )
    rows: list[list[object]] = []
    if one.limits is not None:
        rows += [["functional lower limit", one.limits.lower], ["functional upper limit", one.limits.upper]]
    if one.detection is not None:
        rows += [["limit of blank", one.detection.limit_of_blank], ["limit of detection", one.detection.limit_of_detection]]
    if one.power is not None:
        rows.append(["variance_power", one.power.power])
    if one.crossover is not None:
        rows += [
            ["noise_crossover (response)", one.crossover.crossover],
            ["CV far above it, %", one.crossover.cv_percent],
            ["constant SD (response)", one.crossover.constant_sd],
        ]
    if rows:
        print_table(["estimate", "value"], rows, title="")
    for finding in one.findings:
        say(f"{finding.code}: {finding.message} {finding.where} {finding.remedy}")
