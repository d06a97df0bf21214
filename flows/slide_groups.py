"""Which dropped files make up a slide, and what a file that comes later changes about a recorded one.

Knows slides, sidecars, annotations, label images and who must answer for what. Must not compute or know SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.lab.archive import named
from biomarkers.lab.drafts import own_name
from biomarkers.lab.inbox import is_annotation, is_class_list, is_label_image, is_sidecar, stem
from biomarkers.readers.slide_sidecars import read_slide_sidecar
from biomarkers.results import Assay
from biomarkers.store.results import RecordedRun, current_runs, is_recorded, run_by_instrument
from biomarkers.study.slides import SlideSidecar
from flows import steps
from flows.bench import bench
from flows.steps import Held
from flows.work import WorkFile

_BESIDE: Mapping[str, Callable[[str], bool]] = {
    "annotation": is_annotation,
    "labels": is_label_image,
    "classes": is_class_list,
}
"""Roles of the files that may lie beside a slide, with how their names tell."""

_CALLED = {"annotation": "annotation", "labels": "label image", "classes": "list of classes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTask:
    """A slide to be scored: its files by role, those of them that were dropped now, and why where it is on record.

    ``said`` is the sidecar that was dropped now.
    """

    files: Mapping[str, WorkFile]
    held: tuple[Held, ...]
    reason: str
    said: SlideSidecar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Dropped files of one name, at most one of each sort."""

    slide: Held | None
    beside: Mapping[str, Held]
    sidecar: Held | None
    said: SlideSidecar | None

    @property
    def held(self) -> tuple[Held, ...]:
        return tuple(one for one in (self.slide, *self.beside.values(), self.sidecar) if one is not None)

    @property
    def added(self) -> dict[str, WorkFile]:
        """What lies beside the slide, by role; a sidecar that only signs leaves the one that describes the slide in force."""
        files = {role: steps.work_file(one) for role, one in self.beside.items()}
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
    files = {"instrument": steps.work_file(group.slide), **group.added}
    return None if _lacks_labels(group, files) else SlideTask(files=files, held=group.held, reason="", said=group.said)


def recorded_files(run: RecordedRun) -> dict[str, WorkFile]:
    """Return the files a recorded slide was scored from, by role."""
    return {source.role: WorkFile(name=source.name, sha256=source.sha256) for source in run.sources}


def _grouped(held: Sequence[Held]) -> _Group | None:
    sidecars = [one for one in held if is_sidecar(one.file.name)]
    beside = {role: [one for one in held if belongs(one.file.name)] for role, belongs in _BESIDE.items()}
    slides = [one for one in held if one not in sidecars and not any(one in found for found in beside.values())]
    for what, several in {
        "slide": slides,
        **{_CALLED[role]: found for role, found in beside.items()},
        "sidecar": sidecars,
    }.items():
        if len(several) > 1:
            steps.wait_for_a_person(several, held, what)
            return None
    others = {role: found[0] for role, found in beside.items() if found}
    said = None
    if sidecars:
        try:
            with named(bench().laboratory.folder, own_name(), {sidecars[0].file.name: sidecars[0].sha256}) as place:
                said = read_slide_sidecar(place / sidecars[0].file.name)
        except BiomarkersError as error:
            if error.is_transient:
                raise
            _refuse_sidecar(sidecars[0], (*slides, *others.values()), error)
            return None
    return _Group(
        slide=slides[0] if slides else None,
        beside=others,
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
    """Change a recorded slide by what was dropped: a sidecar, a first annotation or label image, or a signed correction."""
    before = recorded_files(run)
    is_signed = group.said is not None and group.said.is_signed
    corrected = [role for role, one in group.beside.items() if role in before and before[role].sha256 != one.sha256]
    if corrected and not is_signed:
        for one in group.held:
            _wait_for_a_signature(one, _CALLED[corrected[0]])
        return None
    if group.sidecar is not None and group.said is not None and not group.said.describes and not group.beside:
        for one in group.held:
            steps.waiting(
                one,
                WaitingForFileError(
                    what="The sidecar waits for the annotation or label image it signs.",
                    where=f"File '{one.file.name}'.",
                    remedy="Drop the corrected file beside it; they share their name.",
                ),
            )
        return None
    if {role: file.sha256 for role, file in (before | group.added).items()} == {
        role: file.sha256 for role, file in before.items()
    }:
        for one in group.held:
            steps.seen(one, "These bytes are recorded already.")
        return None
    files = before | group.added
    if _lacks_labels(group, files):
        return None
    return SlideTask(files=files, held=group.held, reason=_reason(group), said=group.said)


def _lacks_labels(group: _Group, files: Mapping[str, WorkFile]) -> bool:
    """Let a list of classes wait, with its slide, for the label image whose cells it names."""
    if "classes" not in files or "labels" in files:
        return False
    for one in group.held:
        steps.waiting(
            one,
            WaitingForFileError(
                what=f"'{files['classes'].name}' says what the cells of a label image are, and there is none yet.",
                where=f"File '{one.file.name}'.",
                remedy=f"Drop '{stem(one.file.name)}.labels.tif' beside it.",
            ),
        )
    return True


def _reason(group: _Group) -> str:
    dropped = [
        f"The {what} '{one.file.name}' was dropped."
        for what, one in (*((_CALLED[role], one) for role, one in group.beside.items()), ("sidecar", group.sidecar))
        if one is not None and not (what == "sidecar" and group.said is not None and not group.said.describes)
    ]
    if group.said is not None and group.said.is_signed:
        dropped.append(f"{group.said.by}: {group.said.reason}")
    return " ".join(dropped)


def _wait_for_a_signature(one: Held, what: str) -> None:
    name = stem(one.file.name)
    steps.waiting(
        one,
        WaitingForFileError(
            what=f"The {what} differs from the one this slide is recorded with, and nobody has signed for the correction.",
            where=f"File '{one.file.name}'.",
            remedy=f"Drop '{name}.toml' with by and reason beside it.",
        ),
    )


def _wait_for_the_slide(group: _Group, *, several: bool) -> None:
    for one in group.held:
        what = next((_CALLED[role] for role, belongs in _BESIDE.items() if belongs(one.file.name)), "sidecar")
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
