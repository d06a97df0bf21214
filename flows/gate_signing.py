"""Gates a person corrected: taken where somebody signs for them, and then their numbers supersede those of the found gates.

Knows which recorded acquisitions a file of gates corrects, and what waits for whom. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.inbox import stem
from biomarkers.readers.sign_offs import SignOff
from biomarkers.results import Assay
from biomarkers.store.database import Reading
from biomarkers.store.results import RecordedRun, current_runs, is_recorded
from flows import plate_signing, steps
from flows.acquisition_work import AcquisitionWork, GatesWork, TubeFiles, analyse_fcs_file, probe_gates
from flows.bench import attempt, bench, each
from flows.steps import Held
from flows.work import Analysed, Analysis, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _Correction:
    """A file of gates with its signature and the recorded acquisitions it speaks of."""

    gates: Held
    sidecar: Held
    sign_off: SignOff
    runs: tuple[RecordedRun, ...]


async def take(gates: Sequence[Held], sidecars: Sequence[Held]) -> tuple[Analysis, ...]:
    """Take one file of gates with its sidecar, or let it wait; return the analyses now on record."""
    if len(gates) > 1:
        steps.wait_for_a_person(gates, (*gates, *sidecars), "correction")
        return ()
    if not gates:
        for one in sidecars:
            _lone_signature(one)
        return ()
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=gates[0].sha256)
    if known:
        for one in (*gates, *sidecars):
            steps.seen(one, "These bytes are recorded already.")
        return ()
    correction = await _correction(gates[0], sidecars)
    return () if correction is None else await _recorded(correction)


def _lone_signature(sidecar: Held) -> None:
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=sidecar.sha256)
    if known:
        steps.seen(sidecar, "These bytes are recorded already.")
        return
    steps.waiting(
        sidecar,
        WaitingForFileError(
            what="The sidecar waits for the corrected gates it signs.",
            where=f"File '{sidecar.file.name}'.",
            remedy="Drop the FlowJo workspace (.wsp) or the Gating-ML file (.xml) of the same name beside it.",
        ),
    )


async def _correction(gates: Held, sidecars: Sequence[Held]) -> _Correction | None:
    runs = await _runs(gates)
    if runs is None:
        for one in sidecars:
            _waits_for_sound_gates(one, gates)
        return None
    if not sidecars:
        _wait_for_a_signature(gates)
        return None
    sign_off = plate_signing.read(sidecars[0])
    if sign_off is None:
        plate_signing.wait_for_a_sound_sidecar(gates, sidecars[0])
        return None
    if not runs:
        for one in (gates, sidecars[0]):
            _wait_for_the_acquisition(one, gates)
        return None
    return _Correction(gates=gates, sidecar=sidecars[0], sign_off=sign_off, runs=runs)


async def _runs(gates: Held) -> tuple[RecordedRun, ...] | None:
    """Find the acquisitions a file of gates corrects, by its name or by a workspace's samples; None if it cannot be read."""
    work = GatesWork(folder=bench().laboratory.folder, file=steps.work_file(gates))
    samples = await attempt(probe_gates, work)
    if isinstance(samples, BiomarkersError):
        steps.settle([gates], samples, reason="")
        return None
    with bench().laboratory.database.read() as reading:
        by_name = recorded_as(reading, stem(gates.file.name))
        named = {_bare(sample) for sample in samples}
        by_sample = [run for run in _all_runs(reading) if _bare(run.sources[0].name) in named]
    return tuple(by_name if len(by_name) == 1 else by_sample)


async def _recorded(correction: _Correction) -> tuple[Analysis, ...]:
    gates, sidecar, signed = correction.gates, correction.sidecar, correction.sign_off
    works = [_work(correction, run) for run in correction.runs]
    analyses: list[Analysis] = []
    failed: Outcome | BiomarkersError | None = None
    async for _, outcome in each(analyse_fcs_file, works):
        if isinstance(outcome, Analysed):
            analyses += outcome.analyses
        else:
            failed = failed or outcome
    if failed is None and not analyses:
        for one in (gates, sidecar):
            steps.seen(one, "These gates keep the same events as those found; nothing changes.")
        return ()
    together = failed or Analysed(analyses=tuple(analyses))
    return steps.settle((gates, sidecar), together, reason=f"by {signed.by}: {signed.reason}")


def _work(correction: _Correction, run: RecordedRun) -> AcquisitionWork:
    before = TubeFiles.of(run.sources)
    files = replace(before, gates=steps.work_file(correction.gates), sign_off=steps.work_file(correction.sidecar))
    # Gates drawn back to where they were found are news where a correction stands.
    return acquisition_work(files, only_if_corrected=before.gates is None)


def _wait_for_a_signature(gates: Held) -> None:
    name = stem(gates.file.name)
    steps.waiting(
        gates,
        WaitingForFileError(
            what="Corrected gates are taken in only when somebody signs for them.",
            where=f"File '{gates.file.name}'.",
            remedy=f"Drop '{name}.toml' with by and reason beside it.",
        ),
    )


def _wait_for_the_acquisition(one: Held, gates: Held) -> None:
    steps.waiting(
        one,
        WaitingForFileError(
            what=f"No recorded acquisition is the one '{gates.file.name}' corrects, by its name or by its samples.",
            where=f"File '{one.file.name}'.",
            remedy="Drop the FCS file first, or give the gates the FCS file's name.",
        ),
    )


def _waits_for_sound_gates(sidecar: Held, gates: Held) -> None:
    steps.waiting(
        sidecar,
        WaitingForFileError(
            what=f"The gates it signs, '{gates.file.name}', were quarantined.",
            where=f"File '{sidecar.file.name}'.",
            remedy=f"Mend '{gates.file.name}' and drop it again.",
        ),
    )


def _bare(name: str) -> str:
    return (name[:-4] if name.lower().endswith(".fcs") else name).casefold()


def _all_runs(reading: Reading) -> tuple[RecordedRun, ...]:
    return current_runs(reading, assay=Assay.CYTOMETRY)


def recorded_as(reading: Reading, name: str) -> list[RecordedRun]:
    """Return the recorded acquisitions of a name, without its ending."""
    return [run for run in current_runs(reading, assay=Assay.CYTOMETRY) if stem(run.sources[0].name) == name]


def acquisition_work(files: TubeFiles, *, only_if_corrected: bool = False) -> AcquisitionWork:
    """Put together what a child process needs to gate an FCS file."""
    laboratory = bench().laboratory
    return AcquisitionWork(
        folder=laboratory.folder,
        files=files,
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
        only_if_corrected=only_if_corrected,
    )
