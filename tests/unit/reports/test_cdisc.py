"""SDTM- and ADaM-shaped data sets, written as transport files and Dataset-JSON and read back."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import jsonschema
import pandas as pd
import pyreadstat
import pytest

from biomarkers.readers.panels import packaged_panel
from biomarkers.readers.study_files import packaged_study
from biomarkers.reports.adam import adam_datasets
from biomarkers.reports.cdisc import sdtm_datasets
from biomarkers.reports.dataset_json import write_dataset_json
from biomarkers.reports.shaped import Dataset, define_html, define_table, short_codes
from biomarkers.reports.xpt import write_xpt
from biomarkers.results import Assay
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells

CREATED = datetime(2025, 9, 1, 12, 30, tzinfo=UTC)
CANARY = "CANARY-ARM"
ARMS = ArmAssignments(arm_by_subject={"S0001": "A", "S0002": CANARY})

COLUMN = {
    "type": "object",
    "required": ["itemOID", "name", "label", "dataType"],
    "additionalProperties": False,
    "properties": {
        "itemOID": {"type": "string"},
        "name": {"type": "string"},
        "label": {"type": "string"},
        "dataType": {"enum": ["string", "integer", "decimal", "float", "double", "boolean", "datetime", "date", "time", "URI"]},
        "targetDataType": {"enum": ["integer", "decimal"]},
        "length": {"type": "integer", "minimum": 1},
        "displayFormat": {"type": "string"},
        "keySequence": {"type": "integer", "minimum": 1},
    },
}
DATASET_JSON = {
    "type": "object",
    "required": ["datasetJSONCreationDateTime", "datasetJSONVersion", "itemGroupOID", "records", "name", "label", "columns"],
    "additionalProperties": False,
    "properties": {
        "datasetJSONCreationDateTime": {
            "type": "string",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$",
        },
        "datasetJSONVersion": {"type": "string", "pattern": r"^1\.1(\.(0|[1-9]\d*))?$"},
        "fileOID": {"type": "string"},
        "dbLastModifiedDateTime": {"type": "string"},
        "originator": {"type": "string"},
        "sourceSystem": {
            "type": "object",
            "required": ["name", "version"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "version": {"type": "string"}},
        },
        "studyOID": {"type": "string"},
        "metaDataVersionOID": {"type": "string"},
        "metaDataRef": {"type": "string"},
        "itemGroupOID": {"type": "string"},
        "records": {"type": "integer", "minimum": 0},
        "name": {"type": "string"},
        "label": {"type": "string"},
        "columns": {"type": "array", "items": COLUMN},
        "rows": {"type": "array", "items": {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}}},
    },
}
"""What the specification of Dataset-JSON 1.1 says of a data set's attributes and types, in our own words."""


def tube(number: int, subject: str, day: date, label: str, material: Material) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id=subject,
        material=material,
        collected_at=Moment(day=day, time=time(8)),
        nominal_visit=label,
    )


def measured(number: int, assay: Assay, measurand: str, value: float | None, comparator: str = "") -> AlignedInput:
    return AlignedInput(
        accession_id=f"ATR-{number:06d}",
        assay=assay,
        measurand=measurand,
        value=value,
        comparator="<" if comparator == "<" else ">" if comparator == ">" else "",
        unit={"IL6": "pg/mL", "CD8_PCT_T": "%", "CD8_HSCORE": "H-score"}[measurand],
        lower=None,
        upper=None,
        denominator="T" if assay is Assay.CYTOMETRY else "",
        n_replicates=2,
        evaluable=value is not None,
        finding_codes="" if value is not None else "REPLICATE_CV",
        run_id=f"run-{number}",
        result_id=f"r-{number}-{measurand}",
        source_sha256s=f"{number:064x};{0:064x}",
        order=number,
    )


