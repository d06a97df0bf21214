"""Results in the shape of SDTM: LB for soluble markers, CP for lymphocytes, MI for tissue.

Knows which variable holds what. Must not know an arm, nor how a data set is written. A result that is only a bound stands as
``<x`` in the results' texts, and its number is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from biomarkers.cytometry.panel import Panel
from biomarkers.reports.shaped import Dataset, Kind, Value, Variable, dataset, short_codes
from biomarkers.results import Assay
from biomarkers.study.definition import BASELINE_VISIT, StudyDefinition
from biomarkers.study.roster import Roster, Specimen
from biomarkers.timepoints.alignment import Status, TimepointRow

_METHODS = {Assay.ELISA: "ENZYME IMMUNOASSAY", Assay.CYTOMETRY: "FLOW CYTOMETRY", Assay.IHC: "IMMUNOHISTOCHEMISTRY"}

DETAILS_BY_SCORE = {
    "PCT_POSITIVE": "PERCENT POSITIVE CELL",
    "HSCORE": "H SCORE TOTAL SCORE",
    "DENSITY_TISSUE": "POSITIVE CELL DENSITY IN TISSUE",
    "DENSITY_TUMOUR": "POSITIVE CELL DENSITY IN TUMOR",
    "TPS": "TUMOR PROPORTION SCORE",
    "CPS": "COMBINED POSITIVE SCORE",
}
"""MITSTDTL of each score; the densities have no term in the standard's terminology that was known here."""

_DIGITS = 12
"""Significant digits of a result's text; more would be noise of binary arithmetic."""


def shown_result(row: TimepointRow) -> str:
    """Return a result as text, a bound with its comparator."""
    return "" if row.value is None else f"{row.comparator or ''}{row.value:.{_DIGITS}g}"


def source_digests(row: TimepointRow) -> dict[str, Value]:
    """Return the digests of the files behind a row, the instrument's in a variable of its own."""
    first, _, others = (row.source_sha256 or "").partition(";")
    return {"SRCSHA": first or None, "SRCSHAX": others or None}


SOURCE_VARIABLES = (
    Variable(name="SRCID", label="Result Identifier of the Source", kind="text", origin="result_id of the timepoint table"),
    Variable(name="SRCSHA", label="SHA-256 of the Instrument File", kind="text", origin="source_sha256, the first digest"),
    Variable(name="SRCSHAX", label="SHA-256 of the Other Files", kind="text", origin="source_sha256, the others"),
    Variable(name="FINDINGS", label="Codes of Findings", kind="text", origin="findings of the timepoint table"),
)


def unique_subject(row_study: str, subject_id: str) -> str:
    """Return the unique subject identifier."""
    return f"{row_study}-{subject_id}".upper()


def marker_strings(definition: StudyDefinition, panels: Mapping[str, Panel]) -> dict[str, str]:
    """Return the markers that define each frequency's population, such as ``CD3+CD4+``, by measurand code.

    Parameters
    ----------
    panels
        By name; a panel that is not given leaves its measurands out.
    """
    found: dict[str, str] = {}
    for reference in definition.panels:
        panel = panels.get(reference.name)
        if panel is None:
            continue
        signs = _signs_by_population(panel)
        for measurand in reference.measurands:
            if signs.get(measurand.population):
                found[measurand.code] = "".join(signs[measurand.population])
    return found


def _signs_by_population(panel: Panel) -> dict[str, list[str]]:
    """Collect the signs of the fluorescent markers along each population's line of descent, parents first."""
    scatter = {marker.name for marker in panel.markers if marker.kind == "scatter"}
    signs: dict[str, list[str]] = {}
    # Parents stand before their children in a panel.
    for population in panel.populations:
        here = list(signs.get(population.parent, []))
        for gate in population.gates:
            if getattr(gate, "where_present", False):
                continue  # not every tube has the marker, and the string must hold for all
            marker, sign = getattr(gate, "marker", None), getattr(gate, "sign", None)
            if isinstance(marker, str) and sign in {"+", "-"} and marker not in scatter and marker != "Viability":
                here = [one for one in here if one[:-1] != marker] + [f"{marker}{sign}"]
        signs[population.name] = here
    return signs


