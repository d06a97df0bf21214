"""Which services make up a running laboratory on one machine.

Knows their commands. Must not know how they are kept running.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from biomarkers.lab.folders import LabFolder, LabSettings
from flows.server import answers, lasting_server
from flows.supervisor import Say, Service, Supervisor


def supervisor(folder: LabFolder, settings: LabSettings, *, say: Say) -> Supervisor:
    """Return what keeps a laboratory's services running on this machine."""
    lab = str(folder.root)
    services = [
        Service(name="watcher", command=[sys.executable, "-m", "flows.watcher", lab], announce="watches the inboxes"),
        Service(
            name="nights",
            command=[sys.executable, "-m", "flows.deployments", lab],
            announce=f"nightly work at {settings.nightly.at} {settings.time_zone}",
        ),
    ]
    if find_spec("biomarkers.web") is not None:
        services.append(
            Service(
                name="pages",
                command=[sys.executable, "-m", "biomarkers.cli", "serve", lab],
                announce=f"http://{settings.web.host}:{settings.web.port}",
            )
        )
    shared = settings.orchestration.api_url
    return Supervisor(
        folder,
        services,
        server=None if shared else lambda: lasting_server(folder, port=settings.orchestration.port).url,
        is_well=answers,
        say=say,
    )
