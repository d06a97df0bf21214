"""Results in the shape of ADaM: ADSL, ADLB for soluble markers, ADBM for lymphocytes and tissue.

Knows how the timepoint table's columns become analysis variables. Planned treatment comes from the allocation and is there only
for who was given it; actual treatment is not known here and has no variable. A result that is only a bound has no AVAL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from biomarkers.reports.cdisc import SOURCE_VARIABLES, shown_result, source_digests, unique_subject
from biomarkers.reports.shaped import Dataset, Kind, Value, Variable, dataset, short_codes
from biomarkers.results import Assay
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import BASELINE_VISIT, StudyDefinition
from biomarkers.study.roster import Moment, Roster, Subject
from biomarkers.study.schedule import study_day
from biomarkers.timepoints.alignment import TimepointRow

_PLANNED = Variable(name="TRTP", label="Planned Treatment", kind="text", origin="Allocation")


def adam_datasets(
    definition: StudyDefinition,
    rows: Iterable[TimepointRow],
    roster: Roster,
    assignments: ArmAssignments | None = None,
) -> tuple[Dataset, ...]:
    """Lay the study out like ADaM's subject-level set and two sets of the basic data structure.

    Parameters
    ----------
    rows
        The timepoint table; rows without a value are left out.
    assignments
        Gives TRT01P and TRTP. Without them the variables do not exist.

    Returns
    -------
    tuple of Dataset
        ADSL, ADLB and ADBM, in this order. Subjects who withdrew their consent are in ADSL, their results nowhere.
    """
    listed = [row for row in rows if row.result_id is not None]
    arms = _arm_labels(definition, assignments)
    sequences = _sequences(listed)
    codes = short_codes(measurand.code for measurand in definition.measurands)
    return (
        _adsl(definition, roster, arms),
        *(
            dataset(
                name,
                label,
                "One row per subject, parameter and analysis visit.",
                _bds_variables(with_arms=arms is not None),
                [
                    {**_bds_row(row, roster, codes, arms), "SRCSEQ": sequences[id(row)]}
                    for row in listed
                    if row.value is not None and Assay(row.assay) in assays
                ],
            )
            for name, label, assays in (
                ("ADLB", "Soluble Biomarkers Analysis Data", {Assay.ELISA}),
                ("ADBM", "Cell and Tissue Biomarkers Analysis Data", {Assay.CYTOMETRY, Assay.IHC}),
            )
        ),
    )


def _arm_labels(definition: StudyDefinition, assignments: ArmAssignments | None) -> Mapping[str, str] | None:
    if assignments is None:
        return None
    labels = {arm.code: arm.label for arm in definition.arms}
    return {subject_id: labels.get(code, code) for subject_id, code in assignments.arm_by_subject.items()}


def _sequences(rows: Iterable[TimepointRow]) -> dict[int, int]:
    """Count the rows of each subject and assay, in the order of the SDTM-shaped domains."""
    counts: dict[tuple[str, str], int] = {}
    found = {}
    for row in rows:
        key = row.subject_id, row.assay
        counts[key] = counts.get(key, 0) + 1
        found[id(row)] = counts[key]
    return found


def _adsl(definition: StudyDefinition, roster: Roster, arms: Mapping[str, str] | None) -> Dataset:
    named: tuple[tuple[str, str, Kind, str], ...] = (
        ("STUDYID", "Study Identifier", "text", "study.toml"),
        ("USUBJID", "Unique Subject Identifier", "text", "Study and subject_id"),
        ("SUBJID", "Subject Identifier for the Study", "text", "roster.csv"),
        ("SITEID", "Study Site Identifier", "text", "roster.csv"),
        *((("TRT01P", "Planned Treatment for Period 01", "text", "Allocation"),) if arms is not None else ()),
        ("RANDDT", "Date of Randomization", "date", "randomised_on in roster.csv"),
        ("TRTSDT", "Date of First Exposure to Treatment", "date", "treatment_start in roster.csv"),
        ("TRTEDT", "Date of Last Exposure to Treatment", "date", "treatment_end in roster.csv"),
        ("PROGDT", "Date of Progression", "date", "progression_date in roster.csv"),
        ("EOSDT", "End of Study Date", "date", "off_study_date in roster.csv"),
        ("DCSREAS", "Reason for Discontinuation from Study", "text", "off_study_reason in roster.csv"),
        ("DTHDT", "Date of Death", "date", "death_date in roster.csv"),
        ("RANDFL", "Randomized Population Flag", "text", "Y with a date of randomisation, else N"),
    )
    variables = [
        Variable(name=name, label=label, kind=kind, origin=origin, key={"STUDYID": 1, "USUBJID": 2}.get(name))
        for name, label, kind, origin in named
    ]
    subjects = (roster.subjects[subject_id] for subject_id in sorted(roster.subjects))
    rows = [_adsl_row(definition.study.id, subject, arms) for subject in subjects]
    return dataset("ADSL", "Subject-Level Analysis Data", "One row per subject.", variables, rows)


def _adsl_row(study_id: str, subject: Subject, arms: Mapping[str, str] | None) -> dict[str, Value]:
    return {
        "STUDYID": study_id.upper(),
        "USUBJID": unique_subject(study_id, subject.subject_id),
        "SUBJID": subject.subject_id,
        "SITEID": subject.site,
        "TRT01P": None if arms is None else arms.get(subject.subject_id),
        "RANDDT": _iso(subject.randomised_on),
        "TRTSDT": None if subject.treatment_start is None else _iso(subject.treatment_start.day),
        "TRTEDT": _iso(subject.treatment_end),
        "PROGDT": _iso(subject.progression_date),
        "EOSDT": _iso(subject.off_study_date),
        "DCSREAS": subject.off_study_reason or None,
        "DTHDT": _iso(subject.death_date),
        "RANDFL": "N" if subject.randomised_on is None else "Y",
    }


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _bds_variables(*, with_arms: bool) -> list[Variable]:
    named: tuple[tuple[str, str, Kind, str], ...] = (
        ("STUDYID", "Study Identifier", "text", "study.toml"),
        ("USUBJID", "Unique Subject Identifier", "text", "Study and subject_id"),
        ("SUBJID", "Subject Identifier for the Study", "text", "roster.csv"),
        ("SITEID", "Study Site Identifier", "text", "roster.csv"),
        *(((_PLANNED.name, _PLANNED.label, _PLANNED.kind, _PLANNED.origin),) if with_arms else ()),
        ("TRTSDT", "Date of First Exposure to Treatment", "date", "treatment_start in roster.csv"),
        ("PARAMCD", "Parameter Code", "text", "measurand, shortened"),
        ("PARAM", "Parameter", "text", "measurand and unit"),
        ("PARCAT1", "Parameter Category 1", "text", "assay"),
        ("AVISIT", "Analysis Visit", "text", "visit"),
        ("AVISITN", "Analysis Visit (N)", "integer", "visit_number"),
        ("ADT", "Analysis Date", "date", "collected_at in specimens.csv"),
        ("ADY", "Analysis Relative Day", "integer", "study_day; there is no day 0"),
        ("AWTARGET", "Analysis Window Target", "integer", "Study day of the target, moved by delayed cycles"),
        ("AWTDIFF", "Analysis Window Diff from Target", "integer", "days_from_target, without its sign"),
        ("AWU", "Analysis Window Unit", "text", "Assigned"),
        ("AVAL", "Analysis Value", "number", "value; empty for a bound"),
        ("AVALC", "Analysis Value (C)", "text", "comparator and value"),
        ("BASE", "Baseline Value", "number", "baseline; empty for a bound"),
        ("CHG", "Change from Baseline", "number", "change: AVAL - BASE"),
        ("PCHG", "Percent Change from Baseline", "number", "percent_change: 100 * CHG / BASE; empty where BASE is 0"),
        ("CHGLO", "Lower Bound of the Possible Change", "number", "change_bound_lower; no confidence limit"),
        ("CHGHI", "Upper Bound of the Possible Change", "number", "change_bound_upper; no confidence limit"),
        ("ABLFL", "Baseline Record Flag", "text", "Y at the baseline"),
        ("ANL01FL", "Analysis Flag 01", "text", "Y at planned visits"),
        ("SRCDOM", "Source Domain", "text", "Domain of the SDTM-shaped data"),
        ("SRCSEQ", "Source Sequence Number", "integer", "--SEQ of the SDTM-shaped data"),
    )
    keys = {"STUDYID": 1, "USUBJID": 2, "PARAMCD": 3, "AVISIT": 4, "ADT": 5}
    return [
        *(
            Variable(name=name, label=label, kind=kind, origin=origin, key=keys.get(name))
            for name, label, kind, origin in named
        ),
        *SOURCE_VARIABLES,
    ]


_DOMAINS = {Assay.ELISA: "LB", Assay.CYTOMETRY: "CP", Assay.IHC: "MI"}


def _bds_row(row: TimepointRow, roster: Roster, codes: Mapping[str, str], arms: Mapping[str, str] | None) -> dict[str, Value]:
    subject, specimen = roster.subjects.get(row.subject_id), roster.specimens.get(row.accession_id or "")
    first_dose = None if subject is None else subject.treatment_start
    is_baseline = row.visit == BASELINE_VISIT
    exact = None if row.comparator else row.value
    collected = None if specimen is None else _collected(row, specimen.collected_at, first_dose)
    return {
        "STUDYID": row.study_id.upper(),
        "USUBJID": unique_subject(row.study_id, row.subject_id),
        "SUBJID": row.subject_id,
        "SITEID": None if subject is None else subject.site,
        "TRTP": None if arms is None else arms.get(row.subject_id),
        "TRTSDT": None if first_dose is None else _iso(first_dose.day),
        "PARAMCD": codes.get(row.measurand, row.measurand[:8]),
        "PARAM": f"{row.measurand} ({row.unit})" if row.unit else row.measurand,
        "PARCAT1": row.assay.upper(),
        "AVISIT": row.visit,
        "AVISITN": row.visit_number,
        "ADT": _iso(collected),
        "ADY": row.study_day,
        "AWTARGET": _target(row, collected, first_dose),
        "AWTDIFF": None if row.days_from_target is None else abs(row.days_from_target),
        "AWU": None if row.days_from_target is None else "DAYS",
        "AVAL": exact,
        "AVALC": shown_result(row),
        "BASE": exact if is_baseline else row.baseline,
        "CHG": row.change,
        "PCHG": row.percent_change,
        "CHGLO": row.change_bound_lower,
        "CHGHI": row.change_bound_upper,
        "ABLFL": "Y" if is_baseline else None,
        "ANL01FL": "Y" if row.visit_number is not None else None,
        "SRCDOM": _DOMAINS[Assay(row.assay)],
        "SRCID": row.result_id,
        "FINDINGS": row.findings or None,
        **source_digests(row),
    }


def _collected(row: TimepointRow, collected_at: Moment, first_dose: Moment | None) -> date:
    """Return the day a row counts for: an aliquot's is its parent's, which the study day tells."""
    if row.study_day is None or first_dose is None:
        return collected_at.day
    return first_dose.day + timedelta(days=row.study_day - 1 if row.study_day > 0 else row.study_day)


def _target(row: TimepointRow, collected: date | None, first_dose: Moment | None) -> int | None:
    if collected is None or first_dose is None or row.days_from_target is None:
        return None
    return study_day(collected - timedelta(days=row.days_from_target), first_dose.day)