def sdtm_datasets(
    definition: StudyDefinition,
    rows: Iterable[TimepointRow],
    roster: Roster,
    *,
    panels: Mapping[str, Panel] | None = None,
) -> tuple[Dataset, ...]:
    """Lay the results out like SDTM's LB, CP and MI.

    Parameters
    ----------
    rows
        The timepoint table; rows without a result are left out, and what is not evaluable is NOT DONE with its findings.
    panels
        For the markers of lymphocytes; without them CPSBMRKS is empty.

    Returns
    -------
    tuple of Dataset
        LB, CP and MI, in this order, each with its rows by subject, visit and test.
    """
    by_assay: dict[str, list[TimepointRow]] = {assay.value: [] for assay in Assay}
    for row in rows:
        if row.result_id is not None:
            by_assay[row.assay].append(row)
    markers = marker_strings(definition, panels or {})
    codes = {
        assay: short_codes(measurand.code for measurand in definition.measurands if measurand.assay is assay) for assay in Assay
    }
    return (
        dataset(
            "LB",
            "Laboratory Test Results",
            "One row per test, visit and subject.",
            [*_variables("LB"), *_lb_variables(), *SOURCE_VARIABLES],
            _numbered("LB", [_lb_row(definition, roster, row, codes[Assay.ELISA]) for row in by_assay[Assay.ELISA]]),
        ),
        dataset(
            "CP",
            "Cell Phenotype Findings",
            "One row per test, visit and subject.",
            [*_variables("CP"), *_cp_variables(), *SOURCE_VARIABLES],
            _numbered(
                "CP", [_cp_row(definition, roster, row, codes[Assay.CYTOMETRY], markers) for row in by_assay[Assay.CYTOMETRY]]
            ),
        ),
        dataset(
            "MI",
            "Microscopic Findings",
            "One row per test, test detail, visit and subject.",
            [*_variables("MI"), *_mi_variables(), *SOURCE_VARIABLES],
            _numbered("MI", [_mi_row(definition, roster, row) for row in by_assay[Assay.IHC]]),
        ),
    )


def _variables(domain: str) -> list[Variable]:
    """Return the variables all three domains have."""
    named: Sequence[tuple[str, str, Kind, str, int | None]] = (
        ("STUDYID", "Study Identifier", "text", "study.toml", 1),
        ("DOMAIN", "Domain Abbreviation", "text", "Assigned", None),
        ("USUBJID", "Unique Subject Identifier", "text", "Study and subject_id", 2),
        (f"{domain}SEQ", "Sequence Number", "integer", "Counted within the subject", 3),
        (f"{domain}REFID", "Specimen Identifier", "text", "accession_id", None),
        (f"{domain}TESTCD", "Short Name of Test", "text", "measurand, shortened", None),
        (f"{domain}TEST", "Name of Test", "text", "study.toml", None),
        (f"{domain}CAT", "Category", "text", "Assigned", None),
        (f"{domain}ORRES", "Result in Original Units", "text", "comparator and value", None),
        (f"{domain}ORRESU", "Original Units", "text", "unit", None),
        (f"{domain}STRESC", "Result in Standard Format", "text", "comparator and value", None),
        (f"{domain}STRESN", "Numeric Result in Standard Units", "number", "value; empty for a bound", None),
        (f"{domain}STRESU", "Standard Units", "text", "unit", None),
        (f"{domain}STAT", "Completion Status", "text", "status not_evaluable is NOT DONE", None),
        (f"{domain}REASND", "Reason Not Done", "text", "findings", None),
        (f"{domain}SPEC", "Specimen Type", "text", "material in specimens.csv", None),
        (f"{domain}METHOD", "Method of Test", "text", "Assigned by assay", None),
        (f"{domain}LOBXFL", "Last Observation Before Exposure Flag", "text", "Y at the baseline with a result", None),
        ("VISITNUM", "Visit Number", "number", "Number of the visit as requisitioned", None),
        ("VISIT", "Visit Name", "text", "nominal_visit in specimens.csv", None),
        (f"{domain}DTC", "Date/Time of Specimen Collection", "text", "collected_at in specimens.csv", None),
        (f"{domain}DY", "Study Day of Collection", "integer", "study_day; there is no day 0", None),
    )
    return [Variable(name=name, label=label, kind=kind, origin=origin, key=key) for name, label, kind, origin, key in named]


def _lb_variables() -> list[Variable]:
    return [
        Variable(name="LBLLOQ", label="Lower Limit of Quantitation", kind="number", origin="limits.lloq in study.toml"),
        Variable(name="LBULOQ", label="Upper Limit of Quantitation", kind="number", origin="limits.uloq in study.toml"),
    ]


def _cp_variables() -> list[Variable]:
    return [
        Variable(name="CPSBMRKS", label="Sublineage Marker String", kind="text", origin="Gates of the panel"),
        Variable(name="CPDENOM", label="Denominator of the Frequency", kind="text", origin="denominator"),
        Variable(name="CPNEVENT", label="Events Behind the Result", kind="integer", origin="n_replicates"),
    ]


