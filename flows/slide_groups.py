"""Which dropped files make up a slide, and what a file that comes later changes about a recorded one.

Knows slides, sidecars, annotations and who must answer for what. Must not compute or know SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.archive import named
from biomarkers.lab.inbox import is_annotation, is_sidecar, stem
from biomarkers.results import Assay
from biomarkers.store.results import RecordedRun, current_runs, is_recorded, run_by_instrument
from biomarkers.study.slides import SlideSidecar
from flows import steps
from flows.bench import bench
from flows.slide_work import read_sidecar
from flows.steps import Held
from flows.work import WorkFile


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTask:
    """A slide to be scored: its files by role, those of them that were dropped now, and why where it is on record."""

    files: Mapping[str, WorkFile]
    held: tuple[Held, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Dropped files of one name, at most one of each sort."""

    slide: Held | None
    annotation: Held | None
    sidecar: Held | None
    said: SlideSidecar | None

    @property
    def held(self) -> tuple[Held, ...]:
        return tuple(one for one in (self.slide, self.annotation, self.sidecar) if one is not None)

    @property
    def added(self) -> dict[str, WorkFile]:
        """What lies beside the slide, by role; a sidecar that only signs leaves the one that describes the slide in force."""
        files: dict[str, WorkFile] = {}
        if self.annotation is not None:
            files["annotation"] = steps.work_file(self.annotation)
        if self.sidecar is not None and self.said is not None:
            files["sidecar" if self.said.describes else "signature"] = steps.work_file(self.sidecar)
        return files


def slide_tasks(held: Sequence[Held]) -> SlideTask | None:
    """Tell what is to be done with files of one name; None where they wait, or nothing is left to do."""
    group = _grouped(held)
    if group is None:
        return None
    with bench().laboratory.database.read() as reading:
        known = {one.sha256 for one in held if is_recorded(reading, sha256=one.sha256)}
        if group.slide is None:
            name = stem(held[0].file.name)
            runs = [run for run in current_runs(reading, assay=Assay.IHC) if stem(run.sources[0].name) == name]
        else:
            runs = list(run_by_instrument(reading, instrument_sha256=group.slide.sha256))
    if all(one.sha256 in known for one in held):
        for one in held:
            steps.seen(one, "These bytes are recorded already.")
        return None
    if len(runs) == 1:
        return _correction(group, runs[0])
    if group.slide is None:
        _wait_for_the_slide(group, several=bool(runs))
        return None
    return SlideTask(files={"instrument": steps.work_file(group.slide), **group.added}, held=group.held, reason="")


def recorded_files(run: RecordedRun) -> dict[str, WorkFile]:
    """Return the files a recorded slide was scored from, by role."""
    return {source.role: WorkFile(name=source.name, sha256=source.sha256) for source in run.sources}


def _grouped(held: Sequence[Held]) -> _Group | None:
    sidecars = [one for one in held if is_sidecar(one.file.name)]
    annotations = [one for one in held if is_annotation(one.file.name)]
    slides = [one for one in held if one not in sidecars and one not in annotations]
    for several, what in ((slides, "slide"), (annotations, "annotation"), (sidecars, "sidecar")):
        if len(several) > 1:
            steps.wait_for_a_person(several, held, what)
            return None
    said = None
    if sidecars:
        try:
            with named(bench().laboratory.folder, steps.place_name(), {sidecars[0].file.name: sidecars[0].sha256}) as place:
                said = read_sidecar(place / sidecars[0].file.name)
        except BiomarkersError as error:
            if error.is_transient:
                raise
            _refuse_sidecar(sidecars[0], (*slides, *annotations), error)
            return None
    return _Group(
        slide=slides[0] if slides else None,
        annotation=annotations[0] if annotations else None,
        sidecar=sidecars[0] if sidecars else None,
        said=said,
    )


def _refuse_sidecar(sidecar: Held, others: Sequence[Held], error: BiomarkersError) -> None:
    steps.quarantine(sidecar, error)
    for one in others:
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"The file is sound, but '{sidecar.file.name}', which belongs to it, was quarantined.",
                where=f"File '{one.file.name}'.",
                remedy=f"Mend '{sidecar.file.name}' and drop it again.",
            ),
        )


def _correction(group: _Group, run: RecordedRun) -> SlideTask | None:
    """Change a recorded slide by what was dropped: a sidecar, a first annotation, or a corrected one that is signed for."""
    before = recorded_files(run)
    is_signed = group.said is not None and group.said.is_signed
    corrects = (
        group.annotation is not None and "annotation" in before and before["annotation"].sha256 != group.annotation.sha256
    )
    if corrects and not is_signed:
        for one in group.held:
            _wait_for_a_signature(one)
        return None
    if group.sidecar is not None and group.said is not None and not group.said.describes and group.annotation is None:
        for one in group.held:
            steps.waiting(
                one,
                WaitingForFileError(
                    what="The sidecar waits for the annotation it signs.",
                    where=f"File '{one.file.name}'.",
                    remedy="Drop the corrected GeoJSON beside it; they share their name.",
                ),
            )
        return None
    if {role: file.sha256 for role, file in (before | group.added).items()} == {
        role: file.sha256 for role, file in before.items()
    }:
        for one in group.held:
            steps.seen(one, "These bytes are recorded already.")
        return None
    return SlideTask(files=before | group.added, held=group.held, reason=_reason(group))


def _reason(group: _Group) -> str:
    dropped = [
        f"The {what} '{one.file.name}' was dropped."
        for what, one in (("annotation", group.annotation), ("sidecar", group.sidecar))
        if one is not None and not (what == "sidecar" and group.said is not None and not group.said.describes)
    ]
    if group.said is not None and group.said.is_signed:
        dropped.append(f"{group.said.by}: {group.said.reason}")
    return " ".join(dropped)


def _wait_for_a_signature(one: Held) -> None:
    name = stem(one.file.name)
    steps.waiting(
        one,
        WaitingForFileError(
            what="The annotation differs from the one this slide is recorded with, and nobody has signed for the correction.",
            where=f"File '{one.file.name}'.",
            remedy=f"Drop '{name}.toml' with by and reason beside it.",
        ),
    )


def _wait_for_the_slide(group: _Group, *, several: bool) -> None:
    for one in group.held:
        what = "annotation" if is_annotation(one.file.name) else "sidecar"
        name = stem(one.file.name)
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"Several recorded slides have this name, so it is not clear which one the {what} belongs to."
                if several
                else f"The {what} waits for its slide.",
                where=f"File '{one.file.name}'.",
                remedy=f"Drop the slide beside it; both share the name '{name}'.",
            ),
        )
