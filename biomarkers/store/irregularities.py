"""What is looked through for swapped specimens and accessions measured twice, read as narrowly as the question is.

Knows how to find candidates without reading the whole set. Must not know what makes one irregular.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import starmap
from typing import Any, NamedTuple

from sqlalchemy import Select, exists, func, select

from biomarkers.results import Assay
from biomarkers.store.current import is_current, is_in_force, is_measured
from biomarkers.store.database import Reading
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.schema import analysis, disposition, result, timepoint_row
from biomarkers.store.timepoint_rows import ALL_COLLECTED
from biomarkers.timepoints.irregularities import RunValue
from biomarkers.timepoints.swaps import PlannedValue

_ALL_COLLECTED = ALL_COLLECTED.isoformat()

ROWS_AT_ONCE = 1_000
"""Rows held while a cursor is read through."""


class MeasuringRun(NamedTuple):
    """A measured run that has results of a specimen in force."""

    accession_id: str
    assay: Assay
    run_id: str
    analysis_id: str


def planned_values(reading: Reading) -> Iterator[PlannedValue]:
    """Give the numbers of the timepoint table at planned visits, as of a day on which everything has been collected."""
    query = select(*(timepoint_row.c[name] for name in PlannedValue._fields)).where(
        timepoint_row.c.value.is_not(None),
        timepoint_row.c.visit_number.is_not(None),
        timepoint_row.c.accession_id.is_not(None),
        timepoint_row.c.shown_from <= _ALL_COLLECTED,
        timepoint_row.c.shown_until > _ALL_COLLECTED,
    )
    yield from starmap(PlannedValue, reading.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}))


def undecided_repeats(reading: Reading) -> tuple[RunValue, ...]:
    """Return what runs say of specimens of which several have a result in force and nobody has decided which counts.

    Of each specimen its first such measurand is given, with all runs.
    """
    repeated = (
        _undecided(select(result.c.accession_id, result.c.measurand))
        .group_by(result.c.accession_id, result.c.measurand)
        .having(func.count(result.c.run_id.distinct()) > 1)
    )
    first: dict[str, str] = {}
    for accession_id, measurand in reading.connection.execute(repeated):
        first[accession_id] = min(measurand, first.get(accession_id, measurand))
    columns = result.c.accession_id, result.c.measurand, result.c.run_id, result.c.value, result.c.comparator, result.c.unit
    query = _undecided(select(*columns)).where(is_one_of(result.c.accession_id, first))
    found = starmap(RunValue, reading.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}))
    return tuple(one for one in found if one.measurand == first[one.accession_id])


def measuring_runs(reading: Reading, *, accession_ids: Collection[str]) -> tuple[MeasuringRun, ...]:
    """Return the measured runs of some specimens; what was derived follows from them."""
    columns = result.c.accession_id, analysis.c.assay, analysis.c.run_id, analysis.c.analysis_id
    query = (
        select(*columns)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .where(is_current(), is_measured(), is_in_force(), is_one_of(result.c.accession_id, accession_ids))
        .distinct()
    )
    return tuple(
        MeasuringRun(accession_id, Assay(assay), run_id, analysis_id)
        for accession_id, assay, run_id, analysis_id in reading.connection.execute(query)
    )


def _undecided(query: Select[Any]) -> Select[Any]:
    """Restrict a query over results to current ones in force that nobody has decided about."""
    decided = exists().where(disposition.c.result_id == result.c.result_id)
    return query.join(analysis, analysis.c.analysis_id == result.c.analysis_id).where(is_current(), is_in_force(), ~decided)
