"""A small laboratory with results, served on a free port of this machine, and people of every role."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx
import pytest
import uvicorn
import watched_browser
from argon2 import PasswordHasher
from watched_browser import chromium_launched

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.examined import examine
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gate_shapes import Rectangle
from biomarkers.cytometry.strategy import assemble
from biomarkers.errors import BiomarkersError
from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.lab.archive import admit, put_away
from biomarkers.lab.evidence import write_evidence
from biomarkers.lab.inbox import is_plate_map, stem
from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
from biomarkers.provenance import utc_now
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.gatingml_writing import write_gatingml
from biomarkers.readers.panels import packaged_panel
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import read_roster, read_specimens, read_visits
from biomarkers.reports.gate_corrections import COMPARED_FILE
from biomarkers.simulation.study import simulate_study
from biomarkers.simulation.writing import write_study
from biomarkers.store import jobs, sources, study_lists, users
from biomarkers.store.jobs import JobState, Reason
from biomarkers.store.recording import record_analysis
from biomarkers.store.users import Role
from biomarkers.web.app import create_app
from biomarkers.web.passwords import Passwords
from flows.acquisition_work import AcquisitionWork, TubeFiles, analyse_fcs_file, compared_as_recorded
from flows.plate_work import PlateWork, analyse_plate_file
from flows.slide_work import (
    ScoreWork,
    SlideFilesWork,
    SlidePlan,
    SlideWork,
    measure_slide_tiles,
    plan_slide,
    score_slide_file,
    slide_evidence,
    tile_works,
)
from flows.work import Analysed, Specimens, WorkFile

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LEASE = timedelta(minutes=5)
PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests


def quick_passwords() -> Passwords:
    """Hash with little work; how much is right is the library's business."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


QUICK = quick_passwords()
HASHED = QUICK.hashed(PASSWORD, name="nobody")


@dataclass(kw_only=True)
class Served:
    """A laboratory whose pages answer at an address."""

    laboratory: Laboratory
    url: str
    renewed: list[tuple[str, str]] = field(default_factory=list)
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, **given: object) -> httpx.Client:
        made = httpx.Client(base_url=self.url, timeout=60, **given)  # type: ignore[arg-type]
        self.clients.append(made)
        return made

    def logged_in(self, name: str, password: str = PASSWORD) -> httpx.Client:
        client = self.client()
        answer = client.post("/login", data={"name": name, "password": password, "csrf": csrf(client, "/login")})
        assert answer.status_code == 303, answer.text
        return client

    def token(self, name: str) -> dict[str, str]:
        client = self.logged_in(name)
        answer = client.post("/account/tokens", data={"label": "test", "csrf": csrf(client, "/account")})
        found = re.search(r'class="secret">([^<]+)<', answer.text)
        assert found is not None, answer.text
        return {"authorization": f"Bearer {found.group(1)}"}


def csrf(client: httpx.Client, path: str) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]*)"', client.get(path, follow_redirects=True).text)
    assert found is not None
    return found.group(1)


@contextmanager
def serving(laboratory: Laboratory, *, host: str = "127.0.0.1") -> Iterator[Served]:
    served = Served(laboratory=laboratory, url="")
    app = create_app(
        laboratory, host=host, passwords=quick_passwords(), renew=lambda run_id, why: served.renewed.append((run_id, why))
    )
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", server_header=False, proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        for client in served.clients:
            client.close()
        server.should_exit = True
        thread.join(30)


def add_people(laboratory: Laboratory) -> None:
    with laboratory.database.write() as transaction:
        for role in Role:
            users.save_account(
                transaction,
                name=role.value,
                full_name=f"Dr. {role.value.title()}",
                role=role,
                password_hash=HASHED,
                active=True,
                recorded_at=utc_now(),
                recorded_by="tests",
                reason="tests",
            )


