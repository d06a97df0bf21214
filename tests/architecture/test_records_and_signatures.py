"""The page and the manual's section on records and signatures: each line names a test that is there, and nothing is claimed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from biomarkers.web.controls_supported import CONTROLS

CLAIMS = re.compile(r"\b(compliant|validated)\b", re.IGNORECASE)
WRITTEN = {".py", ".html", ".md", ".toml", ".js", ".css", ".csv"}


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.control)
def test_every_line_says_what_each_side_does_and_names_a_test_that_is_there(control: object, project_root: Path) -> None:
    told = [getattr(control, name) for name in ("control", "clause", "software", "laboratory", "test")]
    assert all(told)
    file, _, function = told[-1].partition("::")
    assert file.startswith("tests/")
    assert Path(file).name.startswith("test_")
    assert function.startswith("test_")
    assert function in functions(project_root / file)


def test_the_manual_has_every_line_of_the_page(project_root: Path) -> None:
    manual = (project_root / "README.md").read_text(encoding="utf-8")
    assert [
        one.control for one in CONTROLS if f"| {one.control} | {one.clause} | {one.software} | {one.laboratory} |" not in manual
    ] == []


def test_nothing_says_of_the_software_what_only_a_laboratory_can_show_of_its_own(project_root: Path) -> None:
    places = [project_root / "README.md", project_root / "CHANGELOG.md"]
    for folder in ("biomarkers", "flows", "plate_layouts"):
        places += [path for path in sorted((project_root / folder).rglob("*")) if path.suffix in WRITTEN]
    assert [path.name for path in places if CLAIMS.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_every_test_named_is_collected(project_root: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:benchmark", *sorted({one.test for one in CONTROLS})],
        capture_output=True,
        text=True,
        check=False,
        cwd=project_root,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert [one.test for one in CONTROLS if one.test.rpartition("/")[2] not in run.stdout] == []