ROSTER = Roster(
    subjects={
        "S0001": Subject(
            subject_id="S0001",
            site="LONDON",
            treatment_start=Moment(day=date(2025, 3, 10), time=time(10)),
            randomised_on=date(2025, 3, 3),
            progression_date=date(2025, 5, 1),
        ),
        "S0002": Subject(subject_id="S0002", site="LEIDEN", treatment_start=Moment(day=date(2025, 3, 10), time=time(10))),
        "S0003": Subject(subject_id="S0003", site="LEIDEN", consent_withdrawn_on=date(2025, 4, 1)),
    },
    specimens={
        one.accession_id: one
        for one in (
            tube(1, "S0001", date(2025, 3, 9), "BASELINE", Material.PLASMA),
            tube(2, "S0001", date(2025, 4, 1), "C2D1", Material.PLASMA),
            tube(3, "S0001", date(2025, 5, 3), "", Material.PLASMA),
            tube(4, "S0001", date(2025, 3, 9), "BASELINE", Material.PBMC),
            tube(5, "S0001", date(2025, 3, 9), "BASELINE", Material.FFPE_SECTION),
            tube(6, "S0002", date(2025, 3, 9), "BASELINE", Material.PLASMA),
            tube(7, "S0002", date(2025, 3, 31), "C2D1", Material.PLASMA),
            tube(8, "S0003", date(2025, 3, 9), "BASELINE", Material.PLASMA),
        )
    },
)
RESULTS = (
    measured(1, Assay.ELISA, "IL6", 20.0),
    measured(2, Assay.ELISA, "IL6", 3.1, "<"),
    measured(3, Assay.ELISA, "IL6", 30.0),
    measured(4, Assay.CYTOMETRY, "CD8_PCT_T", 31.5),
    measured(5, Assay.IHC, "CD8_HSCORE", 120.0),
    measured(6, Assay.ELISA, "IL6", 10.0),
    measured(7, Assay.ELISA, "IL6", None),
    measured(8, Assay.ELISA, "IL6", 99.0),
)


@pytest.fixture(scope="module")
def rows() -> tuple[TimepointRow, ...]:
    definition = packaged_study()
    alignments, due = align_specimens(definition, ROSTER), due_cells(definition, ROSTER)
    return timepoint_rows(definition.study.id, alignments, due, RESULTS, as_of=date(2025, 9, 1))


@pytest.fixture(scope="module")
def sdtm(rows: tuple[TimepointRow, ...]) -> dict[str, Dataset]:
    panels = {"pbmc-lineage": packaged_panel("pbmc-lineage")}
    return {one.name: one for one in sdtm_datasets(packaged_study(), rows, ROSTER, panels=panels)}


@pytest.fixture(scope="module")
def adam(rows: tuple[TimepointRow, ...]) -> dict[str, Dataset]:
    return {one.name: one for one in adam_datasets(packaged_study(), rows, ROSTER, ARMS)}


def test_a_bound_stands_in_the_texts_and_its_number_is_empty(sdtm: dict[str, Dataset]) -> None:
    lb = sdtm["LB"].frame()
    columns = ["LBORRES", "LBSTRESC", "LBSTRESN", "LBORRESU", "LBLOBXFL", "LBSTAT", "LBREASND", "VISIT", "LBDTC", "LBDY"]
    assert lb[columns].astype(object).where(lb[columns].notna(), None).to_numpy().tolist() == [
        ["20", "20", 20.0, "pg/mL", "Y", None, None, "BASELINE", "2025-03-09T08:00:00", -1],
        ["<3.1", "<3.1", None, "pg/mL", None, None, None, "C2D1", "2025-04-01T08:00:00", 23],
        ["30", "30", 30.0, "pg/mL", None, None, None, "PROGRESSION", "2025-05-03T08:00:00", 55],
        ["10", "10", 10.0, "pg/mL", "Y", None, None, "BASELINE", "2025-03-09T08:00:00", -1],
        [None, None, None, None, None, "NOT DONE", "REPLICATE_CV", "C2D1", "2025-03-31T08:00:00", 22],
    ]
    assert lb["LBSEQ"].tolist() == [1, 2, 3, 1, 2]
    assert lb["LBSPEC"].unique().tolist() == ["PLASMA"]


