"""Laboratories to drop files into, a small simulated study, and one Prefect server for them all."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from biomarkers.cli import main
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory import create_laboratory
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.writing import write_study
from flows.server import Announcement, prefect_server

COMMAND = Path(sys.executable).with_name("biomarkers")


ASKING = {"status", "timepoints", "dispose", "audit verify", "proposals list"}
"""Commands that start nothing: they run in the process of the test, which spares each the seconds a fresh one imports for."""


def _here(line: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as its entry point does, in this process."""
    out, err, before = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline=""), io.StringIO(), sys.argv
    sys.argv = [str(COMMAND), *line]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = before
    out.flush()
    said = out.buffer.getvalue().decode().replace("\r\n", "\n")  # as subprocess reads text
    return subprocess.CompletedProcess(line, code, said, err.getvalue())


def _beside(line: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run([COMMAND, *line], capture_output=True, text=True, check=False, timeout=280)


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A laboratory's folder and the commands run on it."""

    root: Path

    def drop(self, kind: str, *files: Path) -> None:
        for file in files:
            shutil.copyfile(file, self.root / "inbox" / kind / file.name)

    def write(self, kind: str, name: str, content: str | bytes) -> Path:
        path = self.root / "inbox" / kind / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        command, *rest = words
        line = [*command.split(), str(self.root), *rest]
        run = _here(line) if command in ASKING else _beside(line)
        assert status is None or run.returncode == status, f"{words}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run

    def ingest(self, *, status: int | None = 0) -> list[dict[str, str]]:
        run = self.run("ingest", "--json", status=status)
        assert run.stdout, run.stderr
        return list(json.loads(run.stdout)["files"])

    def states(self) -> dict[str, str]:
        files = json.loads(self.run("status", "--json").stdout)["files"]
        return {file["name"]: file["state"] for file in files}

    def table(self, *words: str) -> str:
        return self.run("timepoints", "--format", "csv", "--as-of", "2026-06-30", *words).stdout

    def quarantined(self, kind: str) -> set[str]:
        place = self.root / "quarantine" / kind
        return {path.name for path in place.iterdir() if not path.name.endswith(".reason.txt")}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Announcement]:
    """Start one Prefect server for the whole test run; every start costs some seconds."""
    before = dict(os.environ)
    folder = LabFolder(root=tmp_path_factory.mktemp("server"))
    with prefect_server(folder):
        announced = Announcement.read(folder.orchestration / "server.json")
        assert announced is not None
        yield announced
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def ingested_once(tmp_path_factory: pytest.TempPathFactory, server: Announcement, small_study: Dropped) -> Lab:
    """Ingest the whole small study once a test run."""
    lab = _make_lab(tmp_path_factory.mktemp("ingested") / "lab", server)
    small_study.into(lab)
    lab.ingest(status=1)
    return lab


@pytest.fixture
def ingested(tmp_path: Path, ingested_once: Lab) -> Lab:
    """Give a copy of the ingested laboratory; a laboratory can be moved."""
    shutil.copytree(ingested_once.root, tmp_path / "moved", symlinks=True)
    return Lab(root=tmp_path / "moved")


def _make_lab(root: Path, server: Announcement, *, study: Path | None = None, time_to_settle: int = 0) -> Lab:
    with create_laboratory(root, study=study) as laboratory:
        folder = laboratory.folder
    text = folder.settings_file.read_text()
    folder.settings_file.write_text(text.replace("settling_seconds = 10", f"settling_seconds = {time_to_settle}"))
    folder.orchestration.mkdir()
    lasting = Announcement(url=server.url, pid=server.pid, lasting=True)
    lasting.write(folder.orchestration / "server.json")
    return Lab(root=root)


@pytest.fixture
def new_lab(tmp_path: Path, server: Announcement) -> Callable[..., Lab]:
    """Make laboratories that use the server of the test run and take files at once."""

    def make(name: str = "lab", *, study: Path | None = None, time_to_settle: int = 0) -> Lab:
        return _make_lab(tmp_path / name, server, study=study, time_to_settle=time_to_settle)

    return make


@pytest.fixture
def lab_at() -> Callable[[Path], Lab]:
    """Take a laboratory that is already there."""
    return lambda root: Lab(root=root)


@pytest.fixture(scope="session")
def command() -> Path:
    return COMMAND


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """The files of a simulated study, laid out as inboxes, and the truth beside them."""

    study: SimulatedStudy
    inbox: Path
    truth: Path

    def into(self, lab: Lab, *, kinds: tuple[str, ...] = ("elisa", "cytometry", "ihc", "study")) -> None:
        for kind in kinds:
            lab.drop(kind, *sorted((self.inbox / kind).iterdir()))


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Dropped:
    """Simulate three subjects with small acquisitions and slides, once a test run."""
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    study = simulate_study(packaged_study(), layouts=layouts, subjects=3, seed=5, events=4000, slide_px=1024)
    place = tmp_path_factory.mktemp("study")
    write_study(study, place / "inbox", place / "truth")
    return Dropped(study=study, inbox=place / "inbox", truth=place / "truth")
