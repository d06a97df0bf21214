"""Flows that Prefect itself starts: the nightly work by its schedule, a sweep or a recomputation from Prefect's page.

Knows deployments, schedules and how a flow run that Prefect starts in a process of its own finds its laboratory. The watcher's
sweeps do not come through here: a flow run in a process of its own costs many seconds, one in the watcher's process a fraction.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from biomarkers.lab.folders import LabFolder, LabSettings
from biomarkers.laboratory import open_lab
from flows.server import prefect_server

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

ASK_SECONDS = 30
"""How often the service asks for scheduled runs; a nightly run may begin this much late, and an idle laboratory stays idle."""


def serve(root: Path) -> None:
    """Serve the laboratory's deployments until told to stop."""
    with open_lab(root) as laboratory:
        folder, settings = laboratory.folder, laboratory.settings
    with prefect_server(folder, shared=settings.orchestration.api_url):
        _serve(folder, settings)


def _serve(folder: LabFolder, settings: LabSettings) -> None:
    from prefect.schedules import Cron  # noqa: PLC0415  - Prefect reads the environment when it is imported

    hour, minute = settings.nightly.at.split(":")
    schedule = Cron(f"{int(minute)} {int(hour)} * * *", timezone=settings.time_zone)
    pool = settings.orchestration.work_pool
    asyncio.run(_work_for(pool, folder, schedule) if pool else _run_here(folder, schedule))


async def _deployments(folder: LabFolder, schedule: Schedule, *, work_pool: str | None) -> list[RunnerDeployment]:
    from prefect.types.entrypoint import EntrypointType  # noqa: PLC0415  - as above

    from flows.scheduled import nightly, recompute, sweep  # noqa: PLC0415  - as above

    lab = str(folder.root)
    # By module, not by file: a worker on another machine has the program, but not where this one has it.
    where = EntrypointType.MODULE_PATH if work_pool else EntrypointType.FILE_PATH
    return [
        await nightly.ato_deployment(
            name="nightly",
            schedule=schedule,
            parameters={"lab": lab},
            concurrency_limit=1,
            work_pool_name=work_pool,
            entrypoint_type=where,
        ),
        await sweep.ato_deployment(name="sweep", parameters={"lab": lab}, work_pool_name=work_pool, entrypoint_type=where),
        await recompute.ato_deployment(
            name="recompute",
            parameters={"lab": lab, "reason": ""},
            concurrency_limit=1,
            work_pool_name=work_pool,
            entrypoint_type=where,
        ),
    ]


async def _run_here(folder: LabFolder, schedule: Schedule) -> None:
    """Serve the deployments from this process, as a laboratory on one machine does."""
    from prefect.runner import Runner  # noqa: PLC0415  - as above

    runner = Runner(name=f"biomarkers-{folder.root.name}", query_seconds=ASK_SECONDS, pause_on_shutdown=False)
    for made in await _deployments(folder, schedule, work_pool=None):
        added = runner.add_deployment(made)
        if inspect.isawaitable(added):  # one method of two faces: awaitable where a loop runs
            await added
    await runner.start()


async def _work_for(pool: str, folder: LabFolder, schedule: Schedule) -> None:
    """Make this machine a worker of a pool; the first machine makes the pool, and all give it the same deployments."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415  - as above
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415  - as above
    from prefect.exceptions import ObjectAlreadyExists  # noqa: PLC0415  - as above
    from prefect.workers.process import ProcessWorker  # noqa: PLC0415  - as above

    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    for made in await _deployments(folder, schedule, work_pool=pool):
        await made.aapply(work_pool_name=pool)
    worker = ProcessWorker(work_pool_name=pool, name=f"{socket.gethostname()}-{os.getpid()}", create_pool_if_not_found=False)
    await worker.start()


def main() -> None:
    """Run the service for the laboratory named on the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
