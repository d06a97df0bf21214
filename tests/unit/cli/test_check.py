from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from biomarkers.cli import app
from biomarkers.laboratory import create_laboratory


def test_a_sound_laboratory_is_checked_and_its_assumptions_are_listed(tmp_path: Path) -> None:
    create_laboratory(tmp_path / "lab").close()
    result = CliRunner().invoke(app, ["check", str(tmp_path / "lab"), "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["faults"] == []
    assert "lab.toml" in report["checked"]
    assert "visits[C2D1].windows[1]" in report["assumptions"]
    assert "visits[C2D1]" not in report["assumptions"]


def test_all_that_is_wrong_in_several_files_is_said_at_once(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    create_laboratory(lab).close()
    (lab / "lab.toml").write_text('time_zone = "Mars/Olympus"\n')
    study = (lab / "study.toml").read_text()
    (lab / "study.toml").write_text(study.replace("comparative = false", 'comparative = "perhaps"'))
    layout = (lab / "plate_layouts" / "il6-96.csv").read_text()
    (lab / "plate_layouts" / "il6-96.csv").write_text(layout.replace("CALIBRATOR", "STANDARD", 1))
    result = CliRunner().invoke(app, ["check", str(lab), "--json"])
    assert result.exit_code == 1
    places = " ".join(fault["where"] for fault in json.loads(result.stdout)["faults"])
    for place in ("entry 'time_zone'", "entry 'study.comparative'", "il6-96", "A01"):
        assert place in places


def test_a_layout_is_drawn_in_the_shape_of_its_plate(project_root: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(project_root / "plate_layouts" / "kyn-96.csv")])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sum(line[:1] in "ABCDEFGH" and line[:1] != " " for line in lines if line[1:2] == " ") == 8
    assert "STD1" in result.stdout
    assert "10000" in result.stdout