@pytest.fixture(scope="session")
def ingested_folder(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    """A laboratory with two plates, two acquisitions, allocations, one waiting and one quarantined file; made once."""
    place = tmp_path_factory.mktemp("web")
    with create_laboratory(place / "lab") as laboratory:
        settings = laboratory.folder.settings_file
        settings.write_text(settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
        layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
        study = simulate_study(laboratory.definition, layouts=layouts, subjects=3, seed=5, events=1500, slide_px=1024)
        write_study(study, place / "inbox", place / "truth")
        _record_lists(laboratory, place / "inbox" / "study")
        with laboratory.database.read() as reading:
            listed = study_lists.current_roster(reading).specimens
        specimens = Specimens(material_by_accession={one.accession_id: one.material for one in listed.values()})
        exports = sorted((place / "inbox" / "elisa").iterdir())
        maps = {stem(path.name): path for path in exports if is_plate_map(path.name)}
        recorded = 0
        for export in (path for path in exports if not is_plate_map(path.name) and stem(path.name) in maps):
            recorded += _record(laboratory, "elisa", specimens, export, maps[stem(export.name)])
            if recorded == 3:
                break
        tubes = sorted((place / "inbox" / "cytometry").glob("ATR-*.fcs"))
        _record(laboratory, "cytometry", specimens, tubes[0])
        _record(laboratory, "cytometry", specimens, tubes[1], *_corrected_gates(tubes[1]))
        _record_slides(laboratory, specimens, place / "inbox" / "ihc")
        _stranded(laboratory)
        laboratory.load_arms(place / "truth" / "arms.csv")
    return place / "lab"


def _record_lists(laboratory: Laboratory, place: Path) -> None:
    now = utc_now()
    definition = laboratory.definition
    with laboratory.database.write() as transaction:
        study_lists.record_roster(
            transaction, subjects=read_roster(place / "roster.csv", definition), sha256="1" * 64, recorded_at=now
        )
        study_lists.record_specimens(
            transaction, specimens=read_specimens(place / "specimens.csv", definition), sha256="2" * 64, recorded_at=now
        )
        study_lists.record_visits(
            transaction, visits=read_visits(place / "visits.csv", definition), sha256="3" * 64, recorded_at=now
        )
        laboratory.realign(transaction)


def _record(laboratory: Laboratory, kind: str, specimens: Specimens, *paths: Path) -> int:
    """Analyse files as a sweep would, in this process; return how many runs they gave."""
    folder, now = laboratory.folder, utc_now()
    work_files = []
    for path in paths:
        taken = admit(folder, path)
        work_files.append(WorkFile(name=path.name, sha256=taken.sha256))
        with laboratory.database.write() as transaction:
            sources.register(
                transaction, sha256=taken.sha256, size=taken.size, assay=kind, kind=kind, name=path.name, received_at=now
            )
    if kind == "elisa":
        outcome = analyse_plate_file(
            PlateWork(
                folder=folder,
                export=work_files[0],
                plate_map=work_files[1],
                definition=laboratory.definition,
                specimens=specimens,
                computed_at=now,
            )
        )
    else:
        outcome = analyse_fcs_file(
            AcquisitionWork(
                folder=folder,
                files=TubeFiles(**dict(zip(("instrument", "gates", "sign_off"), work_files, strict=False))),
                definition=laboratory.definition,
                specimens=specimens,
                computed_at=now,
            )
        )
    assert isinstance(outcome, Analysed), outcome
    with laboratory.database.write() as transaction:
        for analysis in outcome.analyses:
            record_analysis(transaction, analysis, reason="", recorded_at=now)
        for path, file in zip(paths, work_files, strict=True):
            job = jobs.enqueue(transaction, assay=kind, name=path.name, size=1, mtime_ns=1, received_at=now)
            held = jobs.claim(transaction, job_id=job.id, owner="tests", now=now, lease=LEASE)
            assert held is not None
            jobs.finish(transaction, job_id=job.id, owner="tests", state=JobState.RECORDED, finished_at=now, sha256=file.sha256)
            jobs.acknowledge(transaction, job_id=job.id, settled_name=path.name, acknowledged_at=now)
    for analysis in outcome.analyses:
        files = {"quality.html": b"<!DOCTYPE html><title>Quality</title><style>p{color:teal}</style><p>Sound.</p>"}
        if isinstance(analysis, AcquisitionAnalysis):
            compared = compared_as_recorded(folder, analysis)
            if compared is not None:
                files[COMPARED_FILE] = compared.model_dump_json().encode()
        write_evidence(folder, analysis.run.run_id, files, of=analysis.run.analysis_id)
    return len(outcome.analyses)


def _corrected_gates(tube: Path) -> tuple[Path, Path]:
    """Write the gates found on a tube with the border of its T cells moved, and the word of who moved it."""
    acquisition = read_fcs(tube)
    strategy = found_gates(examine(acquisition, packaged_panel("pbmc-lineage")).gated, acquisition).strategy
    gates = []
    for gate in strategy.gates:
        shape = gate.shape
        if gate.name == "T":
            assert isinstance(shape, Rectangle)
            lowest = shape.sides[0].minimum
            assert lowest is not None
            shape = replace(shape, sides=(replace(shape.sides[0], minimum=lowest * 1.4), *shape.sides[1:]))
        gates.append(replace(gate, shape=shape))
    corrected, word = tube.with_suffix(".xml"), tube.with_suffix(".toml")
    write_gatingml(corrected, assemble(gates, scales=strategy.scales, matrices=strategy.matrices))
    word.write_text('by = "R. Franklin"\nreason = "The gate on CD3 took in dim cells."\n')
    return corrected, word


REGIONS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[40, 40], [470, 40], [470, 460], [40, 460], [40, 40]]]},
            "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}, "name": "<b>nest</b>"},
        }
    ],
}


