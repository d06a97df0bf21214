"""Which channel of an acquisition carries which marker of a panel.

Knows the few explicit rules by which operators' names are matched. Must not know gates' methods or events. Nothing is guessed:
what fits no rule, or several channels, is reported, all of it at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.panel import Marker, Panel, required_markers_of
from biomarkers.errors import Fault, GatingError

_DYE_NAMES = """
bv421 bv480 bv510 bv570 bv605 bv650 bv711 bv750 bv785 buv395 buv496 buv563 buv615 buv661 buv737 buv805 bb515 bb630 bb700
rb545 rb613 rb705 rb744 rb780 brilliantviolet421 brilliantviolet510 brilliantviolet570 brilliantviolet605
brilliantviolet650 brilliantviolet711 brilliantviolet750 brilliantviolet785 superbright436 superbright600 superbright702
af405 af488 af532 af594 af647 af700 alexa405 alexa488 alexa532 alexa594 alexa647 alexa700 alexafluor405 alexafluor488
alexafluor532 alexafluor594 alexafluor647 alexafluor700 fitc pe apc percp percpcy55 percpefluor710 pecy5 pecy55 pecy7
pecf594 pedazzle594 petexasred ecd apccy7 apch7 apcr700 apcfire750 apcfire810 apcalexafluor700 apcalexafluor750 pb
pacificblue pacificorange ko kromeorange v450 v500 amcyan efluor450 efluor506 efluor660 efluor780 qdot605 qdot655 qdot705
qdot800 qd605 qd655 qd705 qd800 cy5 cy55 cy7
"""
_DYES = frozenset(_DYE_NAMES.split())
"""Dyes as operators write them behind an antibody's name, without case and punctuation."""


def match_markers(panel: Panel, acquisition: Acquisition) -> Mapping[str, int]:
    """Find each marker's column.

    A name matches a channel by the first of these rules that any channel fits: the whole $PnS; one part of a $PnS such as
    "BV785 - CD3", "VIVID / CD14" or "CD3:APC"; a $PnS that is the name with a known dye before or behind it, such as "CD4 FITC"
    or "BV421_CD56"; the whole $PnN. Names are compared without case, spaces, hyphens, dots and other
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
        for name in required_markers_of(population)
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
    for name in _dumped(panel, found):
        del found[name]
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


def marker_named(panel: Panel, said: str) -> str | None:
    """Return the panel's marker that a name or alias means, written as anybody writes it; None where it is none of them."""
    return next(
        (one.name for one in panel.markers if _plain(said) in {_plain(name) for name in (one.name, *one.aliases)}), None
    )


def _dumped(panel: Panel, found: Mapping[str, int]) -> list[str]:
    """Markers only used where a tube has them, that share a channel with another: one dye for dead cells and monocytes."""
    used = {name for population in panel.populations for name in required_markers_of(population)}
    shared = [column for column, count in Counter(found.values()).items() if count > 1]
    together = {column: [name for name, place in found.items() if place == column] for column in shared}
    return [name for names in together.values() if any(name in used for name in names) for name in names if name not in used]


def _columns(marker: Marker, channels: Sequence[Channel]) -> list[int]:
    wanted = {_plain(name) for name in (marker.name, *marker.aliases)}
    by_detector = [column for column, channel in enumerate(channels) if _plain(channel.detector) in wanted]
    if marker.kind == "scatter":
        return by_detector
    by_marker = [column for column, channel in enumerate(channels) if _plain(channel.marker) in wanted]
    by_part = [column for column, channel in enumerate(channels) if wanted & _parts(channel.marker)]
    by_dye = [column for column, channel in enumerate(channels) if wanted & _without_dye(channel.marker)]
    fitting = by_marker or by_part or by_dye or by_detector
    areas = [column for column in fitting if channels[column].detector.upper().endswith("-A")]
    return areas if len(fitting) > 1 and areas else fitting


def _parts(text: str) -> set[str]:
    parts = re.split(r"\s+[-/|]\s+|:", text)
    return {_plain(part) for part in parts} if len(parts) > 1 else set()


def _without_dye(text: str) -> set[str]:
    """Leave a known dye's name away at either end; nothing is left where there is none."""
    plain = _plain(text)
    ahead = {plain.removeprefix(dye) for dye in _DYES if plain.startswith(dye)}
    behind = {plain.removesuffix(dye) for dye in _DYES if plain.endswith(dye)}
    return (ahead | behind) - {""}


def _plain(text: str) -> str:
    # A plus sign stays: "CD4+CD20" shares one detector and is neither CD4 nor CD20 alone.
    return "".join(letter for letter in text.casefold() if letter.isalnum() or letter == "+")


def _listed(channels: Sequence[Channel]) -> str:
    names = [f"'{channel.detector}'" + (f" ({channel.marker})" if channel.marker else "") for channel in channels]
    shown = ", ".join(names[:40])
    return shown if len(names) <= 40 else f"{shown} and {len(names) - 40} more"
