"""Which channel of an acquisition carries which marker of a panel.

Knows the few explicit rules by which operators' names are matched. Must not know gates' methods or events. Nothing is guessed:
what fits no rule, or several channels, is reported, all of it at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.panel import Marker, Panel, markers_of
from biomarkers.errors import Fault, GatingError


def match_markers(panel: Panel, acquisition: Acquisition) -> Mapping[str, int]:
    """Find each marker's column.

    A name matches a channel by the first of these rules that any channel fits: the whole $PnS; one part of a $PnS such as
    "BV785 - CD3", "VIVID / CD14" or "CD3:APC"; the whole $PnN. Names are compared without case, spaces, hyphens, dots and other
    punctuation. Where one antibody's pulse was stored as area, height and width, the area is meant.

    Returns
    -------
    Mapping
        Column by marker name; markers that only optional populations need may be absent.

    Raises
    ------
    GatingError
        A marker that a required population needs is absent, or a name fits several channels; all of them at once.
    """
    needed = {
        name
        for population in panel.populations
        if population.required and not population.pass_through
        for name in markers_of(population)
    }
    found: dict[str, int] = {}
    faults: list[Fault] = []
    for marker in panel.markers:
        columns = _columns(marker, acquisition.channels)
        if len(columns) == 1:
            found[marker.name] = columns[0]
        elif len(columns) > 1:
            names = ", ".join(f"'{acquisition.channels[column].detector}'" for column in columns)
            faults.append(
                Fault(
                    where=f"Acquisition '{acquisition.name}', marker '{marker.name}'.",
                    what=f"The marker fits {len(columns)} channels: {names}.",
                    remedy=f"Name the marker in one channel only ($PnS), or narrow the aliases in panel '{panel.name}'.",
                )
            )
        elif marker.name in needed:
            faults.append(
                Fault(
                    where=f"Acquisition '{acquisition.name}', marker '{marker.name}'.",
                    what=f"No channel carries the marker; the file has {_listed(acquisition.channels)}.",
                    remedy=f"Add the file's name for it to the marker's aliases in panel '{panel.name}', or use another panel.",
                )
            )
    doubled = [column for column, count in Counter(found.values()).items() if count > 1]
    for column in doubled:
        names = ", ".join(f"'{name}'" for name, place in found.items() if place == column)
        faults.append(
            Fault(
                where=f"Acquisition '{acquisition.name}', channel '{acquisition.channels[column].detector}'.",
                what=f"Several markers of the panel fit this one channel: {names}.",
                remedy=f"Narrow the aliases in panel '{panel.name}'.",
            )
        )
    if faults:
        raise GatingError.gathered(faults)
    return found


def _columns(marker: Marker, channels: Sequence[Channel]) -> list[int]:
    wanted = {_plain(name) for name in (marker.name, *marker.aliases)}
    by_detector = [column for column, channel in enumerate(channels) if _plain(channel.detector) in wanted]
    if marker.kind == "scatter":
        return by_detector
    by_marker = [column for column, channel in enumerate(channels) if _plain(channel.marker) in wanted]
    by_part = [column for column, channel in enumerate(channels) if wanted & _parts(channel.marker)]
    fitting = by_marker or by_part or by_detector
    areas = [column for column in fitting if channels[column].detector.upper().endswith("-A")]
    return areas if len(fitting) > 1 and areas else fitting


def _parts(text: str) -> set[str]:
    parts = re.split(r"\s+[-/|]\s+|:", text)
    return {_plain(part) for part in parts} if len(parts) > 1 else set()


def _plain(text: str) -> str:
    # A plus sign stays: "CD4+CD20" shares one detector and is neither CD4 nor CD20 alone.
    return "".join(letter for letter in text.casefold() if letter.isalnum() or letter == "+")


def _listed(channels: Sequence[Channel]) -> str:
    names = [f"'{channel.detector}'" + (f" ({channel.marker})" if channel.marker else "") for channel in channels]
    shown = ", ".join(names[:40])
    return shown if len(names) <= 40 else f"{shown} and {len(names) - 40} more"
