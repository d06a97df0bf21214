"""A table written piece by piece, as CSV or Parquet: the same rows as in one go, without holding them all.

Knows formats. Must not know where the pieces come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from biomarkers.reports.tables import guarded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

STREAMED = ("csv", "parquet")


def stream_table(pieces: Iterable[pd.DataFrame], table_format: str, target: BinaryIO) -> int:
    """Write pieces of one table, which have the same columns, one after another; return how many rows there were.

    Parameters
    ----------
    pieces
        At least one; types are those of the timepoint table and do not depend on what happens to be missing.
    table_format
        ``csv`` or ``parquet``.
    """
    return _csv(pieces, target) if table_format == "csv" else _parquet(pieces, target)


def _csv(pieces: Iterable[pd.DataFrame], target: BinaryIO) -> int:
    count = 0
    for number, piece in enumerate(pieces):
        target.write(guarded(piece).to_csv(index=False, lineterminator="\n", header=number == 0).encode())
        count += len(piece)
    return count


def _parquet(pieces: Iterable[pd.DataFrame], target: BinaryIO) -> int:
    import pyarrow as pa  # noqa: PLC0415  - a third of a second that only this format needs
    import pyarrow.parquet as pq  # noqa: PLC0415  - as above

    count = 0
    writer: pq.ParquetWriter | None = None
    try:
        for piece in pieces:
            if writer is None:
                schema = pa.schema([(str(name), _arrow_type(piece[name])) for name in piece.columns])
                writer = pq.ParquetWriter(target, schema)
            writer.write_table(pa.Table.from_pandas(piece, schema=writer.schema, preserve_index=False))
            count += len(piece)
    finally:
        if writer is not None:
            writer.close()
    return count


def _arrow_type(column: pd.Series) -> pa.DataType:
    """Say how a column lies in the file: text is text also in a piece that has none."""
    import pyarrow as pa  # noqa: PLC0415  - as above

    words = {"Int64": pa.int64(), "boolean": pa.bool_(), "float64": pa.float64()}
    return words.get(str(column.dtype), pa.string())
