"""A thousand plates through the real command `biomarkers recompute`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from biomarkers.lab import archive
from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.provenance import utc_now
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.plates import Mishap, PlateJob
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.store import sources
from biomarkers.store.results import record_analysis
from biomarkers.store.study_lists import record_lots, record_roster, record_specimens
from flows.plate_work import PlateWork, analyse_plate_file
from flows.server import lasting_server, stop_lasting_server
from flows.work import Analysed, Specimens, WorkFile

COMMAND = Path(sys.executable).with_name("biomarkers")
PLATES = 1000
BAR = 50.0
"""Plates a second that two free cores must reach, the command's start among them."""

GUARD = 5.0
"""What a machine that does much other work at the same time still reached; far below the bar."""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Iterator[Laboratory]:
    """A laboratory that recorded a thousand plates: those of a study, read again and again under names of their own."""
    place = tmp_path_factory.mktemp("thousand")
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    study = simulate_study(packaged_study(), layouts=layouts, subjects=60, seed=3)
    with create_laboratory(place / "lab") as made:
        with made.database.write() as transaction:
            now = utc_now()
            subjects = [person.subject for person in study.subjects]
            record_roster(transaction, subjects=subjects, sha256="1" * 64, recorded_at=now)
            specimens = [one.specimen for one in study.specimens]
            record_specimens(transaction, specimens=specimens, sha256="2" * 64, recorded_at=now)
            record_lots(transaction, lots=study.lots, sha256="3" * 64, recorded_at=now)
            made.realign(transaction)
        _record_plates(made, study, place)
        yield made


def _record_plates(made: Laboratory, study: SimulatedStudy, place: Path) -> None:
    specimens = Specimens(material_by_accession={one.accession_id: one.specimen.material for one in study.specimens})
    with made.database.write() as transaction:
        for job in itertools.islice(_jobs(study), PLATES):
            job.write(place)
            files = []
            for name in (job.file_name, job.map_name):
                admitted = archive.admit(made.folder, place / name)
                sources.register(
                    transaction,
                    sha256=admitted.sha256,
                    size=admitted.size,
                    assay="elisa",
                    kind="dropped",
                    name=name,
                    received_at=utc_now(),
                )
                files.append(WorkFile(name=name, sha256=admitted.sha256))
            work = PlateWork(
                folder=made.folder,
                export=files[0],
                plate_map=files[1],
                definition=made.definition,
                specimens=specimens,
                computed_at=utc_now(),
                lots=study.lots,
            )
            outcome = analyse_plate_file(work)
            assert isinstance(outcome, Analysed), outcome
            for analysis in outcome.analyses:
                record_analysis(transaction, analysis, reason="", recorded_at=utc_now())


def _jobs(study: SimulatedStudy) -> Iterator[PlateJob]:
    sound = [plate for plate in study.plates if plate.mishap is Mishap.NONE]
    for round_number in itertools.count():
        for plate in sound:
            yield replace(plate, plate_id=f"{plate.plate_id}-R{round_number}")


def recompute(laboratory: Laboratory) -> tuple[str, float, float]:
    """Run the command; return what it said, and the seconds and processor seconds it took, its server's not counted."""
    start = time.perf_counter()
    words = [COMMAND, "recompute", str(laboratory.folder.root), "--reason", "To see how long it takes."]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        processor: dict[int, float] = {}
        while run.poll() is None:
            processor.update(_processor_seconds(run.pid))
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        assert run.stdout is not None
        said = run.stdout.read()
    assert run.returncode == 0, said
    return said, seconds, sum(processor.values())


def _processor_seconds(session: int) -> Iterator[tuple[int, float]]:
    """Give the processes of a session with the processor time each has used; computing processes are nobody's children."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(words[3]) == session:
            yield int(stat.parent.name), (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def server(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[None]:
    """Have the laboratory's Prefect server run, as `biomarkers up` does, or leave it to the command to start one."""
    if not request.param:
        yield
        return
    lasting_server(laboratory.folder, port=0)
    try:
        yield
    finally:
        stop_lasting_server(laboratory.folder)


@pytest.mark.benchmark_suite
@pytest.mark.parametrize(
    ("server", "changes"),
    [(False, False), (True, False), (True, True)],
    ids=["nothing changed, with a server of its own", "nothing changed", "everything changed"],
    indirect=["server"],
)
@pytest.mark.usefixtures("server")
def test_a_thousand_plates_are_recomputed(
    benchmark: BenchmarkFixture, laboratory: Laboratory, capsys: pytest.CaptureFixture[str], *, changes: bool
) -> None:
    if changes:
        text = laboratory.folder.study_file.read_text()
        # Every analyte is declared anew, so that every plate has new results, which supersede the old ones.
        laboratory.folder.study_file.write_text(text.replace('name = "', 'name = "The '))
    said, seconds, processor = benchmark.pedantic(recompute, args=(laboratory,), rounds=1)
    expected = f"{PLATES if changes else 0} runs have new results, {0 if changes else PLATES} came out the same"
    assert said.startswith(expected), said
    rate = PLATES / seconds
    benchmark.extra_info["plates a second"] = round(rate, 1)
    benchmark.extra_info["processor ms a plate"] = round(1000.0 * processor / PLATES, 1)
    with capsys.disabled():
        each = 1000.0 * processor / PLATES
        told = f"{rate:.1f} plates/s ({seconds:.1f} s; {each:.1f} processor ms a plate); the bar is {BAR:g}/s"
        sys.stdout.write(f"\n{told}\n")
    assert rate >= GUARD
