"""A plate layout as it is drawn in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biomarkers.elisa.plate import LayoutWell, PlateLayout

EMPTY = "."


def draw_layout(layout: PlateLayout) -> str:
    """Draw a layout in the shape of its plate: each well's slot, below it what it holds.

    A calibrator or control shows its nominal concentration, a specimen its dilution where it is diluted. Colour is not used:
    the drawing goes through pipes and mails.
    """
    by_place = {(well.position.row, well.position.column): well for well in layout.wells}
    upper = [[_slot(by_place.get((row, column))) for column in range(layout.columns)] for row in range(layout.rows)]
    lower = [[_content(by_place.get((row, column))) for column in range(layout.columns)] for row in range(layout.rows)]
    width = max(2, *(len(text) for line in (*upper, *lower) for text in line))
    letters = [_letters(by_place, row) for row in range(layout.rows)]
    margin = max(len(letter) for letter in letters)
    lines = [" ".join([" " * margin, *(f"{column + 1}".center(width) for column in range(layout.columns))]).rstrip()]
    for letter, above, below in zip(letters, upper, lower, strict=True):
        lines.append(" ".join([letter.ljust(margin), *(text.center(width) for text in above)]).rstrip())
        if any(below):
            lines.append(" ".join([" " * margin, *(text.center(width) for text in below)]).rstrip())
    return "\n".join(lines) + "\n"


def _slot(well: LayoutWell | None) -> str:
    if well is None or well.role.value == "EMPTY":
        return EMPTY
    return well.slot or well.role.value


def _content(well: LayoutWell | None) -> str:
    if well is None or well.role.value == "EMPTY":
        return ""
    if well.concentration is not None:
        return f"{well.concentration:g}"
    return f"1:{well.dilution:g}" if well.dilution != 1 else ""


def _letters(by_place: dict[tuple[int, int], LayoutWell], row: int) -> str:
    found = next((str(well.position) for (at, _), well in by_place.items() if at == row), "")
    return found.rstrip("0123456789")
