"""Results in Gen5 exports: the standard curve's formula and parameters, and the concentration of every well.

Knows what Gen5 calls its calibrators and its curves. Must not compute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from biomarkers.elisa.fitting import CurveModel
from biomarkers.elisa.plate import WellPosition
from biomarkers.elisa.vendor_export import (
    Printed,
    ResponseSet,
    VendorConcentration,
    VendorCurve,
    VendorExport,
    VendorLevel,
    WellKey,
)
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.differences import MOST_TABLES, half_digit
from biomarkers.readers.plate_reads.gen5 import CONCENTRATION_LABEL, Gen5Plate, plates_of
from biomarkers.readers.plate_reads.plate_tables import numbered
from biomarkers.readers.plate_reads.readings import parse_number, parse_reading
from biomarkers.readers.sheets import Sheet
from biomarkers.readers.vendor_results.printed import nominal_rounding, parse_printed

_CALIBRATOR = re.compile(r"STD\d+.*", re.IGNORECASE)

_FORMULAS: dict[str, CurveModel] = {
    "Y=(A-D)/(1+(X/C)^B)+D": "4pl",
    "Y=(A-D)/(1+(X/C)^B)^E+D": "5pl",
    "Y=((A-D)/(1+(X/C)^B)^E)+D": "5pl",
    "Y=A*X+B": "linear",
    "LOG(Y)=A*LOG(X)+B": "loglog",
    "LOG10(Y)=A*LOG10(X)+B": "loglog",
}

_NAMES: dict[CurveModel, dict[str, str]] = {
    "4pl": {"A": "zero_dose", "B": "slope", "C": "inflection", "D": "infinite_dose"},
    "5pl": {"A": "zero_dose", "B": "slope", "C": "inflection", "D": "infinite_dose", "E": "asymmetry"},
    "linear": {"A": "slope", "B": "intercept"},
    "loglog": {"A": "slope", "B": "intercept"},
}

_DEFAULT_SOURCE = "Gen5 offers the four-parameter fit for immunoassays, and fits single wells without weights"


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> VendorExport:
    """Read every plate's curve and concentrations; a plate without concentrations is passed over.

    Raises
    ------
    SourceFileError
        The export is cut off, or its curve's formula is unknown.
    """
    plates = plates_of(sheets, file_name=file_name, stem=stem)
    names = numbered(plate.name for plate in plates)
    curves = [
        curve
        for plate, name in zip(plates, names, strict=True)
        for curve in _curves(plate, name, f"File '{file_name}', plate '{name}' in line {plate.line}.")
    ]
    return VendorExport(curves=tuple(curves), calculations=(), not_recomputed=())


def _curves(plate: Gen5Plate, plate_id: str, place: str) -> Iterator[VendorCurve]:
    printed = plate.results.get(CONCENTRATION_LABEL)
    if printed is None:
        return
    model, parameters, r_squared = _fitted(plate, place)
    concentrations = [
        VendorConcentration(
            wells=(WellKey(plate_id=plate_id, position=position),),
            printed=found,
            masked=found.kind == "masked",
            limited=False,
        )
        for position, text in printed.items()
        if (found := parse_printed(text)) is not None
    ]
    yield VendorCurve(
        vendor="Gen5",
        plate_ids=(plate_id,),
        responses=tuple(_responses(plate, plate_id)),
        levels=tuple(_levels(plate, plate_id)),
        concentrations=tuple(concentrations),
        summaries=(),
        stated_model=model,
        default_model="4pl",
        default_replicates="wells",
        default_source=_DEFAULT_SOURCE,
        parameters=parameters,
        r_squared=r_squared,
        not_recomputed=(),
    )


def _responses(plate: Gen5Plate, plate_id: str) -> Iterator[ResponseSet]:
    """Every table of numbers but the concentrations: the export does not say which of them the curve was fitted to."""
    for label, texts in tuple(plate.results.items())[: -MOST_TABLES - 1 : -1]:
        if label == CONCENTRATION_LABEL:
            continue
        readings = {position: parse_reading(text) for position, text in texts.items()}
        values = {
            WellKey(plate_id=plate_id, position=position): reading.value
            for position, reading in readings.items()
            if reading is not None and reading.value is not None and not reading.flag
        }
        rounding = max((half_digit(text) for text in texts.values() if parse_number(text) is not None), default=0.0)
        if values:
            yield ResponseSet(name=label, value_by_well=values, rounding=rounding)


def _levels(plate: Gen5Plate, plate_id: str) -> Iterator[VendorLevel]:
    """Calibrator levels, by the names the layout gives wells; masked wells are left out."""
    nominals: dict[str, list[WellPosition]] = {}
    for position, name in plate.layout.get("Well ID", {}).items():
        text = plate.layout.get("Conc/Dil", {}).get(position, "")
        if _CALIBRATOR.fullmatch(name) and parse_number(text) is not None and not _is_masked(plate, position):
            nominals.setdefault(text, []).append(position)
    for text, positions in nominals.items():
        nominal = parse_number(text)
        assert nominal is not None
        yield VendorLevel(
            nominal=nominal,
            rounding=nominal_rounding(text),
            wells=tuple(WellKey(plate_id=plate_id, position=position) for position in positions),
        )


def _is_masked(plate: Gen5Plate, position: WellPosition) -> bool:
    readings = (parse_reading(texts.get(position, "")) for texts in plate.results.values())
    return any(reading is not None and reading.flag == "masked" for reading in readings)


def _fitted(plate: Gen5Plate, place: str) -> tuple[CurveModel | None, Mapping[str, Printed], Printed | None]:
    """Model, parameters by our names and R squared, from the table below the results; nothing where the export has none."""
    if len(plate.curve) < 2:
        return None, {}, None
    cells = dict(zip(plate.curve[0], plate.curve[1], strict=False))
    formula = cells.get("Curve Formula", "")
    model = _FORMULAS.get(re.sub(r"\s+", "", formula))
    if model is None:
        raise SourceFileError(
            what=f"The curve's formula '{formula}' is not one of the four-parameter, five-parameter, linear and log-log fits.",
            where=place,
            remedy="Compare this plate by hand.",
        )
    found = {ours: parse_printed(cells.get(theirs, "")) for theirs, ours in _NAMES[model].items()}
    parameters = {name: printed for name, printed in found.items() if printed is not None and printed.kind == "number"}
    return model, _with_positive_slope(model, parameters), parse_printed(cells.get("R2", ""))


def _with_positive_slope(model: CurveModel, parameters: Mapping[str, Printed]) -> Mapping[str, Printed]:
    """Write a logistic with a negative slope as the same curve with the slope positive and its ends exchanged."""
    slope = parameters.get("slope")
    if model != "4pl" or slope is None or slope.value is None or slope.value > 0:
        return parameters
    turned = Printed(text=slope.text.lstrip("-"), kind=slope.kind, value=-slope.value, half_digit=slope.half_digit)
    ends = {"zero_dose": parameters["infinite_dose"], "infinite_dose": parameters["zero_dose"]}
    return {**parameters, **ends, "slope": turned}
