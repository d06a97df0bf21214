"""The plate as it stands on the bench: every well with its role, its response and what is wrong with it.

Knows the records of wells. Must not know curves or results. What is told by colour is told by a shape or a word as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from biomarkers.elisa.plate import WellPosition, WellRole, row_letters
from biomarkers.elisa.records import WellRecord
from biomarkers.reports.figures import Drawing, Point, heat_colour, number

LEGEND_ROLES = (WellRole.CALIBRATOR, WellRole.CONTROL, WellRole.SAMPLE, WellRole.SPIKE, WellRole.BLANK, WellRole.EMPTY)
LEGEND_FLAGS = ("overflow", "masked", "missing")


def plate_map(wells: Sequence[WellRecord]) -> Markup:
    """Draw the plate as it stands on the bench: shape by role, shade by response, a mark for every flag."""
    places = {record.position: WellPosition.parse(record.position) for record in wells}
    known = [(record, place) for record in wells if (place := places[record.position]) is not None]
    rows = max((place.row for _, place in known), default=7) + 1
    columns = max((place.column for _, place in known), default=11) + 1
    wide, high = (46.0, 40.0) if columns <= 12 else (26.0, 26.0)
    drawing = Drawing(26 + columns * wide, 22 + rows * high, f"Plate of {rows} by {columns} wells", kind="figure plate")
    for column in range(columns):
        drawing.text((26 + (column + 0.5) * wide, 14), str(column + 1), "tick")
    for row in range(rows):
        drawing.text((13, 22 + (row + 0.5) * high + 3.5), row_letters(row), "tick")
    top = max(
        (record.response for record, _ in known if record.response is not None and record.role != WellRole.EMPTY), default=1
    )
    for record, place in known:
        centre = (26 + (place.column + 0.5) * wide, 22 + (place.row + 0.5) * high)
        draw_well(drawing, centre, record, largest=top, radius=0.42 * min(wide, high), is_labelled=columns <= 12)
    return drawing.markup()


def draw_well(drawing: Drawing, centre: Point, record: WellRecord, *, largest: float, radius: float, is_labelled: bool) -> None:
    """Draw one well: square calibrator, diamond control, round specimen, dashed blank, dot for nothing."""
    told = well_words(record)
    if record.role == WellRole.EMPTY and not record.flag:
        drawing.circle(centre, 2, "well-empty", title=told)
        return
    x, y = centre
    share = 0.0 if record.response is None else record.response / (largest or 1.0)
    fill = "#ffffff" if record.flag in ("overflow", "missing") else heat_colour(share)
    kind = f"well well-{record.role.lower()}" + (f" flag-{record.flag}" if record.flag else "")
    match record.role:
        case WellRole.CALIBRATOR:
            side = 1.8 * radius
            drawing.rectangle((x - side / 2, y - side / 2), (side, side), kind, title=told, fill=fill, rounded=2)
        case WellRole.CONTROL:
            drawing.diamond(centre, 1.2 * radius, kind, title=told, fill=fill)
        case WellRole.SPIKE:
            corners = ((x, y - 1.1 * radius), (x + 1.1 * radius, y + 0.85 * radius), (x - 1.1 * radius, y + 0.85 * radius))
            drawing.path(corners, kind, closed=True, title=told, fill=fill)
        case _:
            drawing.circle(centre, radius, kind, title=told, fill=fill)
    _draw_flag(drawing, centre, record, radius)
    if is_labelled and record.response is not None and record.flag != "missing":
        ink = "on-dark" if share > 0.45 and record.flag != "overflow" else "on-light"
        drawing.text((x, y + 3), f"{record.response:.2f}", f"well-text {ink}")


def _draw_flag(drawing: Drawing, centre: Point, record: WellRecord, radius: float) -> None:
    x, y = centre
    reach = 0.78 * radius
    if record.flag == "overflow":
        drawing.path(((x, y - reach), (x + reach, y + 0.6 * reach), (x - reach, y + 0.6 * reach)), "mark-overflow", closed=True)
    elif record.flag == "masked":
        drawing.line((x - 1.1 * reach, y - 1.1 * reach), (x + 1.1 * reach, y + 1.1 * reach), "mark-masked")
        drawing.line((x - 1.1 * reach, y + 1.1 * reach), (x + 1.1 * reach, y - 1.1 * reach), "mark-masked")
    elif record.flag == "missing":
        drawing.line((x - 0.5 * reach, y), (x + 0.5 * reach, y), "mark-missing")


def well_words(record: WellRecord) -> str:
    """Say of a well what a picture cannot: its place, contents, reading and flag."""
    parts = [record.position, record.role.lower(), record.slot, record.analyte, record.accession_id]
    parts.append(f"response {record.response:.4f}" if record.response is not None else f"read as '{record.raw_text}'")
    if record.flag:
        parts.append(f"{record.flag}: {record.mask_reason}" if record.mask_reason else record.flag)
    if record.concentration is not None:
        parts.append(f"concentration {record.comparator}{number(record.concentration)}")
    return " · ".join(part for part in parts if part)


def legend_mark(name: str) -> Markup:
    """Draw the mark of a role or a flag as the plate shows it."""
    drawing = Drawing(20, 20, name.lower(), kind="mark")
    is_flag = name in LEGEND_FLAGS
    record = WellRecord(
        position="",
        role=str(WellRole.SAMPLE) if is_flag else name,
        slot="",
        analyte="",
        accession_id="",
        raw_text="",
        response=None if name in ("overflow", "missing") else 0.25,
        flag=name if is_flag else "",
        mask_reason="",
        dilution_factor=1.0,
        concentration=None,
        comparator="",
    )
    draw_well(drawing, (10, 10), record, largest=1.0, radius=7.5, is_labelled=False)
    return drawing.markup()
