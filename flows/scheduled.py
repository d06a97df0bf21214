"""The flows that Prefect starts in processes of their own: from its schedule, its page or its command line.

A table of contents: each opens the laboratory it is given by path, sets up a bench, and runs what the commands run.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from biomarkers.laboratory import open_lab
from flows.bench import at_bench
from flows.nightly import night_of
from flows.recompute import run_recompute
from flows.settings import deployable_flow
from flows.sweep import run_sweep
from flows.watching import settled_files

REASON = "Started from Prefect without a reason given."


def _silent(_done: int, _known: int, _text: str) -> None:
    """Nobody watches a scheduled run's progress bar."""


@deployable_flow("scheduled sweep")
async def sweep(lab: str) -> None:
    """Take what lies in the inboxes."""
    await asyncio.to_thread(_sweep, Path(lab))


@deployable_flow("scheduled recompute")
async def recompute(lab: str, reason: str = "") -> None:
    """Make new results from the same bytes."""
    await asyncio.to_thread(_recompute, Path(lab), reason.strip() or REASON)


@deployable_flow("scheduled night")
async def nightly(lab: str) -> None:
    """Do a night's work."""
    await asyncio.to_thread(night_of, Path(lab), _silent)


def _sweep(lab: Path) -> None:
    with open_lab(lab) as laboratory, at_bench(laboratory, _silent) as bench:
        run_sweep(bench, settled_files(laboratory))


def _recompute(lab: Path, reason: str) -> None:
    with open_lab(lab) as laboratory, at_bench(laboratory, _silent) as bench:
        run_recompute(bench, reason=reason)