def _record_slides(laboratory: Laboratory, specimens: Specimens, inbox: Path) -> None:
    """Score the CD8 slides of the first subject that has two, and draw their evidence; the first has a region drawn on it."""
    folder, now = laboratory.folder, utc_now()
    with laboratory.database.read() as reading:
        roster = study_lists.current_roster(reading)
    by_subject: dict[str, list[Path]] = {}
    for path in sorted(inbox.glob("ATR-*_CD8.ome.tiff")):
        by_subject.setdefault(roster.specimens[path.name[:10]].subject_id, []).append(path)
    pair = next(paths for paths in by_subject.values() if len(paths) == 2)
    for number, path in enumerate(pair):
        regions = path.with_name(f"{path.name[:14]}.geojson")
        regions.write_text(json.dumps(REGIONS))
        files = [path, regions][: 2 - number]
        held = []
        for one in files:
            taken = admit(folder, one)
            held.append(WorkFile(name=one.name, sha256=taken.sha256))
            with laboratory.database.write() as transaction:
                sources.register(
                    transaction, sha256=taken.sha256, size=taken.size, assay="ihc", kind="ihc", name=one.name, received_at=now
                )
        work = SlideWork(
            folder=folder,
            file=held[0],
            annotation=held[1] if len(held) > 1 else None,
            definition=laboratory.definition,
            specimens=specimens,
            computed_at=now,
        )
        plan = plan_slide(work)
        assert isinstance(plan, SlidePlan), plan
        measured = [measure_slide_tiles(piece) for piece in tile_works(plan, 4)]
        tiles = tuple(tile for piece in measured if isinstance(piece, tuple) for tile in piece)
        outcome = score_slide_file(ScoreWork(plan=plan, measurements=tiles))
        assert isinstance(outcome, Analysed), outcome
        analysis = outcome.analyses[0]
        assert isinstance(analysis, SlideAnalysis)
        with laboratory.database.write() as transaction:
            record_analysis(transaction, analysis, reason="", recorded_at=now)
        evidence = slide_evidence(SlideFilesWork(plan=plan, measurements=tiles, analysis=analysis))
        write_evidence(folder, analysis.run.run_id, evidence, of=analysis.run.analysis_id)


def _stranded(laboratory: Laboratory) -> None:
    """Leave one file in quarantine, whose name and reason try to be markup, and one waiting."""
    folder, now = laboratory.folder, utc_now()
    name = "<img src=x onerror=alert(1)>.fcs"
    dropped = folder.inbox("cytometry") / name
    dropped.write_bytes(b"no FCS file")
    status = dropped.stat()
    error = BiomarkersError(what="The file is <b>no</b> FCS file.", where=f"File '{name}'.", remedy="Export it again.")
    settled = put_away(folder, dropped, folder.quarantine("cytometry"), why=error)
    with laboratory.database.write() as transaction:
        job = jobs.enqueue(
            transaction, assay="cytometry", name=name, size=status.st_size, mtime_ns=status.st_mtime_ns, received_at=now
        )
        jobs.claim(transaction, job_id=job.id, owner="tests", now=now, lease=LEASE)
        jobs.finish(
            transaction,
            job_id=job.id,
            owner="tests",
            state=JobState.QUARANTINED,
            finished_at=now,
            reason=Reason.of(error),
        )
        jobs.acknowledge(transaction, job_id=job.id, settled_name=settled, acknowledged_at=now)
        job = jobs.enqueue(transaction, assay="elisa", name="P0999.txt", size=3, mtime_ns=5, received_at=now)
        jobs.claim(transaction, job_id=job.id, owner="tests", now=now, lease=LEASE)
        jobs.wait(
            transaction,
            job_id=job.id,
            owner="tests",
            reason=Reason(what="The export has no plate map.", where="File 'P0999.txt'.", remedy="Drop P0999.map.csv."),
        )


