"""The page of each stain batch that second steps remark on, kept as the evidence of the run that says so.

Knows when a page no longer shows what stands. Must not draw.
"""

from __future__ import annotations

from biomarkers.lab.evidence import is_shown
from biomarkers.laboratory.stain_batches import stain_batches
from biomarkers.reports.slide_files import QUALITY_PAGE
from biomarkers.reports.stain_batch_page import stain_batch_page
from biomarkers.store.derivations import StandingDerivation, standing_derivations
from flows.bench import bench
from flows.evidence import keep
from flows.settings import lab_task
from flows.stain_batch_step import STEP, run_of


@lab_task("stain batch pages")
async def stain_batch_pages() -> None:
    """Draw the page of every stain batch whose findings have changed since, or that has none."""
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        standing = standing_derivations(reading, step=STEP)
        outdated = {run_id for run_id, one in standing.items() if not one.is_empty and not _is_shown(one)}
        if not outdated:
            return
        batches = stain_batches(reading, laboratory.folder, laboratory.definition)
    for batch in batches:
        run_id = run_of(batch)
        if run_id in outdated:
            title = f"Stain batch {batch.batch} of {batch.stain}"
            page = stain_batch_page([batch], title=title, analysis_id=standing[run_id].analysis_id)
            keep(run_id, {QUALITY_PAGE: page.encode()}, of=standing[run_id].content_id)


def _is_shown(one: StandingDerivation) -> bool:
    return is_shown(bench().laboratory.folder, one.run_id, of=one.content_id)
