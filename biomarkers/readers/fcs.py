"""FCS files → Acquisition.

Knows the standard's data types, amplification, gain and spillover keywords. Must not know markers' meaning or gates. Where a
file contradicts itself it is read the one way that fits, with a finding, or refused; it is never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition, Channel, Spillover
from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.fcs_segments import MOST_CHANNELS, Layout, locate_data, read_layout
from biomarkers.results import Finding, Severity

MOST_VALUES = 120_000_000
"""Events times channels held in memory at once: 480 MB as float32, four million events of thirty channels."""

MOST_SPILLOVER_DETECTORS = 512
"""No instrument has more; keeps a lying matrix from costing minutes to invert."""

MOST_FILE_BYTES = 1_000_000_000
"""Largest file opened; with :data:`MOST_VALUES` it bounds time and memory whatever the file claims."""

LONGEST_KEYWORD = 512
"""Characters of a keyword's value kept; longer ones are settings of the acquisition software."""

LARGEST_VALUE = 1e12
"""Beyond what any detector's scale reaches, by five powers of ten; larger values are garbage."""

CHUNK_EVENTS = 1 << 16
"""Events decoded at a time where they must be unpacked, so that memory stays near that of the result."""

CHANNEL_KEYWORD = re.compile(r"\$?P\d+")
"""Keywords that describe one channel; what matters of them is in the channels."""

SPILLOVER_KEYWORDS = ("$SPILLOVER", "SPILLOVER", "$SPILL", "SPILL")
"""Where a spillover matrix is found: by FCS 3.1, then as other software writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """One $Pn block: how a channel is stored and what its numbers mean."""

    detector: str
    marker: str
    storage: np.dtype[np.generic]
    bit_mask: int | None
    range: float
    decades: float
    offset: float
    gain: float
    is_integer: bool

    @property
    def is_logarithmic(self) -> bool:
        """Stored as steps of a logarithmic amplifier; the standard allows that for integers alone."""
        return self.is_integer and self.decades > 0


def read_fcs(path: Path) -> Acquisition:
    """Read the first data set of an FCS 2.0-3.2 file.

    Raises
    ------
    SourceFileError
        The file is no FCS file, is cut off, contradicts itself, or uses what is not supported (ASCII data, histograms); all
        faults of its keywords are reported together.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.name)
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be read: {error.strerror or error}.",
            where=f"File '{path.name}'.",
            remedy="Check that it exists and that this account may read it.",
        ) from error


def _read(file: BinaryIO, name: str) -> Acquisition:
    where = f"File '{name}'."
    layout = read_layout(file, name)
    if layout.file_bytes > MOST_FILE_BYTES:
        raise SourceFileError(
            what=f"The file has {layout.file_bytes / 1e6:.0f} MB; more than {MOST_FILE_BYTES / 1e6:.0f} MB is not read.",
            where=where,
            remedy="Export fewer events, or only the channels the panel needs.",
        )
    parameters = _parameters(layout.keywords, name)
    event_bytes = sum(parameter.storage.itemsize for parameter in parameters)
    data, decided = locate_data(layout, event_bytes, _event_count(layout.keywords, where), name)
    event_count = data.size // event_bytes
    if event_count * len(parameters) > MOST_VALUES:
        raise SourceFileError(
            what=f"{event_count} events of {len(parameters)} channels are more than {MOST_VALUES} values.",
            where=where,
            remedy="Export fewer events, or only the channels the panel needs.",
        )
    events = _decode(file, data.first, event_count, parameters)
    findings = [*_layout_findings(layout, decided, name), *_linearise(events, parameters, layout.keywords, name)]
    events, odd = _drop_infinite(events, name)
    spillover, trouble = _spillover(layout.keywords, name)
    events.flags.writeable = False
    return Acquisition(
        name=Path(name).stem,
        version=layout.version.removeprefix("FCS"),
        events=events,
        channels=tuple(Channel(detector=p.detector, marker=p.marker, top=_top(p)) for p in parameters),
        spillover=spillover,
        keywords={
            key: value
            for key, value in layout.keywords.items()
            if len(value) <= LONGEST_KEYWORD and not CHANNEL_KEYWORD.match(key)
        },
        acquired_at=_acquired_at(layout.keywords),
        findings=(*findings, *odd, *trouble),
    )


