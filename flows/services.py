"""Which services make up a running laboratory on one machine.

Knows their commands. Must not know how they are kept running.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from biomarkers.lab.folders import STUDY_INBOX, LabFolder, LabSettings
from biomarkers.results import Assay
from flows.server import answers, lasting_server
from flows.supervisor import Say, Service, Supervisor

WATCHERS = {
    "plates": (STUDY_INBOX, Assay.ELISA.value),
    "cells": (Assay.CYTOMETRY.value, Assay.IHC.value),
}
"""Which inboxes are watched together: plates take a moment, and do not wait for slides, which take minutes."""


def supervisor(folder: LabFolder, settings: LabSettings, *, say: Say) -> Supervisor:
    """Return what keeps a laboratory's services running on this machine."""
    lab = str(folder.root)
    services = [
        *(
            Service(
                name=name,
                command=[sys.executable, "-m", "flows.watcher", lab, *inboxes],
                announce=f"watches the inboxes {' and '.join(inboxes)}",
            )
            for name, inboxes in WATCHERS.items()
        ),
        Service(
            name="second-steps",
            command=[sys.executable, "-m", "flows.follower", lab],
            announce="ratios, control charts, pooled sections and pages after new results",
        ),
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
