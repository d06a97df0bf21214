"""What may pass by itself is tried again by the orchestration; a fault of a file never."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.server import Announcement

FLOW = """
import asyncio, contextlib, json
from biomarkers.errors import SourceFileError, TemporarilyUnavailableError
from flows import settings
settings.RETRY_SECONDS[:] = [0.1, 0.1, 0.1]
tried = {"passing": 0, "lasting": 0}

@settings.lab_task("passing")
async def passing():
    tried["passing"] += 1
    if tried["passing"] < 3:
        raise TemporarilyUnavailableError(what="The database is busy.")

@settings.lab_task("lasting")
async def lasting():
    tried["lasting"] += 1
    raise SourceFileError(what="The file is torn.")

@settings.lab_flow("both")
async def both():
    await passing()
    with contextlib.suppress(SourceFileError):
        await lasting()

asyncio.run(both())
print(json.dumps(tried))
"""


def test_a_busy_database_is_tried_again_and_a_torn_file_is_not(server: Announcement) -> None:
    # The session's server has set PREFECT_API_URL in this environment, which the child inherits.
    assert server.url
    run = subprocess.run([sys.executable, "-c", FLOW], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(run.stdout.splitlines()[-1]) == {"passing": 3, "lasting": 1}
