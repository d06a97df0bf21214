"""Flows that Prefect itself starts: the nightly work by its schedule, a sweep or a recomputation from Prefect's page.

Knows deployments, schedules and how a flow run that Prefect starts in a process of its own finds its laboratory. The watcher's
sweeps do not come through here: a flow run in a process of its own costs many seconds, one in the watcher's process a fraction.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
from pathlib import Path

from biomarkers.lab.folders import LabFolder, LabSettings
from biomarkers.laboratory import open_lab
from flows.server import prefect_server

ASK_SECONDS = 30
"""How often the service asks for scheduled runs; a nightly run may begin this much late, and an idle laboratory stays idle."""


def serve(root: Path) -> None:
    """Serve the laboratory's deployments until told to stop."""
    with open_lab(root) as laboratory:
        folder, settings = laboratory.folder, laboratory.settings
    with prefect_server(folder, shared=settings.orchestration.api_url):
        _serve(folder, settings)


def _serve(folder: LabFolder, settings: LabSettings) -> None:
    from prefect.runner import Runner  # noqa: PLC0415  - Prefect reads the environment when it is imported
    from prefect.schedules import Cron  # noqa: PLC0415  - as above

    from flows.scheduled import nightly, recompute, sweep  # noqa: PLC0415  - as above

    hour, minute = settings.nightly.at.split(":")
    schedule = Cron(f"{int(minute)} {int(hour)} * * *", timezone=settings.time_zone)
    lab = str(folder.root)

    async def run() -> None:
        runner = Runner(name=f"biomarkers-{folder.root.name}", query_seconds=ASK_SECONDS, pause_on_shutdown=False)
        for made in (
            await nightly.ato_deployment(name="nightly", schedule=schedule, parameters={"lab": lab}, concurrency_limit=1),
            await sweep.ato_deployment(name="sweep", parameters={"lab": lab}),
            await recompute.ato_deployment(name="recompute", parameters={"lab": lab, "reason": ""}, concurrency_limit=1),
        ):
            added = runner.add_deployment(made)
            if inspect.isawaitable(added):  # one method of two faces: awaitable where a loop runs
                await added
        await runner.start()

    asyncio.run(run())


def main() -> None:
    """Run the service for the laboratory named on the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
