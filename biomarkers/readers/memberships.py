"""Gated populations out of the system, as a table other software reads.

Knows Parquet. Must not know how events were gated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from biomarkers.errors import SourceFileError


def write_membership(path: Path, membership: Mapping[str, npt.NDArray[np.bool_]]) -> None:
    """Write one boolean column a population and one row an event, in file order.

    Raises
    ------
    SourceFileError
        The file cannot be written there.
    """
    try:
        parquet.write_table(pa.table({name: pa.array(members) for name, members in membership.items()}), path)
    except OSError as error:
        raise SourceFileError(
            what=f"The membership cannot be written: {error.strerror or error}.",
            where=f"File '{path}'.",
            remedy="Choose a folder that exists and that this account may write to.",
        ) from error
