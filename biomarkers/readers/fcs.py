"""FCS files → Acquisition.

Knows how the parts of a file come together, and that one file may hold several data sets. Must not know markers' meaning or
gates. Where a file contradicts itself it is read the one way that fits, with a finding, or refused; it is never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.errors import SourceFileError
from biomarkers.readers.fcs_events import decode_events, drop_garbage, linearise
from biomarkers.readers.fcs_parameters import read_parameters
from biomarkers.readers.fcs_segments import Layout, locate_data, read_layouts
from biomarkers.readers.spillover_matrices import stated_spillover
from biomarkers.results import Finding, Severity

MOST_VALUES = 120_000_000
"""Events times channels held in memory at once: 480 MB as float32, four million events of thirty channels."""

MOST_FILE_BYTES = 1_000_000_000
"""Largest file opened; with :data:`MOST_VALUES` it bounds time and memory whatever the file claims."""

LONGEST_KEYWORD = 512
"""Characters of a keyword's value kept; longer ones are settings of the acquisition software."""

CHANNEL_KEYWORD = re.compile(r"\$?P\d+")
"""Keywords that describe one channel; what matters of them is in the channels."""

SAME_EVENTS = 0.98
"""Correlation of two data sets' first channels, event by event, from which they are one acquisition stored twice, as Coulter
instruments do at two resolutions. Different tubes give values near 0."""


