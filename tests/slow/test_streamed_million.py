"""A table of a million rows leaves the laboratory in a memory that does not grow with it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from biomarkers.laboratory import create_laboratory
from biomarkers.store import timepoint_rows

MILLION = Path(__file__).parent.parent / "benchmarks" / "timepoint_million.py"
MOST_KILOBYTES_MORE = 250_000

MEASURED = """
import resource
from biomarkers.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    spec = importlib.util.spec_from_file_location("timepoint_million", MILLION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    place = tmp_path_factory.mktemp("million") / "lab"
    with create_laboratory(place) as laboratory, laboratory.database.write() as transaction:
        last = transaction.connection.execute(text("SELECT coalesce(max(id), 1) FROM alignment_set")).scalar_one()
        module.fill(transaction.connection, "sqlite", set_id=last + 1)
        timepoint_rows.rebuild(transaction)
    yield place
    (place / "lab.db").unlink()


def exported(lab: Path, target: Path, *words: str) -> int:
    """Export the table in a process of its own; return the most memory it had, in kilobytes."""
    command = [sys.executable, "-c", MEASURED, "timepoints", str(lab), "--output", str(target), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_million_rows_are_exported_in_bounded_memory(lab: Path, ending: str) -> None:
    target = lab.parent / f"table.{ending}"
    one = exported(lab, target, "--subject", "S10000")
    million = exported(lab, target)
    sys.stdout.write(f"{ending}: {target.stat().st_size / 1e6:.0f} MB written with {million / 1000:.0f} MB at most; ")
    sys.stdout.write(f"one subject's 400 rows take {one / 1000:.0f} MB\n")
    # A million rows as Python objects are more than a gigabyte.
    assert million - one < MOST_KILOBYTES_MORE
    if ending == "parquet":
        table = pq.ParquetFile(target)
        assert table.metadata.num_rows == 1_000_000
        assert table.num_row_groups > 20
    else:
        with target.open("rb") as lines:
            assert sum(1 for _ in lines) == 1_000_001
    target.unlink()
