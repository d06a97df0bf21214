"""Files on a share that may only be read are taken in once, stay where they are, and are taken again when they change."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.laboratory import create_laboratory, open_lab

PROJECT = Path(__file__).resolve().parents[3]

SWEEPS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from flows.bench import at_bench
from flows.settings import without_prefect
from flows.sweep import run_sweep
from biomarkers.laboratory import open_lab

def main():
    said, at_once = [], ThreadPoolExecutor(1)
    for number in range(4):
        if number == 2:
            Path(sys.argv[2]).write_text("Still no plate.\\n")
        with open_lab(Path(sys.argv[1])) as lab, without_prefect(), at_bench(lab, lambda *_: None, executor=at_once) as bench:
            report = run_sweep(bench, lab.dropped_files())
        assert not report.faults, report.faults
        said.append([[one.name, one.state] for one in report.files])
    print(json.dumps(said))

if __name__ == "__main__":
    main()
"""

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1


def give_up_the_right_to_write_everywhere() -> None:
    """Let the rights of folders count for root too; what is started next cannot pass them over."""
    if os.getuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def sweeps(root: Path, file: Path) -> list[list[list[str]]]:
    """Sweep twice, change the file, sweep twice, in a process that must keep to the rights of folders.

    Returns each sweep's files and what became of them.
    """
    script = root.parent / "sweeps.py"
    script.write_text(SWEEPS)
    run = subprocess.run(
        [sys.executable, str(script), str(root), str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PREFECT_HOME": str(root.parent / "prefect")},
        preexec_fn=give_up_the_right_to_write_everywhere,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: list[list[list[str]]] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Path]:
    """An instrument's folder in an inbox, which may only be read, with a file in it."""
    root = tmp_path / "lab"
    create_laboratory(root).close()
    settings = root / "lab.toml"
    settings.write_text(settings.read_text() + '\n[[instruments]]\nkind = "elisa"\nfolder = "reader-1"\nname = "Reader 1"\n')
    place = root / "inbox" / "elisa" / "reader-1"
    place.mkdir(exist_ok=True)
    (place / "note.txt").write_text("No plate.\n")
    place.chmod(0o555)
    yield place
    place.chmod(0o755)


def test_a_file_that_cannot_be_moved_is_taken_once_and_again_when_it_changes(share: Path) -> None:
    root = share.parents[2]
    taken = ["note.txt", "quarantined"]
    assert sweeps(root, share / "note.txt") == [[taken], [], [taken], []]
    assert (share / "note.txt").read_text() == "Still no plate.\n"
    assert (root / "quarantine" / "elisa" / "note.txt.reason.txt").is_file()
    assert len(list((root / "raw").glob("*/*/*"))) == 2
    with open_lab(root) as laboratory:
        assert laboratory.dropped_files() == ()
