"""A laboratory on several machines: PostgreSQL, one Prefect server with a work pool of two workers, and a Dask cluster.

All of them run on loopback, in processes of their own, as they would on hosts of their own over one shared folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from ports import free_port
from sqlalchemy import text

from biomarkers.laboratory import create_laboratory, open_lab

if TYPE_CHECKING:
    from flows.server import Announcement
    from tests.end_to_end.conftest import Dropped

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(1800)]


class Server(Protocol):
    def url(self, database: str, *, user: str = "postgres") -> str: ...

    def new_database(self, *, template: str = "template0") -> str: ...


@contextmanager
def running(commands: Sequence[Sequence[str]], logs: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Have programs run until the block ends."""
    logs.mkdir(exist_ok=True)
    processes = []
    try:
        for number, command in enumerate(commands):
            with (logs / f"{number}.log").open("w") as log:
                processes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **environment})
                )
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A Dask scheduler with two worker processes."""
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    place = tmp_path / "dask"
    place.mkdir()
    commands = [[*dask, "--no-dashboard"], *([*worker, "--local-directory", str(place)] for _ in range(2))]
    with running(commands, tmp_path / "dask-logs", {}):
        yield address


def test_two_workers_of_a_pool_share_the_work_over_postgresql_and_dask(
    tmp_path: Path, small_study: Dropped, server: Announcement, postgres_server: Server, scheduler: str
) -> None:
    root = tmp_path / "lab"
    create_laboratory(root).close()
    settings = root / "lab.toml"
    changes = {
        "settling_seconds = 10": "settling_seconds = 0",
        'database_url = ""': f'database_url = "{postgres_server.url(postgres_server.new_database())}"',
        'scheduler = ""': f'scheduler = "{scheduler}"',
        'api_url = ""': f'api_url = "{server.url}"',
        'work_pool = ""': 'work_pool = "lab"',
    }
    written = settings.read_text()
    for before, after in changes.items():
        assert before in written
        written = written.replace(before, after)
    settings.write_text(written)
    for kind in ("study", "elisa", "cytometry"):
        for file in sorted((small_study.inbox / kind).iterdir()):
            shutil.copyfile(file, root / "inbox" / kind / file.name)
    environment = {"PREFECT_API_URL": server.url, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    worker = [sys.executable, "-m", "flows.deployments", str(root)]
    with running([worker, worker], tmp_path / "worker-logs", environment):
        ends = asyncio.run(_two_sweeps(server.url))
        told = "\n".join(path.read_text()[-3000:] for path in (tmp_path / "worker-logs").iterdir())
        assert [name for name, _ in ends] == ["COMPLETED"] * 3, (ends, told)
    with open_lab(root) as laboratory, laboratory.database.read() as reading:
        ask = reading.connection.execute
        runs, distinct = ask(text("SELECT count(*), count(DISTINCT run_id) FROM analysis WHERE step = ''")).one()
        states = dict(ask(text("SELECT state, count(*) FROM job GROUP BY state")).tuples().all())
        assert laboratory.verify_audit().is_whole
        measured = laboratory.timepoints()
    assert runs == distinct
    assert runs >= 7 + len(list((small_study.inbox / "cytometry").iterdir())) - 2
    assert set(states) <= {"recorded", "seen", "quarantined", "waiting"}
    assert (measured["status"] == "measured").sum() > 0


async def _two_sweeps(url: str) -> list[tuple[str, str]]:
    """Ask for two sweeps at once and one after them; return how each ended and which worker did it."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415  - Prefect reads the environment when it is imported

    os.environ["PREFECT_API_URL"] = url
    ends: list[tuple[str, str]] = []
    async with get_client() as client:
        for _ in range(300):
            try:
                deployment = await client.read_deployment_by_name("scheduled sweep/sweep")
                workers = await client.read_workers_for_work_pool("lab")
            except Exception:  # noqa: BLE001  - not there yet
                workers = []
            if len(workers) >= 2:
                break
            await asyncio.sleep(1)
        else:
            raise AssertionError("the workers did not come")
        for count in (2, 1):
            asked = [await client.create_flow_run_from_deployment(deployment.id) for _ in range(count)]
            for one in asked:
                deadline = time.monotonic() + 600
                while not (run := await client.read_flow_run(one.id)).state or not run.state.is_final():
                    assert time.monotonic() < deadline
                    await asyncio.sleep(1)
                ends.append((run.state.type.value, run.infrastructure_pid or ""))
    return ends
