"""The unit that runs a laboratory as a service is one that systemd takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biomarkers.cli import app
from biomarkers.laboratory import create_laboratory


@pytest.mark.parametrize("name", ["lab", "lab of the second floor", "100%-lab"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, name: str) -> None:
    create_laboratory(tmp_path / name).close()
    printed = CliRunner().invoke(app, ["up", str(tmp_path / name), "--print-unit"])
    assert printed.exit_code == 0
    assert f'up "{tmp_path / name}"'.replace("%", "%%") in printed.stdout
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "biomarkers-lab.service"
    unit.write_text(printed.stdout)
    run = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in run.stderr.splitlines() if "biomarkers-lab.service" in line]
    assert told == []
