"""What a plate's results depend on besides its files: layout, analytes, kit lots, masked wells, each by its digest.

Knows how each is named in a provenance, so that one that has changed since can be told. Must not know where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import PlateLayout, PlateMap
from biomarkers.provenance import Input, JsonValue, content_digest
from biomarkers.study.soluble import Analyte

LAYOUT, ANALYTE, KIT_LOT, MASKS = "layout", "analyte", "kit_lot", "masks"


def layout_input(layout: PlateLayout) -> Input:
    """Name a layout."""
    return Input(kind=LAYOUT, name=layout.name, sha256=layout.digest())


def analyte_input(analyte: Analyte) -> Input:
    """Name what the study declares of an analyte."""
    return Input(kind=ANALYTE, name=analyte.code, sha256=content_digest(analyte.model_dump(mode="json")))


def lot_input(analyte: str, kit_lot: str, lots: Iterable[KitLot]) -> Input:
    """Name a kit lot as its certificate stands; one whose certificate is not known has a digest too, so that it can arrive."""
    known = next((lot for lot in lots if (lot.analyte, lot.kit_lot) == (analyte, kit_lot)), None)
    return Input(kind=KIT_LOT, name=f"{analyte} {kit_lot}", sha256=content_digest(None if known is None else _lot(known)))


def mask_inputs(plate_id: str, masks: Mapping[str, str]) -> tuple[Input, ...]:
    """Name the wells a person has masked, with their reasons; nothing where there are none."""
    return (Input(kind=MASKS, name=plate_id, sha256=content_digest(dict(masks))),) if masks else ()


def lots_on(plate_map: PlateMap, layout: PlateLayout) -> Iterator[tuple[str, str]]:
    """Give analyte and lot of every kit the map names, each once, in the order of the map."""
    named = (
        (analyte, entry.kit_lot)
        for entry in plate_map.entries
        if entry.kit_lot
        for analyte in ((entry.analyte,) if entry.analyte else layout.analytes)
    )
    yield from dict.fromkeys(named)


def plate_inputs(
    plate_map: PlateMap,
    layout: PlateLayout,
    *,
    analytes: Sequence[Analyte],
    lots: Sequence[KitLot],
    masks: Mapping[str, str],
) -> tuple[Input, ...]:
    """Name everything a plate's results depend on besides its files."""
    return (
        layout_input(layout),
        *(analyte_input(analyte) for analyte in analytes),
        *(lot_input(analyte, kit_lot, lots) for analyte, kit_lot in lots_on(plate_map, layout)),
        *mask_inputs(plate_map.plate_id, masks),
    )


def _lot(lot: KitLot) -> JsonValue:
    return {
        "expires_on": None if lot.expires_on is None else lot.expires_on.isoformat(),
        "calibrators": dict(lot.calibrators),
        "controls": {slot: [one.lower, one.upper, one.nominal] for slot, one in lot.controls.items()},
    }
