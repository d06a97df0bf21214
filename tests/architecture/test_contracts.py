"""The house's own rules, held by machine."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from biomarkers import errors
from biomarkers.errors import BiomarkersError, Fault


def test_imports_run_one_way(project_root: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=project_root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


ERROR_TYPES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BiomarkersError)]


@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_every_error_crosses_a_process_border_whole(kind: type[BiomarkersError]) -> None:
    faults = [
        Fault(where="Line 2.", what="It is torn.", remedy="Mend it."),
        Fault(where="Line 1.", what="Gone.", remedy="Find."),
    ]
    error = kind.gathered(faults)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.faults == tuple(sorted(faults))
    assert str(again) == str(error)
    assert again.is_transient == error.is_transient


def test_only_errors_that_may_pass_by_themselves_are_retried() -> None:
    assert [kind.__name__ for kind in ERROR_TYPES if kind.is_transient] == ["TemporarilyUnavailableError"]


def test_no_python_file_is_longer_than_600_lines(project_root: Path) -> None:
    long = {
        str(path.relative_to(project_root)): count
        for folder in ("biomarkers", "flows", "tests")
        for path in (project_root / folder).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}
