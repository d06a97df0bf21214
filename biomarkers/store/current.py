"""Which analyses are current: those that no other supersedes.

Knows the two questions every query over results asks. Must not know what a result says.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Subquery, exists, func, select

from biomarkers.store.schema import analysis, derived_from, result, supersession


def is_current() -> ColumnElement[bool]:
    """Select analyses that no other supersedes."""
    return ~exists().where(supersession.c.old_analysis_id == analysis.c.analysis_id)


def is_measured() -> ColumnElement[bool]:
    """Select analyses of what an instrument measured, not those derived from other results."""
    return analysis.c.step == ""


def is_in_force() -> ColumnElement[bool]:
    """Select results whose place no current derived result has taken."""
    taken = (
        exists()
        .where(derived_from.c.source_result_id == result.c.result_id)
        .where(derived_from.c.replaces == 1)
        .where(~exists().where(supersession.c.old_analysis_id == derived_from.c.analysis_id))
    )
    return ~taken


def first_numbers() -> Subquery:
    """Give every run a number by when it was first recorded; an analysis that supersedes another keeps its run's place."""
    return select(analysis.c.run_id, func.min(analysis.c.id).label("first")).group_by(analysis.c.run_id).subquery()


def replaced_numbers() -> Subquery:
    """Give derived results that take another's place the number of its run: they stand where it stood."""
    firsts = first_numbers()
    source = result.alias("source")
    return (
        select(
            derived_from.c.analysis_id,
            source.c.accession_id,
            source.c.measurand,
            func.min(firsts.c.first).label("first"),
        )
        .join(
            source,
            (source.c.analysis_id == derived_from.c.source_analysis_id)
            & (source.c.result_id == derived_from.c.source_result_id),
        )
        .join(firsts, firsts.c.run_id == source.c.run_id)
        .where(derived_from.c.replaces == 1)
        .group_by(derived_from.c.analysis_id, source.c.accession_id, source.c.measurand)
        .subquery()
    )