def test_lymphocytes_are_named_by_their_markers_and_tissue_by_its_score(sdtm: dict[str, Dataset]) -> None:
    (cells,) = sdtm["CP"].frame().to_dict(orient="records")
    assert (cells["CPTESTCD"], cells["CPTEST"], cells["CPSTRESN"]) == ("CD8PCTT", "CD8 Sub/T", 31.5)
    assert cells["CPSBMRKS"].startswith("CD3+")
    assert "CD8+" in cells["CPSBMRKS"]
    assert cells["CPMETHOD"] == "FLOW CYTOMETRY"
    (tissue,) = sdtm["MI"].frame().to_dict(orient="records")
    assert (tissue["MITESTCD"], tissue["MITSTDTL"], tissue["MISTRESN"]) == ("CD8", "H SCORE TOTAL SCORE", 120.0)


def test_every_row_names_the_bytes_it_came_from(sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    for one in (*sdtm.values(), adam["ADLB"], adam["ADBM"]):
        assert one.rows
        for digest in one.column("SRCSHA"):
            assert isinstance(digest, str)
            assert len(digest) == 64
        assert None not in one.column("SRCID")


def test_results_of_who_withdrew_consent_are_in_no_data_set(sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    for one in (*sdtm.values(), adam["ADLB"], adam["ADBM"]):
        assert not [value for value in one.column("USUBJID") if str(value).endswith("S0003")]


def test_soluble_markers_are_in_adlb_cells_and_tissue_in_adbm(adam: dict[str, Dataset]) -> None:
    assert set(adam["ADLB"].column("PARCAT1")) == {"ELISA"}
    assert set(adam["ADBM"].column("PARCAT1")) == {"CYTOMETRY", "IHC"}
    assert adam["ADSL"].column("SUBJID") == ["S0001", "S0002", "S0003"]


def test_a_bound_has_no_analysis_value_and_its_change_is_an_interval(adam: dict[str, Dataset]) -> None:
    table = adam["ADLB"].frame()
    below = table[table["AVISIT"] == "C2D1"].iloc[0]
    assert below["AVALC"] == "<3.1"
    assert below[["AVAL", "CHG", "PCHG"]].isna().all()
    assert (below["BASE"], below["CHGLO"], below["CHGHI"]) == (20.0, -20.0, 3.1 - 20.0)
    assert (below["AWTARGET"], below["AWTDIFF"], below["ADY"], below["ADT"]) == (22, 1, 23, "2025-04-01")


def test_rows_lead_back_to_their_row_of_the_source_domain(sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    lb = sdtm["LB"].frame().set_index(["USUBJID", "LBSEQ"])
    for row in adam["ADLB"].frame().to_dict(orient="records"):
        assert lb.loc[(row["USUBJID"], row["SRCSEQ"]), "SRCID"] == row["SRCID"]
        assert row["SRCDOM"] == "LB"


def test_planned_treatment_comes_from_the_allocation_and_without_it_there_is_no_such_variable(
    adam: dict[str, Dataset], rows: tuple[TimepointRow, ...]
) -> None:
    assert adam["ADSL"].column("TRT01P") == ["gemcitabine + berzosertib", CANARY, None]
    assert set(adam["ADLB"].column("TRTP")) == {"gemcitabine + berzosertib", CANARY}
    masked = adam_datasets(packaged_study(), rows, ROSTER)
    for one in masked:
        assert not {"TRTP", "TRTA", "TRT01P", "TRT01A"} & {variable.name for variable in one.variables}
    assert "TRTA" not in {variable.name for variable in adam["ADLB"].variables}
    assert CANARY not in repr(adam)


@pytest.mark.parametrize("name", ["LB", "CP", "MI", "ADSL", "ADLB", "ADBM"])
def test_a_transport_file_reads_back_what_was_written(
    name: str, sdtm: dict[str, Dataset], adam: dict[str, Dataset], tmp_path: Path
) -> None:
    one = {**sdtm, **adam}[name]
    content = write_xpt(one, created_at=CREATED)
    assert content == write_xpt(one, created_at=CREATED)
    path = tmp_path / f"{name.lower()}.xpt"
    path.write_bytes(content)
    read, meta = pyreadstat.read_xport(path, disable_datetime_conversion=True)
    assert (meta.table_name, meta.file_label) == (name, one.label)
    assert meta.column_names == [variable.name for variable in one.variables]
    assert meta.column_labels == [variable.label for variable in one.variables]
    for variable in one.variables:
        for written, found in zip(one.column(variable.name), read[variable.name], strict=True):
            if written is None:
                assert pd.isna(found) or found == ""
            elif variable.kind == "date":
                assert date(1960, 1, 1).toordinal() + found == date.fromisoformat(str(written)).toordinal()
            else:
                assert found == pytest.approx(written, rel=1e-14) if variable.kind != "text" else found == written
    assert b"01SEP25:12:30:00" in content


@pytest.mark.parametrize("name", ["LB", "CP", "MI", "ADSL", "ADLB", "ADBM"])
def test_dataset_json_follows_its_schema_and_reads_back(name: str, sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    one = {**sdtm, **adam}[name]
    content = write_dataset_json(one, study_id="targeting-atr-sts", created_at=CREATED, software="biomarkers 1.0")
    document = json.loads(content)
    jsonschema.validate(document, DATASET_JSON)
    assert (document["records"], document["datasetJSONVersion"]) == (len(one.rows), "1.1.0")
    assert document["datasetJSONCreationDateTime"] == "2025-09-01T12:30:00Z"
    assert [tuple(row) for row in document["rows"]] == list(one.rows)
    assert [column["name"] for column in document["columns"]] == [variable.name for variable in one.variables]
    keys = [column["keySequence"] for column in document["columns"] if "keySequence" in column]
    assert sorted(keys) == list(range(1, len(keys) + 1))


def test_an_empty_data_set_is_written_and_read_all_the_same(tmp_path: Path) -> None:
    one = sdtm_datasets(packaged_study(), (), ROSTER)[0]
    assert one.rows == ()
    path = tmp_path / "lb.xpt"
    path.write_bytes(write_xpt(one, created_at=CREATED))
    read, _ = pyreadstat.read_xport(path)
    assert len(read) == 0


def test_the_define_table_says_where_every_variable_comes_from(sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    everything = [*sdtm.values(), *adam.values()]
    table = define_table(everything)
    assert len(table) == sum(len(one.variables) for one in everything)
    assert (table["origin"].str.len() > 0).all()
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert again["variable"].tolist() == table["variable"].tolist()
    page = define_html(everything, "Data sets shaped like SDTM and ADaM")
    assert "shaped" in page
    assert "compliant" not in page.lower()
    assert "http" not in page


def test_the_word_compliant_stands_in_no_text_of_the_data_sets(sdtm: dict[str, Dataset], adam: dict[str, Dataset]) -> None:
    for one in (*sdtm.values(), *adam.values()):
        words = [one.label, one.structure, *(variable.label + variable.origin for variable in one.variables)]
        assert not any("complian" in word.lower() for word in words)


def test_short_codes_are_different_and_fit() -> None:
    codes = short_codes([f"CD8_DENSITY_{at}" for at in range(30)] + ["2ND", "IL-6"])
    assert len(set(codes.values())) == 32
    assert all(len(code) <= 8 and code.isalnum() and code[0].isalpha() for code in codes.values())


def test_texts_are_cut_and_characters_beyond_the_format_are_marked(rows: tuple[TimepointRow, ...], tmp_path: Path) -> None:
    long = replace(rows[0], findings="\N{GREEK SMALL LETTER MU}" + "X" * 300)
    named = [replace(long, result_id="r", assay="elisa", measurand="IL6", value=1.0, comparator="")]
    (lb, *_) = sdtm_datasets(packaged_study(), named, ROSTER)
    path = tmp_path / "lb.xpt"
    path.write_bytes(write_xpt(lb, created_at=CREATED))
    read, _ = pyreadstat.read_xport(path)
    assert read["FINDINGS"][0] == "?" + "X" * 199
