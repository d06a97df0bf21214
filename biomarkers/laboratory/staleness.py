"""Which recorded runs were made from what no longer stands: a layout, a panel, a declaration, the program.

Knows what each kind of run depends on. Must not compute any of them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from biomarkers.errors import BiomarkersError
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory.plates import StaleRun
from biomarkers.laboratory.plates import stale_runs as stale_plates
from biomarkers.provenance import content_digest, software_version
from biomarkers.readers.panels import read_panel
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.results import Assay
from biomarkers.store.database import Reading
from biomarkers.store.proposals import Answer, latest_proposals
from biomarkers.store.results import current_runs
from biomarkers.study.definition import StudyDefinition


def stale_runs(reading: Reading, folder: LabFolder, definition: StudyDefinition) -> tuple[StaleRun, ...]:
    """Find every run whose results would be made from something else today, each with what has changed."""
    found: dict[str, StaleRun] = {}
    for one in (
        *stale_plates(reading, folder, definition),
        *_others(reading, folder, definition),
        *_of_other_versions(reading),
    ):
        before = found.get(one.run_id)
        found[one.run_id] = one if before is None else replace(before, why=f"{before.why} {one.why}")
    proposed = _proposed(reading)
    return tuple(replace(one, proposed=proposed.get(one.run_id, "")) for one in found.values())


def _proposed(reading: Reading) -> Mapping[str, str]:
    """Tell of each run what became of the proposal made last in place of what counts."""
    told: dict[str, str] = {}
    for one in latest_proposals(reading):
        if one.answer is None:
            told[one.run_id] = f"proposal {one.id} waits for a decision"
        elif one.answer is Answer.REFUSED and one.decided_at is not None:
            told[one.run_id] = f"refused by {one.decided_by} on {one.decided_at:%Y-%m-%d}: {one.decision_reason}"
    return told


def _of_other_versions(reading: Reading) -> Iterator[StaleRun]:
    today = software_version()
    for run in current_runs(reading):
        if run.software != today:
            why = f"The program is {today} now and was {run.software} then."
            yield StaleRun(run_id=run.run_id, name=run.name, assay=run.assay.value, why=why)


def _others(reading: Reading, folder: LabFolder, definition: StudyDefinition) -> Iterator[StaleRun]:
    today = _todays(folder, definition)
    for run in current_runs(reading):
        if run.assay is Assay.ELISA:
            continue
        changes = [
            f"{_WORDS[given.kind]} '{given.name}' has changed."
            for given in run.inputs
            if given.kind in today and today[given.kind](given.name) != given.sha256
        ]
        if changes:
            yield StaleRun(run_id=run.run_id, name=run.name, assay=run.assay.value, why=" ".join(changes))


_WORDS = {
    "panel": "The panel",
    "measurands": "What study.toml reports of the panel",
    "stain_protocol": "The protocol of stain",
    "scores": "What study.toml reports of stain",
}


def _todays(folder: LabFolder, definition: StudyDefinition) -> Mapping[str, Callable[[str], str]]:
    """Return, for each kind of input, the digest that one of that name has today; empty where there is none any more."""

    @cache
    def panel(name: str) -> str:
        try:
            return content_digest(read_panel(folder.panels / f"{name}.toml").model_dump(mode="json"))
        except BiomarkersError:
            return ""  # it can no longer be read; `check` says why

    @cache
    def protocol(code: str) -> str:
        reference = definition.stain(code)
        try:
            return "" if reference is None else protocol_named(reference.protocol, folder.stain_protocols).digest()
        except BiomarkersError:
            return ""

    def measurands(name: str) -> str:
        found = next((reference for reference in definition.panels if reference.name == name), None)
        return "" if found is None else content_digest([measurand.model_dump(mode="json") for measurand in found.measurands])

    def scores(code: str) -> str:
        return next((content_digest(list(stain.scores)) for stain in definition.stains if stain.code == code), "")

    return {"panel": panel, "measurands": measurands, "stain_protocol": protocol, "scores": scores}
