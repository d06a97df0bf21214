"""The DATA segment of an FCS data set → linear float32 events.

Knows bytes, amplification, gain and the clock's step. Must not know where DATA lies or what a marker is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from biomarkers.readers.fcs_parameters import FcsParameter, non_negative
from biomarkers.results import Finding, Severity

LARGEST_VALUE = 1e12
"""Beyond what any detector's scale reaches, by five powers of ten; larger values are garbage."""

CHUNK_EVENTS = 1 << 16
"""Events decoded at a time where they must be unpacked, so that memory stays near that of the result."""

Events = npt.NDArray[np.float32]


def decode_events(file: BinaryIO, first: int, event_count: int, parameters: Sequence[FcsParameter]) -> Events:
    """Read events as float32, shape (events, channels), as stored."""
    file.seek(first)
    count = len(parameters)
    storages = {parameter.storage for parameter in parameters}
    storage = storages.pop() if len(storages) == 1 else None
    if storage in ("<f4", ">f4"):
        raw = np.fromfile(file, dtype=storage, count=event_count * count)
        if not raw.dtype.isnative:  # turned round in place: a copy would double the memory of the largest files
            raw = raw.byteswap(inplace=True).view(raw.dtype.newbyteorder("="))
        return raw.view(np.float32).reshape(event_count, count)
    events = np.empty((event_count, count), dtype=np.float32)
    event_bytes = sum(parameter.width for parameter in parameters)
    for start in range(0, event_count, CHUNK_EVENTS):
        stop = min(event_count, start + CHUNK_EVENTS)
        with np.errstate(over="ignore"):  # doubles beyond float32 become infinite and are dealt with later
            if storage is not None:
                table = np.fromfile(file, dtype=storage, count=(stop - start) * count).reshape(-1, count)
                for index, parameter in enumerate(parameters):
                    events[start:stop, index] = _masked(table[:, index], parameter)
            else:
                octets = np.fromfile(file, dtype=np.uint8, count=(stop - start) * event_bytes).reshape(-1, event_bytes)
                _unpack(octets, parameters, events[start:stop])
    return events


def _unpack(octets: npt.NDArray[np.uint8], parameters: Sequence[FcsParameter], events: Events) -> None:
    """Decode channels of different widths or unusual byte orders, byte by byte."""
    place = 0
    for index, parameter in enumerate(parameters):
        width = parameter.width
        field = octets[:, place : place + width]
        place += width
        whole = 1 << (width - 1).bit_length()  # 3 bytes make a word of 4, 5 to 7 one of 8
        word = np.zeros((octets.shape[0], whole), dtype=np.uint8)
        order = parameter.byte_order
        for position in range(width):
            significance = order[position] if width == 4 else position if order[0] == 0 else width - 1 - position
            word[:, significance] = field[:, position]
        values = word.view(f"<{'u' if parameter.is_integer else 'f'}{whole}")[:, 0]
        events[:, index] = _masked(values, parameter)


def _masked(column: npt.NDArray[np.generic], parameter: FcsParameter) -> npt.NDArray[np.generic]:
    return column if parameter.bit_mask is None else np.bitwise_and(column, column.dtype.type(parameter.bit_mask))


def linearise(events: Events, parameters: Sequence[FcsParameter], keywords: Mapping[str, str], name: str) -> Iterator[Finding]:
    """Undo amplification and gain in place; time becomes seconds."""
    with np.errstate(over="ignore", invalid="ignore"):
        for index, parameter in enumerate(parameters):
            column = events[:, index]
            if parameter.is_time:
                yield from _scale_time(column, keywords, name)
                continue
            if parameter.is_logarithmic:
                exponent = column.astype(np.float64) * (parameter.decades / parameter.range if parameter.range else np.nan)
                events[:, index] = 10.0**exponent * parameter.offset
            if parameter.gain not in (0.0, 1.0):
                column /= np.float32(parameter.gain)
    ignored = [p.detector for p in parameters if p.decades > 0 and not p.is_integer]
    if ignored:
        yield Finding(
            code="AMPLIFICATION_IGNORED",
            severity=Severity.NOTE,
            where=f"File '{name}', channels {', '.join(ignored[:8])}.",
            message="The file states a logarithmic amplifier for floating-point values, which the standard forbids.",
            remedy="None needed: the values were taken as linear, which is what such files hold.",
        )


def _scale_time(column: npt.NDArray[np.float32], keywords: Mapping[str, str], name: str) -> Iterator[Finding]:
    text = keywords.get("$TIMESTEP", "")
    if not text:
        return
    try:
        column *= np.float32(non_negative(text, "$TIMESTEP"))
    except ValueError:
        yield Finding(
            code="TIMESTEP_UNREADABLE",
            severity=Severity.NOTE,
            where=f"File '{name}', keyword $TIMESTEP.",
            message=f"The time step says '{text[:20]}', no number; time is left in the instrument's own steps.",
            remedy="None needed unless times in seconds matter.",
        )


def drop_garbage(events: Events, name: str) -> Iterator[Finding]:
    """Make values that are no measurement missing, in place, so that no gate keeps their events."""
    rows = 0
    for start in range(0, events.shape[0], CHUNK_EVENTS):
        chunk = events[start : start + CHUNK_EVENTS]
        # Two passes without a copy: a missing value makes both ends missing.
        low, high = (float(end) for end in (chunk.min(), chunk.max()))
        if low >= -LARGEST_VALUE and high <= LARGEST_VALUE:
            continue
        odd = ~(np.abs(chunk) <= LARGEST_VALUE)
        rows += int(np.count_nonzero(odd.any(axis=1)))
        chunk[odd] = np.nan
    if rows:
        yield Finding(
            code="VALUES_NOT_FINITE",
            severity=Severity.WARNING,
            where=f"File '{name}'.",
            message=f"{rows} of {events.shape[0]} events hold values that are no measurement; no gate keeps them.",
            remedy="Export the file again; if the values stay, ask the instrument's service.",
        )