def read_fcs(path: Path, *, data_set: int | None = None) -> Acquisition:
    """Read a data set of an FCS 2.0-3.2 file.

    Parameters
    ----------
    data_set
        Which one, from 1 on. Without it a file must hold one acquisition: several data sets must be the same events stored more
        than once, and the first is read.

    Raises
    ------
    SourceFileError
        The file is no FCS file, is cut off, contradicts itself, holds several acquisitions, or uses what is not supported
        (ASCII data, histograms); all faults of its keywords are reported together.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.name, data_set)
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be read: {error.strerror or error}.",
            where=f"File '{path.name}'.",
            remedy="Check that it exists and that this account may read it.",
        ) from error


def _read(file: BinaryIO, name: str, data_set: int | None) -> Acquisition:
    where = f"File '{name}'."
    file_bytes = file.seek(0, 2)
    if file_bytes > MOST_FILE_BYTES:
        raise SourceFileError(
            what=f"The file has {file_bytes / 1e6:.0f} MB; more than {MOST_FILE_BYTES / 1e6:.0f} MB is not read.",
            where=where,
            remedy="Export fewer events, or only the channels the panel needs.",
        )
    layouts, broken_off = read_layouts(file, name)
    if data_set is not None:
        if not 0 < data_set <= len(layouts):
            raise SourceFileError(
                what=f"The file holds {len(layouts)} data sets; number {data_set} was asked for.",
                where=where,
                remedy=f"Ask for one of 1 to {len(layouts)}.",
            )
        chosen = _read_data_set(file, layouts[data_set - 1], name)
        return chosen if len(layouts) == 1 else replace(chosen, name=f"{chosen.name}#{data_set}")
    found = _read_data_set(file, layouts[0], name) if len(layouts) == 1 else _the_only(file, layouts, name)
    return replace(found, findings=(*found.findings, _broken_off(name, broken_off))) if broken_off else found


def _the_only(file: BinaryIO, layouts: tuple[Layout, ...], name: str) -> Acquisition:
    """Read the acquisition of a file with several data sets, where it is one acquisition stored several times."""
    filled = [(number, layout) for number, layout in enumerate(layouts, start=1) if _event_count(layout.keywords, name) != 0]
    if not filled:
        return _read_data_set(file, layouts[0], name)
    values = sum(_stated_values(layout, name) for _, layout in filled)
    if len(filled) > 1 and values > MOST_VALUES:
        raise SourceFileError(
            what=f"The {len(layouts)} data sets hold {values} values together; more than {MOST_VALUES} are not compared.",
            where=f"File '{name}'.",
            remedy="Export each to a file of its own, or say in the sidecar which data_set is meant.",
        )
    first = _read_data_set(file, filled[0][1], name)
    for number, layout in filled[1:]:
        if _event_count(layout.keywords, name) != first.event_count or not _same_events(
            first, _read_data_set(file, layout, name)
        ):
            raise SourceFileError(
                what=f"The file holds {len(layouts)} data sets that are different acquisitions: "
                f"{'; '.join(_described(*entry) for entry in enumerate(layouts, start=1))}.",
                where=f"File '{name}', data sets {filled[0][0]} and {number}.",
                remedy="Export each to a file of its own, or say in the sidecar which data_set is meant.",
            )
    others = "; ".join(_described(*entry) for entry in enumerate(layouts, start=1) if entry[0] != filled[0][0])
    note = Finding(
        code="SEVERAL_DATA_SETS",
        severity=Severity.WARNING if len(filled) > 1 else Severity.NOTE,
        where=f"File '{name}', keyword $NEXTDATA.",
        message=f"Data set {filled[0][0]} of {len(layouts)} was read. The others hold the same events, or none: {others}.",
        remedy="Say in the sidecar which data_set is meant if another is wanted.",
    )
    return replace(first, findings=(*first.findings, note))


def _stated_values(layout: Layout, name: str) -> int:
    count = layout.keywords.get("$PAR", "")
    channels = int(count[:6]) if count.isascii() and count.isdigit() else 0
    return (_event_count(layout.keywords, name) or 0) * channels


def _same_events(one: Acquisition, other: Acquisition) -> bool:
    x, y = (acquisition.events[:, 0].astype(np.float64) for acquisition in (one, other))
    if x.size < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()) or x.std() == 0 or y.std() == 0:
        return False
    return float(np.corrcoef(x, y)[0, 1]) >= SAME_EVENTS


def _described(number: int, layout: Layout) -> str:
    keywords = layout.keywords
    return (
        f"{number}: {layout.version}, {keywords.get('$TOT', '?')[:15]} events, {keywords.get('$PAR', '?')[:6]} channels from "
        f"'{keywords.get('$P1N', '')[:20]}' on"
    )


def _broken_off(name: str, why: str) -> Finding:
    return Finding(
        code="NEXT_DATA_SET_UNREADABLE",
        severity=Severity.WARNING,
        where=f"File '{name}', keyword $NEXTDATA.",
        message=f"A further data set is announced but {why}.",
        remedy="Copy the file again if it should hold more than one acquisition.",
    )


def _read_data_set(file: BinaryIO, layout: Layout, name: str) -> Acquisition:
    parameters = read_parameters(layout.keywords, name)
    event_bytes = sum(parameter.width for parameter in parameters)
    data, decided = locate_data(layout, event_bytes, _event_count(layout.keywords, name), name)
    event_count = data.size // event_bytes
    if event_count * len(parameters) > MOST_VALUES:
        raise SourceFileError(
            what=f"{event_count} events of {len(parameters)} channels are more than {MOST_VALUES} values.",
            where=f"File '{name}'.",
            remedy="Export fewer events, or only the channels the panel needs.",
        )
    events = decode_events(file, layout.base + data.first, event_count, parameters)
    findings = [
        *_offset_findings(decided, name),
        *linearise(events, parameters, layout.keywords, name),
        *drop_garbage(events, name),
    ]
    stated = stated_spillover(layout.keywords, name)
    events.flags.writeable = False
    return Acquisition(
        name=Path(name).stem,
        version=layout.version.removeprefix("FCS"),
        events=events,
        channels=tuple(Channel(detector=p.detector, marker=p.marker, top=p.top) for p in parameters),
        spillover=stated.spillover,
        keywords={
            key: value
            for key, value in layout.keywords.items()
            if len(value) <= LONGEST_KEYWORD and not CHANNEL_KEYWORD.match(key)
        },
        acquired_at=_acquired_at(layout.keywords),
        findings=(*findings, *stated.findings),
    )


def _event_count(keywords: Mapping[str, str], name: str) -> int | None:
    text = keywords.get("$TOT", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise SourceFileError(
            what=f"The keyword $TOT says '{text[:20]}', no number of events.",
            where=f"File '{name}'.",
            remedy="Export the file again from the acquisition software.",
        )
    return int(text)


def _offset_findings(decided: str, name: str) -> Iterator[Finding]:
    if decided:
        yield Finding(
            code="OFFSETS_CORRECTED",
            severity=Severity.WARNING,
            where=f"File '{name}'.",
            message=decided,
            remedy="Check the number of events against the acquisition software; export again if they differ.",
        )


def _acquired_at(keywords: Mapping[str, str]) -> str:
    stated = keywords.get("$BEGINDATETIME", "")
    return stated or " ".join(part for part in (keywords.get("$DATE", ""), keywords.get("$BTIM", "")) if part)