@pytest.fixture(scope="module")
def people_served(ingested_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The ingested laboratory with a person of every role; shared by a module's tests, which change nothing another reads."""
    root = tmp_path_factory.mktemp("people") / "lab"
    shutil.copytree(ingested_folder, root, symlinks=True)
    with open_lab(root) as laboratory:
        add_people(laboratory)
        with serving(laboratory) as served:
            yield served


@pytest.fixture
def own_served(ingested_folder: Path, tmp_path: Path) -> Iterator[Served]:
    """The same for one test alone, which may change what it likes."""
    shutil.copytree(ingested_folder, tmp_path / "lab", symlinks=True)
    with open_lab(tmp_path / "lab") as laboratory:
        add_people(laboratory)
        with serving(laboratory) as served:
            yield served


@pytest.fixture
def two_persons_served(ingested_folder: Path, tmp_path: Path) -> Iterator[Served]:
    """The ingested laboratory with two reviewers, whose study asks for two persons."""
    shutil.copytree(ingested_folder, tmp_path / "lab", symlinks=True)
    with (tmp_path / "lab" / "study.toml").open("a") as study:
        study.write('\n[signatures]\ntwo_persons = true\nsource = "assumption"\n')
    with open_lab(tmp_path / "lab") as laboratory:
        add_people(laboratory)
        with laboratory.database.write() as transaction:
            users.save_account(
                transaction,
                name="second",
                full_name="Dr. Second",
                role=Role.REVIEWER,
                password_hash=HASHED,
                active=True,
                recorded_at=utc_now(),
                recorded_by="tests",
                reason="tests",
            )
        with serving(laboratory) as served:
            yield served


@pytest.fixture
def bare_served(tmp_path: Path) -> Iterator[Served]:
    """A new laboratory without files or accounts."""
    with create_laboratory(tmp_path / "lab") as laboratory, serving(laboratory) as served:
        yield served


@pytest.fixture
def add_everyone() -> Callable[[Laboratory], None]:
    """Give a laboratory a person of every role."""
    return add_people


@pytest.fixture(scope="module")
def canary_served(ingested_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The ingested laboratory whose allocations speak of an arm with a name of its own, QXARMCANARY."""
    root = tmp_path_factory.mktemp("canary") / "lab"
    shutil.copytree(ingested_folder, root, symlinks=True)
    study = root / "study.toml"
    text = study.read_text()
    assert 'code = "A"' in text
    study.write_text(text.replace('code = "A"', 'code = "QXARMCANARY"', 1))
    (root / "arms.db").unlink()
    with open_lab(root) as laboratory:
        arms = root / "arms.csv"
        subjects = sorted({row.subject_id for row in laboratory.rows()})
        arms.write_text("subject_id,arm\n" + "".join(f"{subject},QXARMCANARY\n" for subject in subjects))
        laboratory.load_arms(arms)
        arms.unlink()
        add_people(laboratory)
        with serving(laboratory) as served:
            yield served


@pytest.fixture
def serve() -> Iterator[Callable[[Laboratory], Served]]:
    """Serve laboratories made by the test itself."""
    with ExitStack() as stack:

        def begin(laboratory: Laboratory) -> Served:
            stack.enter_context(laboratory)
            return stack.enter_context(serving(laboratory))

        yield begin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium_launched() as launched:
        yield launched


class Watched(watched_browser.Watched):
    """A page of these tests' own laboratories, whose people share a password."""

    served: Served

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        super().log_in(name, password)


class Watch(Protocol):
    """Opens a page that is watched; its console and requests are looked at when it is closed."""

    def __call__(self, served: Served, size: tuple[int, int] = ...) -> Watched: ...


@pytest.fixture
def watch(browser: Browser) -> Watch:
    """Open pages in the browser."""
    return lambda served, size=(1366, 850): Watched(browser, served, size)


@pytest.fixture(scope="session")
def shots(project_root: Path) -> Path:
    """Where this run keeps its pictures, to be looked at; not kept under version control."""
    place = project_root / "tmp" / "screenshots"
    place.mkdir(parents=True, exist_ok=True)
    return place
