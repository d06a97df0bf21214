"""Recorded plates by their names, and what has changed since their results were made.

Knows what a plate's results depend on. Must not compute any of them anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate_inputs import (
    ANALYTE,
    KIT_LOT,
    LAYOUT,
    MASKS,
    analyte_input,
    layout_input,
    lot_input,
    mask_inputs,
)
from biomarkers.errors import BiomarkersError, StoreError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.results import Assay
from biomarkers.store.database import Reading
from biomarkers.store.decisions import masks_by_run
from biomarkers.store.results import RecordedRun, current_runs
from biomarkers.store.study_lists import current_lots
from biomarkers.study.definition import StudyDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRun:
    """A run whose results were made from what no longer stands; ``biomarkers recompute`` renews it.

    Attributes
    ----------
    proposed
        What became of the result proposed last in place of signed ones; empty where nothing was proposed.
    """

    run_id: str
    name: str
    assay: str
    why: str
    proposed: str = ""


def plate_named(reading: Reading, name: str) -> RecordedRun:
    """Find a recorded plate by its plate_id or its run_id.

    Raises
    ------
    StoreError
        There is none, or there are several of that name.
    """
    found = [run for run in current_runs(reading, assay=Assay.ELISA) if name in {run.name, run.run_id}]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StoreError(
            what=f"There is no recorded plate '{name}'.",
            where="ELISA plates.",
            remedy="Name it as the plate map does, or by the run_id of the timepoint table.",
        )
    raise StoreError(
        what=f"There are {len(found)} recorded plates '{name}'.",
        where=f"Runs {', '.join(run.run_id for run in found)}.",
        remedy="Name one of them by its run_id.",
    )


def runs_named(reading: Reading, name: str) -> tuple[str, ...]:
    """Return the run_ids of the recorded runs of a name, or the one run that has it as its run_id.

    Raises
    ------
    StoreError
        There is none.
    """
    found = tuple(run.run_id for run in current_runs(reading) if name in {run.name, run.run_id})
    if not found:
        raise StoreError(
            what=f"There is no recorded run '{name}'.",
            where="Plates, acquisitions and slides.",
            remedy="Name it by its plate_id, its accession, or the run_id of the timepoint table.",
        )
    return found


def stale_runs(reading: Reading, folder: LabFolder, definition: StudyDefinition) -> tuple[StaleRun, ...]:
    """Find the plates whose layout, analyte, kit lot or masks have changed since their results were made."""
    today = _Today(folder, definition, current_lots(reading), masks_by_run(reading))
    return tuple(
        StaleRun(run_id=run.run_id, name=run.name, assay=run.assay.value, why=" ".join(changes))
        for run in current_runs(reading, assay=Assay.ELISA)
        if (changes := list(today.changes(run)))
    )


class _Today:
    """What plates' results would depend on if they were made now."""

    def __init__(
        self,
        folder: LabFolder,
        definition: StudyDefinition,
        lots: Sequence[KitLot],
        masks: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._folder = folder
        self._definition = definition
        self._lots = lots
        self._masks = masks
        self._layouts: dict[str, Input | None] = {}

    def changes(self, run: RecordedRun) -> Iterator[str]:
        for given in run.inputs:
            if given.kind in _WORDS and self._now(given) != given:
                yield _WORDS[given.kind].format(name=given.name)
        of_masks = tuple(given for given in run.inputs if given.kind == MASKS)
        if of_masks != mask_inputs(of_masks[0].name if of_masks else run.name, self._masks.get(run.run_id, {})):
            yield "The masks of its wells have changed."

    def _now(self, given: Input) -> Input | None:
        if given.kind == LAYOUT:
            return self._layout(given.name)
        if given.kind == ANALYTE:
            analyte = self._definition.analyte(given.name)
            return None if analyte is None else analyte_input(analyte)
        analyte_code, _, kit_lot = given.name.partition(" ")
        return lot_input(analyte_code, kit_lot, self._lots)

    def _layout(self, name: str) -> Input | None:
        if name not in self._layouts:
            try:
                self._layouts[name] = layout_input(read_layout(self._folder.layouts / f"{name}.csv"))
            except BiomarkersError:
                self._layouts[name] = None  # it can no longer be read; `check` says why
        return self._layouts[name]


_WORDS = {
    LAYOUT: "The layout '{name}' has changed.",
    ANALYTE: "What study.toml declares of '{name}' has changed.",
    KIT_LOT: "What is known of the kit lot '{name}' has changed.",
}
