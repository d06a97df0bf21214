"""What an assay is to measure next, and plate maps ready to fill.

Knows which layouts a laboratory has, and at which dilution a result was measured. Must not write a file, nor know an arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from biomarkers.elisa.plate import PlateLayout, WellRole
from biomarkers.elisa.records import PlateAnalysis
from biomarkers.errors import LabFolderError
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import utc_now
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.results import Assay
from biomarkers.store.results import current_runs, read_analysis
from biomarkers.timepoints.rows import Status, TimepointRow
from biomarkers.timepoints.worklist import PlannedPlate, WorkItem, plan_plates, work_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist:
    """What an assay is to measure, by subject, visit and specimen; plates are planned for immunoassays alone.

    Attributes
    ----------
    without_layout
        Analytes that are to be measured and that none of the laboratory's layouts serves.
    """

    assay: Assay
    as_of: date
    items: tuple[WorkItem, ...]
    plates: tuple[PlannedPlate, ...]
    without_layout: tuple[str, ...]

    @property
    def tubes(self) -> tuple[WorkItem, ...]:
        """The same as a technician handles it: outside of immunoassays one item a specimen, its measurands together."""
        if self.assay is Assay.ELISA:
            return self.items
        by_specimen: dict[tuple[str, str], list[WorkItem]] = {}
        for item in self.items:
            by_specimen.setdefault((item.accession_id, item.reason), []).append(item)
        return tuple(
            replace(
                items[0],
                measurand=", ".join(item.measurand for item in items),
                why="; ".join(dict.fromkeys(item.why for item in items)),
            )
            for items in by_specimen.values()
        )


def worklist(laboratory: Laboratory, assay: Assay, *, layout: str = "", as_of: date | None = None) -> Worklist:
    """List what an assay is to measure next, and put it onto plates.

    Parameters
    ----------
    layout
        Name of the layout; left out, the one that serves an analyte.

    Raises
    ------
    LabFolderError
        The layout is not there, or several serve an analyte and none was named.
    StudyDefinitionError
        A layout cannot be read.
    """
    day = as_of or utc_now().date()
    known = laboratory.standing()
    rows = laboratory.rows(as_of=day)
    measured_directly = {one.code for one in laboratory.definition.analytes}
    items = tuple(
        item
        for item in work_items(
            assay, rows, known.roster, known.results, dilution_by_result=_dilutions(laboratory, rows, assay=assay)
        )
        # A ratio follows from its parts; nobody pipettes it.
        if assay is not Assay.ELISA or item.measurand in measured_directly
    )
    plates: list[PlannedPlate] = []
    without = []
    if assay is Assay.ELISA:
        layouts = _layouts(laboratory.folder, layout)
        for analyte in dict.fromkeys(item.measurand for item in items):
            chosen = _serving(layouts, analyte, named=bool(layout))
            if chosen is None:
                without.append(analyte)
            else:
                # The day in the plates' names keeps two worklists from planning two plates of one name.
                plates += plan_plates(items, chosen, analyte=analyte, plate_prefix=f"W{day:%Y%m%d}")
    return Worklist(assay=assay, as_of=day, items=items, plates=tuple(plates), without_layout=tuple(without))


def _layouts(folder: LabFolder, named: str) -> tuple[PlateLayout, ...]:
    if not named:
        return tuple(read_layout(path) for path in sorted(folder.layouts.glob("*.csv")))
    path = folder.layouts / f"{named}.csv"
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in folder.layouts.glob("*.csv")))
        raise LabFolderError(
            what=f"There is no layout '{named}'.", where=f"Folder '{folder.layouts}'.", remedy=f"Name one of: {there}."
        )
    return (read_layout(path),)


def _serving(layouts: Iterable[PlateLayout], analyte: str, *, named: bool) -> PlateLayout | None:
    """Return the one layout with slots for an analyte; None where there is none, or another one was named.

    A layout with spikes or dilution series is for validation, and taken only where no other serves or it is named.
    """
    found = [one for one in layouts if one.slots(WellRole.SAMPLE, analyte)]
    if len(found) > 1 and not named:
        found = [one for one in found if one.is_routine] or found
    if len(found) > 1 and not named:
        raise LabFolderError(
            what=f"{len(found)} layouts serve '{analyte}': {', '.join(one.name for one in found)}.",
            where="Plate layouts of the laboratory.",
            remedy="Name one with --layout.",
        )
    return found[0] if found else None


def _dilutions(laboratory: Laboratory, rows: Iterable[TimepointRow], *, assay: Assay) -> Mapping[str, float]:
    """Return the dilution at which results above the range were measured, by result, from the wells of their plates."""
    above = [row for row in rows if row.status == Status.ABOVE_RANGE and row.assay == assay.value]
    if assay is not Assay.ELISA or not above:
        return {}
    wanted = {row.run_id for row in above}
    with laboratory.database.read() as reading:
        analyses = {
            run.run_id: read_analysis(reading, analysis_id=run.analysis_id)
            for run in current_runs(reading, assay=assay)
            if run.run_id in wanted
        }
    found: dict[str, float] = {}
    for row in above:
        analysis = analyses.get(row.run_id or "")
        if isinstance(analysis, PlateAnalysis):
            factors = [
                well.dilution_factor
                for well in analysis.wells
                if well.accession_id == row.accession_id and well.analyte == row.measurand
            ]
            if factors:
                found[row.result_id or ""] = max(factors)
    return found
