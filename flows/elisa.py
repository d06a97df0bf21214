"""Plates: an export and its map, from the inbox to recorded results.

Knows which files of one name belong together and in which order they are taken. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.lots import KitLot
from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.inbox import DroppedFile, is_plate_map, is_sidecar, stem
from biomarkers.readers.sign_offs import SignOff
from biomarkers.results import Assay
from biomarkers.store.decisions import masks_by_run
from biomarkers.store.results import RecordedRun, current_runs, is_recorded
from biomarkers.store.study_lists import current_lots
from flows import intake, plate_signing, steps
from flows.bench import attempt, bench, each
from flows.leases import working
from flows.plate_work import PlateWork, analyse_plate_file, probe_export, probe_map
from flows.settings import lab_task
from flows.steps import Held
from flows.work import Analysed, WorkFile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plate:
    """An export and a map that are worked on together; a side taken from the archive is not held."""

    work: PlateWork
    held: tuple[Held, ...]
    reason: str
    sign_off: SignOff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateSetting:
    """What all plates of a stage are analysed by: kit lots and masked wells as they stand, read once."""

    lots: tuple[KitLot, ...]
    masks_by_run: Mapping[str, Mapping[str, str]]


@lab_task("plates")
async def plates(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take groups of files of one name each: analyse what is whole, let the rest wait with its reason."""
    with working():
        held_groups = await intake.hold(groups)
        setting = plate_setting()
        ready = [plate for held in held_groups if held and (plate := await _ready(held, setting)) is not None]
        works = [plate.work for plate in ready]
        async for number, outcome in each(analyse_plate_file, works):
            plate = ready[number]
            if isinstance(outcome, Analysed) and plate_signing.is_second_read(plate.held, outcome, plate.sign_off):
                continue
            steps.settle(plate.held, outcome, reason=plate.reason, also=plate_signing.consequences(outcome, plate.sign_off))


async def _ready(held: Sequence[Held], setting: PlateSetting) -> _Plate | None:
    sidecars = [one for one in held if is_sidecar(one.file.name)]
    maps = [one for one in held if is_plate_map(one.file.name)]
    exports = [one for one in held if one not in sidecars and one not in maps]
    for several in (exports, maps, sidecars):
        if len(several) > 1:
            steps.wait_for_a_person(several, held, "plate")
            return None
    sign_off = None
    if sidecars:
        found = plate_signing.read(sidecars[0])
        if found is None:
            for one in (*exports, *maps):
                plate_signing.wait_for_a_sound_sidecar(one, sidecars[0])
            return None
        sign_off = found
    if exports and maps:
        return _pair(exports[0], maps[0], sidecars, sign_off, setting)
    if exports:
        return await _lone_export(exports[0], sidecars, sign_off, setting)
    if maps:
        return await _lone_map(maps[0], sidecars, sign_off, setting)
    plate_signing.wait_for_what_is_signed(sidecars[0])
    return None


def _pair(
    export: Held, plate_map: Held, sidecars: Sequence[Held], sign_off: SignOff | None, setting: PlateSetting
) -> _Plate | None:
    database = bench().laboratory.database
    with database.read() as reading:
        known = is_recorded(reading, sha256=export.sha256), is_recorded(reading, sha256=plate_map.sha256)
    if all(known):
        for one in (export, plate_map, *sidecars):
            steps.seen(one, "These bytes are recorded already." if one not in sidecars else "There is nothing left to sign.")
        return None
    if known[0] and sign_off is None:
        plate_signing.wait_for_a_signature((export, plate_map), plate_map)
        return None
    return _Plate(
        work=plate_work(steps.work_file(export), steps.work_file(plate_map), setting),
        held=(export, plate_map, *sidecars),
        reason=plate_signing.map_reason(plate_map, sign_off) if known[0] else plate_signing.read_reason(sign_off),
        sign_off=sign_off,
    )


