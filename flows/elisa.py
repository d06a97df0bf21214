"""Plates: an export and its map, from the inbox to recorded results.

Knows which files of one name belong together and in which order they are taken. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.inbox import DroppedFile, is_plate_map, stem
from biomarkers.results import Assay
from biomarkers.store.results import RecordedRun, current_runs, is_recorded
from flows import steps
from flows.bench import attempt, bench, each
from flows.evidence import plate_pages
from flows.plate_work import PlateWork, analyse_plate_file, probe_export, probe_map
from flows.settings import lab_task
from flows.steps import Held
from flows.work import Analysis, WorkFile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plate:
    """An export and a map that are worked on together; a side taken from the archive is not held."""

    work: PlateWork
    held: tuple[Held, ...]
    reason: str


@lab_task("plates")
async def plates(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take groups of files of one name each: analyse what is whole, let the rest wait with its reason."""
    with steps.working(steps.hold(files) for files in groups) as held_groups:
        ready = [plate for held in held_groups if held and (plate := await _ready(held)) is not None]
        works = [plate.work for plate in ready]
        recorded: list[Analysis] = []
        async for number, outcome in each(analyse_plate_file, works):
            plate = ready[number]
            recorded += steps.settle(plate.held, outcome, reason=plate.reason)
    await plate_pages([analysis for analysis in recorded if isinstance(analysis, PlateAnalysis)])


async def _ready(held: Sequence[Held]) -> _Plate | None:
    exports = [one for one in held if not is_plate_map(one.file.name)]
    maps = [one for one in held if is_plate_map(one.file.name)]
    if len(exports) > 1 or len(maps) > 1:
        steps.wait_for_a_person(exports if len(exports) > 1 else maps, held, "plate")
        return None
    if exports and maps:
        return _pair(exports[0], maps[0])
    if exports:
        await _lone_export(exports[0])
        return None
    return await _lone_map(maps[0])


def _pair(export: Held, plate_map: Held) -> _Plate | None:
    database = bench().laboratory.database
    with database.read() as reading:
        known = is_recorded(reading, sha256=export.sha256), is_recorded(reading, sha256=plate_map.sha256)
    if all(known):
        for one in (export, plate_map):
            steps.seen(one, "These bytes are recorded already.")
        return None
    return _Plate(
        work=plate_work(steps.work_file(export), steps.work_file(plate_map)),
        held=(export, plate_map),
        reason=f"The plate map '{plate_map.file.name}' was dropped for this plate." if known[0] else "",
    )


async def _lone_export(export: Held) -> None:
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=export.sha256)
    if known:
        steps.seen(export, "These bytes are recorded already.")
        return
    outcome = await attempt(probe_export, plate_work(steps.work_file(export), steps.work_file(export)))
    if isinstance(outcome, BiomarkersError):
        steps.settle([export], outcome, reason="")
        return
    steps.waiting(
        export,
        WaitingForFileError(
            what=f"The export waits for its plate map; it holds {', '.join(repr(plate) for plate in outcome)}.",
            where=f"File '{export.file.name}'.",
            remedy=f"Drop '{stem(export.file.name)}.map.csv' beside it.",
        ),
    )


async def _lone_map(plate_map: Held) -> _Plate | None:
    """Take a map without an export beside it: a correction of a recorded plate, or one that came first."""
    name = stem(plate_map.file.name)
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=plate_map.sha256)
        runs = [run for run in current_runs(reading, assay=Assay.ELISA) if stem(run.sources[0].name) == name]
    if known:
        steps.seen(plate_map, "These bytes are recorded already.")
        return None
    exports = {run.instrument_sha256: run for run in runs}
    if len(exports) == 1:
        (run,) = exports.values()
        return _Plate(
            work=plate_work(_recorded_export(run), steps.work_file(plate_map)),
            held=(plate_map,),
            reason=f"The corrected plate map '{plate_map.file.name}' was dropped.",
        )
    outcome = await attempt(probe_map, plate_work(steps.work_file(plate_map), steps.work_file(plate_map)))
    if isinstance(outcome, BiomarkersError):
        steps.settle([plate_map], outcome, reason="")
    else:
        steps.waiting(plate_map, _no_export(plate_map, several=len(exports) > 1))
    return None


def _no_export(plate_map: Held, *, several: bool) -> WaitingForFileError:
    what = "Several recorded exports have this name, so it is not clear which one the map corrects."
    return WaitingForFileError(
        what=what if several else "The plate map waits for its export.",
        where=f"File '{plate_map.file.name}'.",
        remedy=f"Drop the plate reader's export beside it; both share the name '{stem(plate_map.file.name)}'.",
    )


def plate_work(export: WorkFile, plate_map: WorkFile) -> PlateWork:
    """Put together what a child process needs to analyse an export with its map."""
    laboratory = bench().laboratory
    return PlateWork(
        folder=laboratory.folder,
        export=export,
        plate_map=plate_map,
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
    )


def _recorded_export(run: RecordedRun) -> WorkFile:
    return WorkFile(name=run.sources[0].name, sha256=run.instrument_sha256)
