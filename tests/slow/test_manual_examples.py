"""What the manual shows a scientist runs as it stands, on the laboratory its demonstration makes."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

MANUAL = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMAND = Path(sys.executable).with_name("biomarkers")

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    assert found
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run([COMMAND, "demo"], cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(1200)
def test_the_blocks_of_python_run(place: Path) -> None:
    script = place / "notebook.py"
    script.write_text("\n".join(blocks("python")))
    done = subprocess.run([sys.executable, script], cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(1200)
def test_the_lines_in_sql_find_rows(place: Path) -> None:
    queries = re.findall(r'"(SELECT [^"]*)"', MANUAL)
    assert len(queries) >= 2
    for query in queries:
        connection = sqlite3.connect(f"file:{place / 'demo-lab' / 'lab.db'}?mode=ro", uri=True)
        assert connection.execute(query).fetchall(), query
        connection.close()


@pytest.mark.timeout(1200)
def test_the_block_in_r_runs_or_where_there_is_no_r_names_tables_files_and_columns_that_are_there(place: Path) -> None:
    for words in (
        ["timepoints", "demo-lab", "--output", "table.parquet"],
        ["export", "demo-lab", "--as", "sdtm", "--as-of", "2026-06-30"],
    ):
        subprocess.run([COMMAND, *words], cwd=place, capture_output=True, check=True, timeout=300)
    (block,) = blocks("r")
    if shutil.which("Rscript"):
        (place / "notebook.R").write_text(block)
        subprocess.run(["Rscript", "notebook.R"], cwd=place, capture_output=True, check=True, timeout=300)
    for name in re.findall(r'"([^"\s]+\.(?:parquet|db|xpt))"', block):
        assert (place / name).is_file(), name
    table = pd.read_parquet(place / "table.parquet")
    named = set(re.findall(r"(?:filter|group_by|summarise|median)\(([a-z_]+)", block))
    assert {"measurand", "visit", "change"} <= named
    assert named - {"n"} <= set(table.columns)
    assert not table[(table["measurand"] == "IL6") & (table["status"] == "measured")].empty