async def _lone_export(
    export: Held, sidecars: Sequence[Held], sign_off: SignOff | None, setting: PlateSetting
) -> _Plate | None:
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=export.sha256)
        runs = _exported_as(current_runs(reading, assay=Assay.ELISA), stem(export.file.name))
    if known:
        for one in (export, *sidecars):
            steps.seen(one, "These bytes are recorded already.")
        return None
    outcome = await attempt(probe_export, plate_work(steps.work_file(export), steps.work_file(export), setting))
    if isinstance(outcome, BiomarkersError):
        steps.settle([export], outcome, reason="")
        for one in sidecars:
            plate_signing.wait_for_what_is_signed(one)
        return None
    if len({run.instrument_sha256 for run in runs}) == 1:
        if sign_off is None:
            plate_signing.wait_for_a_decision((export,), runs[0])
            return None
        return _Plate(
            work=plate_work(steps.work_file(export), _recorded_map(runs[0]), setting),
            held=(export, *sidecars),
            reason=plate_signing.read_reason(sign_off),
            sign_off=sign_off,
        )
    for one in (export, *sidecars):
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"The export waits for its plate map; it holds {', '.join(repr(plate) for plate in outcome)}.",
                where=f"File '{export.file.name}'.",
                remedy=f"Drop '{stem(export.file.name)}.map.csv' beside it.",
            ),
        )
    return None


async def _lone_map(
    plate_map: Held, sidecars: Sequence[Held], sign_off: SignOff | None, setting: PlateSetting
) -> _Plate | None:
    """Take a map without an export beside it: a correction of a recorded plate, or one that came first."""
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=plate_map.sha256)
        runs = _exported_as(current_runs(reading, assay=Assay.ELISA), stem(plate_map.file.name))
    if known:
        for one in (plate_map, *sidecars):
            steps.seen(one, "These bytes are recorded already.")
        return None
    exports = {run.instrument_sha256: run for run in runs}
    if len(exports) == 1:
        if sign_off is None:
            plate_signing.wait_for_a_signature((plate_map,), plate_map)
            return None
        (run,) = exports.values()
        return _Plate(
            work=plate_work(_recorded_export(run), steps.work_file(plate_map), setting),
            held=(plate_map, *sidecars),
            reason=plate_signing.map_reason(plate_map, sign_off),
        )
    outcome = await attempt(probe_map, plate_work(steps.work_file(plate_map), steps.work_file(plate_map), setting))
    if isinstance(outcome, BiomarkersError):
        steps.settle([plate_map], outcome, reason="")
    else:
        steps.waiting(plate_map, _no_export(plate_map, several=len(exports) > 1))
    for one in sidecars:
        plate_signing.wait_for_what_is_signed(one)
    return None


def _no_export(plate_map: Held, *, several: bool) -> WaitingForFileError:
    what = "Several recorded exports have this name, so it is not clear which one the map corrects."
    return WaitingForFileError(
        what=what if several else "The plate map waits for its export.",
        where=f"File '{plate_map.file.name}'.",
        remedy=f"Drop the plate reader's export beside it; both share the name '{stem(plate_map.file.name)}'.",
    )


def plate_setting() -> PlateSetting:
    """Read kit lots and masks as they stand."""
    with bench().laboratory.database.read() as reading:
        return PlateSetting(lots=current_lots(reading), masks_by_run=masks_by_run(reading))


def plate_work(export: WorkFile, plate_map: WorkFile, setting: PlateSetting) -> PlateWork:
    """Put together what a child process needs to analyse an export with its map."""
    laboratory = bench().laboratory
    return PlateWork(
        folder=laboratory.folder,
        export=export,
        plate_map=plate_map,
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
        lots=setting.lots,
        masks_by_run=setting.masks_by_run,
    )


def _exported_as(runs: Sequence[RecordedRun], name: str) -> list[RecordedRun]:
    return [run for run in runs if stem(run.sources[0].name) == name]


def _recorded_export(run: RecordedRun) -> WorkFile:
    return WorkFile(name=run.sources[0].name, sha256=run.instrument_sha256)


def _recorded_map(run: RecordedRun) -> WorkFile:
    source = next(source for source in run.sources if source.role == "plate_map")
    return WorkFile(name=source.name, sha256=source.sha256)
