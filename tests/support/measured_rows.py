"""Rows of the timepoint table that say no more than what was measured of whom and when."""

from __future__ import annotations

from biomarkers.timepoints.alignment import TimepointRow


def measured_row(
    subject_id: str,
    *,
    visit: str,
    number: int,
    measurand: str,
    value: float,
    accession_id: str,
    assay: str = "elisa",
    comparator: str = "",
) -> TimepointRow:
    """Make a row of a measured value."""
    return TimepointRow(
        study_id="study",
        subject_id=subject_id,
        visit=visit,
        visit_number=number,
        study_day=None,
        days_from_target=None,
        in_window=None,
        assay=assay,
        measurand=measurand,
        status="measured",
        value=value,
        comparator=comparator,
        unit="",
        lower=None,
        upper=None,
        denominator=None,
        baseline=None,
        change=None,
        percent_change=None,
        change_bound_lower=None,
        change_bound_upper=None,
        n_replicates=None,
        findings="",
        accession_id=accession_id,
        run_id=None,
        baseline_run_id=None,
        result_id=None,
        source_sha256=None,
    )