def _mi_variables() -> list[Variable]:
    return [Variable(name="MITSTDTL", label="Examination Detail", kind="text", origin="Score of the stain in study.toml")]


def _lb_row(definition: StudyDefinition, roster: Roster, row: TimepointRow, codes: Mapping[str, str]) -> dict[str, Value]:
    analyte = definition.analyte(row.measurand)
    name = row.measurand if analyte is None else analyte.name
    shared = _shared("LB", row, roster, code=codes.get(row.measurand, row.measurand[:8]), name=name, category="BIOMARKER")
    limits = None if analyte is None else analyte.limits
    return {
        **shared,
        "LBLLOQ": None if limits is None else limits.lloq,
        "LBULOQ": None if limits is None else limits.uloq,
    }


def _cp_row(
    definition: StudyDefinition, roster: Roster, row: TimepointRow, codes: Mapping[str, str], markers: Mapping[str, str]
) -> dict[str, Value]:
    declared = {one.code: one for panel in definition.panels for one in panel.measurands}.get(row.measurand)
    # A population told by its markers is named as a subset ("Sub"), as the standard asks where CPSBMRKS is filled.
    name = row.measurand if declared is None else f"{declared.population} Sub/{declared.denominator}"
    code = codes.get(row.measurand, row.measurand[:8])
    return {
        **_shared("CP", row, roster, code=code, name=name, category="IMMUNOPHENOTYPING"),
        "CPSBMRKS": markers.get(row.measurand),
        "CPDENOM": row.denominator or None,
        "CPNEVENT": row.n_replicates,
    }


def _mi_row(definition: StudyDefinition, roster: Roster, row: TimepointRow) -> dict[str, Value]:
    stain = max((one.code for one in definition.stains if row.measurand.startswith(f"{one.code}_")), key=len, default="")
    score = row.measurand.removeprefix(f"{stain}_")
    code = short_codes([stain or row.measurand])[stain or row.measurand]
    return {
        **_shared("MI", row, roster, code=code, name=stain or row.measurand, category="IMMUNOHISTOCHEMISTRY"),
        "MITSTDTL": DETAILS_BY_SCORE.get(score, score.replace("_", " ")),
    }


def _shared(domain: str, row: TimepointRow, roster: Roster, *, code: str, name: str, category: str) -> dict[str, Value]:
    specimen = roster.specimens.get(row.accession_id or "")
    subject = roster.subjects.get(row.subject_id)
    is_done = row.status != Status.NOT_EVALUABLE
    is_last = row.visit == BASELINE_VISIT and row.value is not None
    is_exposed = subject is not None and subject.treatment_start is not None
    return {
        "STUDYID": row.study_id.upper(),
        "DOMAIN": domain,
        "USUBJID": unique_subject(row.study_id, row.subject_id),
        f"{domain}REFID": row.accession_id,
        f"{domain}TESTCD": code,
        f"{domain}TEST": name[:40],
        f"{domain}CAT": category,
        f"{domain}ORRES": shown_result(row) or None,
        f"{domain}ORRESU": row.unit if is_done else None,
        f"{domain}STRESC": shown_result(row) or None,
        f"{domain}STRESN": None if row.comparator else row.value,
        f"{domain}STRESU": row.unit if is_done else None,
        f"{domain}STAT": None if is_done else "NOT DONE",
        f"{domain}REASND": None if is_done else row.findings or "NOT EVALUABLE",
        f"{domain}SPEC": None if specimen is None else specimen.material.value,
        f"{domain}METHOD": _METHODS[Assay(row.assay)],
        f"{domain}LOBXFL": "Y" if is_last and is_exposed else None,
        "VISITNUM": row.visit_number,
        "VISIT": _requisitioned(row, specimen),
        f"{domain}DTC": None if specimen is None else str(specimen.collected_at),
        f"{domain}DY": row.study_day,
        "SRCID": row.result_id,
        "FINDINGS": row.findings or None,
        **source_digests(row),
    }


def _requisitioned(row: TimepointRow, specimen: Specimen | None) -> str:
    """Return the visit as requisitioned; where no label was given, the visit its window assigned."""
    return row.visit if specimen is None else specimen.nominal_visit or row.visit


def _numbered(domain: str, rows: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    """Count the rows of each subject."""
    counts: dict[Value, int] = {}
    numbered = []
    for row in rows:
        counts[row["USUBJID"]] = counts.get(row["USUBJID"], 0) + 1
        numbered.append({**row, f"{domain}SEQ": counts[row["USUBJID"]]})
    return numbered
