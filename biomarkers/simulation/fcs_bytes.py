"""FCS 3.1 as bytes.

Knows the standard's header, text and data segments (Spidlen et al., Cytometry A 2010;77:97). Must not know what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DELIMITER = "|"
TOP_OF_SCALE = 262144
"""$PnR of an 18-bit cytometer."""

_HEADER_BYTES = 58
_TEXT_STARTS = 256
_LARGEST_HEADER_OFFSET = 99_999_999
_OFFSET_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One column: $PnN, and $PnS where a reagent was named."""

    name: str
    marker: str = ""


def fcs_bytes(
    events: NDArray[np.float32], detectors: Sequence[Detector], keywords: Mapping[str, str], *, lying_by: int = 0
) -> bytes:
    """Write one data set of 32-bit floats, little-endian.

    Parameters
    ----------
    events
        Shape (events, detectors).
    keywords
        Further keywords, such as ``$DATE`` and ``$SPILLOVER``.
    lying_by
        Bytes by which header and text overstate where the data end; 0 for a sound file.
    """
    data = np.ascontiguousarray(events, dtype="<f4").tobytes()
    numbers = {"$BEGINDATA": 0, "$ENDDATA": 0}
    # Offsets stand in the text whose length they decide; padded to a fixed width they do not change it.
    draft = _text(events.shape[0], detectors, keywords, numbers)
    first = _TEXT_STARTS + len(draft)
    last = first + len(data) - 1 + lying_by
    text = _text(events.shape[0], detectors, keywords, {"$BEGINDATA": first, "$ENDDATA": last})
    in_header = (first, last) if last <= _LARGEST_HEADER_OFFSET else (0, 0)
    offsets = (_TEXT_STARTS, _TEXT_STARTS + len(text) - 1, *in_header, 0, 0)
    header = ("FCS3.1    " + "".join(f"{offset:8d}" for offset in offsets)).encode()
    assert len(header) == _HEADER_BYTES
    return header.ljust(_TEXT_STARTS) + text + data + b"00000000"


def _text(count: int, detectors: Sequence[Detector], keywords: Mapping[str, str], offsets: Mapping[str, int]) -> bytes:
    entries = {
        **{name: f"{offset:0{_OFFSET_DIGITS}d}" for name, offset in offsets.items()},
        "$BEGINANALYSIS": "0",
        "$ENDANALYSIS": "0",
        "$BEGINSTEXT": "0",
        "$ENDSTEXT": "0",
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$MODE": "L",
        "$NEXTDATA": "0",
        "$PAR": str(len(detectors)),
        "$TOT": str(count),
    }
    for number, detector in enumerate(detectors, start=1):
        entries |= {
            f"$P{number}N": detector.name,
            f"$P{number}B": "32",
            f"$P{number}E": "0,0",
            f"$P{number}R": str(TOP_OF_SCALE),
        }
        if detector.marker:
            entries[f"$P{number}S"] = detector.marker
    entries |= keywords
    written = (part.replace(DELIMITER, DELIMITER * 2) for entry in entries.items() for part in entry)
    return (DELIMITER + DELIMITER.join(written) + DELIMITER).encode()


def spillover_keyword(detectors: Sequence[str], spillover: NDArray[np.float64]) -> str:
    """Write a spillover matrix as the standard's ``$SPILLOVER`` value: count, detectors, then the rows."""
    numbers = (f"{value:.6g}" for value in spillover.ravel())
    return ",".join([str(len(detectors)), *detectors, *numbers])
