"""Acquisitions: an FCS file with its sidecar, from the inbox to recorded results; then the gates people corrected.

Knows which files of one name belong together and in which order they are taken. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.errors import WaitingForFileError
from biomarkers.lab.archive import named
from biomarkers.lab.drafts import own_name
from biomarkers.lab.inbox import DroppedFile, is_sidecar, stem
from biomarkers.readers.tube_sidecars import signs_gates
from biomarkers.store.results import RecordedRun, is_recorded, run_by_instrument
from flows import gate_signing, intake, steps
from flows.acquisition_work import AcquisitionWork, TubeFiles, analyse_fcs_file
from flows.bench import bench, each
from flows.evidence import acquisition_pages
from flows.gate_signing import acquisition_work, recorded_as
from flows.leases import working
from flows.settings import lab_task
from flows.steps import Held
from flows.work import Analysis

GATE_ENDINGS = (".wsp", ".xml")
"""FlowJo workspaces and Gating-ML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tube:
    """An FCS file and its sidecar that are worked on together; a side taken from the archive is not held."""

    work: AcquisitionWork
    held: tuple[Held, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Files of one name."""

    tubes: tuple[Held, ...]
    gates: tuple[Held, ...]
    said: tuple[Held, ...]
    signed: tuple[Held, ...]

    @classmethod
    def of(cls, held: Sequence[Held]) -> _Group:
        gates = tuple(one for one in held if one.file.name.lower().endswith(GATE_ENDINGS))
        sidecars = [one for one in held if is_sidecar(one.file.name)]
        signed = tuple(one for one in sidecars if _signs(one))
        return cls(
            tubes=tuple(one for one in held if one not in gates and one not in sidecars),
            gates=gates,
            said=tuple(one for one in sidecars if one not in signed),
            signed=signed,
        )


@lab_task("acquisitions")
async def acquisitions(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take FCS files: gate each and record what the study reports; then take corrected gates, which need them on record."""
    with working():
        held_groups = await intake.hold(groups)
        found = [_Group.of(held) for held in held_groups if held]
        ready = [tube for group in found if (tube := _ready(group)) is not None]
        recorded: list[Analysis] = []
        async for number, outcome in each(analyse_fcs_file, [tube.work for tube in ready]):
            recorded += steps.settle(ready[number].held, outcome, reason=ready[number].reason)
        for group in found:
            if group.gates or group.signed:
                recorded += await gate_signing.take(group.gates, group.signed)
    await acquisition_pages([analysis for analysis in recorded if isinstance(analysis, AcquisitionAnalysis)])


def _signs(sidecar: Held) -> bool:
    with named(bench().laboratory.folder, own_name(), {sidecar.file.name: sidecar.sha256}) as place:
        return signs_gates(place / sidecar.file.name)


def _ready(group: _Group) -> _Tube | None:
    if len(group.tubes) > 1:
        steps.wait_for_a_person(group.tubes, (*group.tubes, *group.said), "acquisition")
        return None
    if group.tubes:
        return _with_sidecar(group.tubes[0], group.said[0] if group.said else None)
    return _lone_sidecar(group.said[0]) if group.said else None


def _with_sidecar(tube: Held, sidecar: Held | None) -> _Tube | None:
    with bench().laboratory.database.read() as reading:
        runs = run_by_instrument(reading, instrument_sha256=tube.sha256)
        said = sidecar is not None and is_recorded(reading, sha256=sidecar.sha256)
        known = bool(runs) or is_recorded(reading, sha256=tube.sha256)
    if known and (sidecar is None or said or not runs):
        for one in (tube, sidecar):
            if one is not None:
                steps.seen(one, "These bytes are recorded already.")
        return None
    held = (tube,) if sidecar is None else (tube, sidecar)
    if runs and sidecar is not None:
        return _said_anew(runs[0], sidecar, held)
    files = TubeFiles(instrument=steps.work_file(tube), sidecar=None if sidecar is None else steps.work_file(sidecar))
    return _Tube(work=acquisition_work(files), held=held, reason="")


def _lone_sidecar(sidecar: Held) -> _Tube | None:
    """Take a sidecar without an FCS file beside it: word about a recorded one, or one that came first."""
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=sidecar.sha256)
        runs = recorded_as(reading, stem(sidecar.file.name))
    if len(runs) == 1 and not (known and any(source.sha256 == sidecar.sha256 for source in runs[0].sources)):
        return _said_anew(runs[0], sidecar, (sidecar,))
    if known:
        steps.seen(sidecar, "These bytes are recorded already.")
        return None
    steps.waiting(
        sidecar,
        WaitingForFileError(
            what="The sidecar waits for its FCS file." if not runs else "Several recorded acquisitions have this name.",
            where=f"File '{sidecar.file.name}'.",
            remedy=f"Drop the FCS file beside it; both share the name '{stem(sidecar.file.name)}'.",
        ),
    )
    return None


def _said_anew(run: RecordedRun, sidecar: Held, held: tuple[Held, ...]) -> _Tube:
    before = TubeFiles.of(run.sources)
    files = TubeFiles(
        instrument=before.instrument, sidecar=steps.work_file(sidecar), gates=before.gates, sign_off=before.sign_off
    )
    return _Tube(work=acquisition_work(files), held=held, reason=f"The sidecar '{sidecar.file.name}' was dropped.")
