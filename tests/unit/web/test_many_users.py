"""Twenty people at once while files are taken in: nobody sees an error."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.simulation.study import simulate_study
from biomarkers.simulation.writing import write_study
from biomarkers.store.users import Role

if TYPE_CHECKING:
    from conftest import Served

USERS = 20
PATHS = {
    Role.TECHNICIAN: ("/", "/board", "/board/live", "/waiting", "/runs", "/completeness", "/api/v1/files", "/pathology"),
    Role.REVIEWER: ("/", "/runs", "/charts", "/proposals", "/timepoints", "/pathology"),
    Role.SCIENTIST: ("/", "/timepoints", "/timepoints.csv", "/statistics", "/api/v1/timepoints", "/runs"),
    Role.AUDITOR: ("/", "/audit", "/audit?verify=true", "/api/v1/audit", "/nights"),
    Role.OPERATOR: ("/", "/people", "/metrics", "/nights"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_people_read_pages_while_a_study_is_taken_in_and_none_sees_an_error(
    tmp_path: Path,
    project_root: Path,
    serve: Callable[[Laboratory], Served],
    add_everyone: Callable[[Laboratory], None],
) -> None:
    laboratory = create_laboratory(tmp_path / "lab")
    settings = laboratory.folder.settings_file
    settings.write_text(settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    study = simulate_study(laboratory.definition, layouts=layouts, subjects=4, seed=3, events=2000, slide_px=512)
    write_study(study, laboratory.folder.root / "inbox", tmp_path / "truth")
    served = serve(laboratory)
    add_everyone(laboratory)
    answers: Counter[tuple[str, int]] = Counter()
    faults: list[str] = []
    ended = threading.Event()

    def read(number: int) -> None:
        role = list(PATHS)[number % len(PATHS)]
        client = served.logged_in(role.value)
        rounds = 0
        while not ended.is_set() or rounds < 2:
            rounds += 1
            for path in PATHS[role]:
                try:
                    answer = client.get(path)
                except httpx.HTTPError as error:
                    faults.append(f"{path}: {error!r}")
                    continue
                answers[path, answer.status_code] += 1
                if path == "/runs":
                    _look_closer(client, answer.text, answers)

    people = [threading.Thread(target=read, args=(number,)) for number in range(USERS)]
    ingest = subprocess.Popen(
        [sys.executable, "-m", "biomarkers.cli", "ingest", str(laboratory.folder.root), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for one in people:
        one.start()
    out, err = ingest.communicate(timeout=900)
    ended.set()
    for one in people:
        one.join(300)
    wrong = {asked: count for asked, count in answers.items() if asked[1] != 200}
    sys.stdout.write(f"{USERS} people read {sum(answers.values())} pages while a study was taken in; {len(wrong)} errors\n")
    assert faults == []
    assert wrong == {}
    assert ingest.returncode in {0, 1}, err.decode()[-2000:]  # the study holds bad files, which a person has to look at
    assert laboratory.verify_audit().is_whole
    assert sum(row.value is not None for row in laboratory.rows()) > 50, out.decode()[-2000:]


def _look_closer(client: httpx.Client, page: str, answers: Counter[tuple[str, int]]) -> None:
    """Open the newest run, and look at its slide where it is one."""
    at = page.find('href="/runs/')
    if at < 0:
        return
    run_id = page[at + len('href="/runs/') :].partition('"')[0]
    answers["/runs/{run_id}", client.get(f"/runs/{run_id}").status_code] += 1
    if run_id.startswith("ihc-"):
        for part in ("view", "tiles/0/0/0", "cells?left=0&top=0&right=512&bottom=512"):
            status = client.get(f"/slides/{run_id}/{part}").status_code
            # Cells are drawn a moment after the numbers are on record.
            answers[part, 200 if part.startswith("cells") and status == 404 else status] += 1