def _parameters(keywords: Mapping[str, str], name: str) -> tuple[_Parameter, ...]:
    """Read every $Pn block; all faults together."""
    where = f"File '{name}'."
    count = keywords.get("$PAR", "")
    if not count.isdigit() or not 0 < int(count[:6]) <= MOST_CHANNELS:
        raise SourceFileError(
            what=f"The keyword $PAR says '{count[:20]}', no number of channels.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    mode = keywords.get("$MODE", "L")
    if mode.upper() != "L":
        raise SourceFileError(
            what=f"The file holds histograms ($MODE '{mode[:20]}'), not events.", where=where, remedy="Export list mode data."
        )
    parameters: list[_Parameter] = []
    faults: list[Fault] = []
    for number in range(1, int(count) + 1):
        try:
            parameters.append(_parameter(keywords, number))
        except ValueError as error:
            faults.append(
                Fault(
                    where=f"{where[:-1]}, channel {number:03d}.", what=f"{error}.", remedy="Export the file again as FCS 3.1."
                )
            )
    detectors = [parameter.detector.casefold() for parameter in parameters]
    faults.extend(
        Fault(where=where, what=f"Two channels are called '{detector}' ($PnN).", remedy="Rename one and export again.")
        for detector in sorted({detector for detector in detectors if detectors.count(detector) > 1})
    )
    if faults:
        raise SourceFileError.gathered(faults)
    return tuple(parameters)


def _parameter(keywords: Mapping[str, str], number: int) -> _Parameter:
    kind = keywords.get(f"$P{number}DATATYPE", keywords.get("$DATATYPE", "")).upper()
    bits = keywords.get(f"$P{number}B", "")
    detector = keywords.get(f"$P{number}N", "")
    if not detector:
        raise ValueError(f"$P{number}N, the channel's name, is missing")
    largest = _number(keywords.get(f"$P{number}R", ""), f"$P{number}R")
    order = _byte_order(keywords.get("$BYTEORD", ""))
    if kind == "I" and bits in {"8", "16", "32", "64"}:
        storage = np.dtype(f"{order}u{int(bits) // 8}")
    elif kind in {"F", "D"} and bits == {"F": "32", "D": "64"}[kind]:
        storage = np.dtype(f"{order}f{int(bits) // 8}")
    else:
        raise ValueError(f"data type '{kind[:10]}' with '{bits[:10]}' bits is not supported")
    decades, offset = _amplification(keywords.get(f"$P{number}E", "0,0"), number)
    gain = keywords.get(f"$P{number}G", "")
    return _Parameter(
        detector=detector,
        marker=keywords.get(f"$P{number}S", ""),
        storage=storage,
        bit_mask=_bit_mask(largest, int(bits)) if kind == "I" else None,
        range=largest,
        decades=decades,
        offset=offset,
        gain=_number(gain, f"$P{number}G") if gain else 1.0,
        is_integer=kind == "I",
    )


def _number(text: str, keyword: str) -> float:
    try:
        value = float(text[:40])
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise ValueError(f"{keyword} says '{text[:20]}', no number")
    return value


def _byte_order(text: str) -> str:
    order = text.replace(" ", "")
    if order in {"1,2,3,4", "1,2", "1,2,3,4,5,6,7,8"}:
        return "<"
    if order in {"4,3,2,1", "2,1", "8,7,6,5,4,3,2,1"}:
        return ">"
    raise ValueError(f"$BYTEORD '{text[:20]}' is not supported")


def _amplification(text: str, number: int) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise ValueError(f"$P{number}E says '{text[:20]}', not two numbers")
    decades, offset = (_number(part, f"$P{number}E") for part in parts)
    if decades > 20 or offset > 1e6:
        raise ValueError(f"$P{number}E says '{text[:20]}', which no amplifier does")
    # "4,0" is written for "4,1"; the standard asks readers to understand it so.
    return decades, offset or 1.0


def _bit_mask(largest: float, bits: int) -> int | None:
    """Bits above the range are to be ignored, says the standard; None where the range fills the word."""
    if largest < 1 or largest >= 2**bits:
        return None
    return int((1 << (int(largest) - 1).bit_length()) - 1) if largest > 1 else None


def _event_count(keywords: Mapping[str, str], where: str) -> int | None:
    text = keywords.get("$TOT", "")
    if not text:
        return None
    if not text.isdigit() or len(text) > 15:
        raise SourceFileError(
            what=f"The keyword $TOT says '{text[:20]}', no number of events.",
            where=where,
            remedy="Export the file again from the acquisition software.",
        )
    return int(text)


def _decode(file: BinaryIO, first: int, event_count: int, parameters: tuple[_Parameter, ...]) -> npt.NDArray[np.float32]:
    """Read events as float32, shape (events, channels), as stored."""
    file.seek(first)
    count = len(parameters)
    storages = {parameter.storage for parameter in parameters}
    if len(storages) == 1 and next(iter(storages)).newbyteorder("=") == np.float32:
        raw = np.fromfile(file, dtype=parameters[0].storage, count=event_count * count)
        if not raw.dtype.isnative:  # turned round in place: a copy would double the memory of the largest files
            raw = raw.byteswap(inplace=True).view(raw.dtype.newbyteorder("="))
        return raw.view(np.float32).reshape(event_count, count)
    record = np.dtype([(f"c{index}", parameter.storage) for index, parameter in enumerate(parameters)])
    events = np.empty((event_count, count), dtype=np.float32)
    for start in range(0, event_count, CHUNK_EVENTS):
        stop = min(event_count, start + CHUNK_EVENTS)
        chunk = np.fromfile(file, dtype=record, count=stop - start)
        for index, parameter in enumerate(parameters):
            column = chunk[f"c{index}"]
            with np.errstate(over="ignore"):  # doubles beyond float32 become infinite and are dealt with below
                events[start:stop, index] = column if parameter.bit_mask is None else column & parameter.bit_mask
    return events


def _linearise(
    events: npt.NDArray[np.float32], parameters: tuple[_Parameter, ...], keywords: Mapping[str, str], name: str
) -> Iterator[Finding]:
    """Undo amplification and gain in place; time becomes seconds."""
    with np.errstate(over="ignore", invalid="ignore"):
        for index, parameter in enumerate(parameters):
            column = events[:, index]
            if parameter.detector.casefold() == "time":
                yield from _scale_time(column, keywords, name)
                continue
            if parameter.is_logarithmic:
                exponent = column.astype(np.float64) * (parameter.decades / parameter.range)
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
        column *= np.float32(_number(text, "$TIMESTEP"))
    except ValueError:
        yield Finding(
            code="TIMESTEP_UNREADABLE",
            severity=Severity.NOTE,
            where=f"File '{name}', keyword $TIMESTEP.",
            message=f"The time step says '{text[:20]}', no number; time is left in the instrument's own steps.",
            remedy="None needed unless times in seconds matter.",
        )


def _drop_infinite(events: npt.NDArray[np.float32], name: str) -> tuple[npt.NDArray[np.float32], tuple[Finding, ...]]:
    """Make values that are no measurement missing, so that no gate keeps their events."""
    rows = 0
    for start in range(0, events.shape[0], CHUNK_EVENTS):
        chunk = events[start : start + CHUNK_EVENTS]
        odd = ~(np.abs(chunk) <= LARGEST_VALUE)
        if odd.any():
            rows += int(np.count_nonzero(odd.any(axis=1)))
            chunk[odd] = np.nan
    if rows == 0:
        return events, ()
    return events, (
        Finding(
            code="VALUES_NOT_FINITE",
            severity=Severity.WARNING,
            where=f"File '{name}'.",
            message=f"{rows} of {events.shape[0]} events hold values that are no measurement; no gate keeps them.",
            remedy="Export the file again; if the values stay, ask the instrument's service.",
        ),
    )


def _layout_findings(layout: Layout, decided: str, name: str) -> Iterator[Finding]:
    if decided:
        yield Finding(
            code="OFFSETS_CORRECTED",
            severity=Severity.WARNING,
            where=f"File '{name}'.",
            message=decided,
            remedy="Check the number of events against the acquisition software; export again if they differ.",
        )
    following = layout.keywords.get("$NEXTDATA", "0")
    if following.isdigit() and following.strip("0"):
        yield Finding(
            code="SEVERAL_DATA_SETS",
            severity=Severity.WARNING,
            where=f"File '{name}', keyword $NEXTDATA.",
            message=f"Another data set begins at byte {following[:20]}; only the first one was read.",
            remedy="Export each data set to a file of its own if the others are wanted.",
        )


def _spillover(keywords: Mapping[str, str], name: str) -> tuple[Spillover | None, tuple[Finding, ...]]:
    for keyword in SPILLOVER_KEYWORDS:
        text = keywords.get(keyword, "")
        if not text:
            continue
        try:
            return _parse_spillover(keyword, text), ()
        except ValueError as error:
            return None, (
                Finding(
                    code="SPILLOVER_UNREADABLE",
                    severity=Severity.WARNING,
                    where=f"File '{name}', keyword {keyword}.",
                    message=f"The spillover matrix cannot be used: {error}.",
                    remedy="Export the file again with the compensation that was set at acquisition.",
                ),
            )
    return None, ()


def _parse_spillover(keyword: str, text: str) -> Spillover:
    fields = [field.strip() for field in text.split(",")]
    if not fields[0].isdigit() or not 0 < int(fields[0][:6]) <= MOST_SPILLOVER_DETECTORS:
        raise ValueError(f"it begins with '{fields[0][:20]}', no number of detectors")
    count = int(fields[0])
    if len(fields) != 1 + count + count * count:
        raise ValueError(f"{count} detectors need {1 + count + count * count} fields, there are {len(fields)}")
    detectors = tuple(fields[1 : 1 + count])
    try:
        matrix = np.array([float(field) for field in fields[1 + count :]], dtype=np.float64).reshape(count, count)
    except ValueError:
        raise ValueError("a coefficient is no number") from None
    if len(set(detectors)) != count or not np.isfinite(matrix).all():
        raise ValueError("a detector is named twice, or a coefficient is not finite")
    return Spillover(keyword=keyword, detectors=detectors, matrix=matrix)


def _top(parameter: _Parameter) -> float:
    """Upper end of the channel's range on the scale of its linear values."""
    gain = parameter.gain or 1.0
    top = 10.0**parameter.decades * parameter.offset if parameter.is_logarithmic else parameter.range
    return top / gain


def _acquired_at(keywords: Mapping[str, str]) -> str:
    stated = keywords.get("$BEGINDATETIME", "")
    return stated or " ".join(part for part in (keywords.get("$DATE", ""), keywords.get("$BTIM", "")) if part)
