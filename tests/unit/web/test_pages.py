from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

import openpyxl
import pytest

from biomarkers.lab.evidence import OF, write_evidence
from biomarkers.store import lookups
from biomarkers.store.results import read_analysis
from biomarkers.store.users import Role
from biomarkers.web.access import RIGHTS, Right

if TYPE_CHECKING:
    import httpx
    from conftest import Served

LINK = re.compile(r'href="(/[^"#]*)"')


def crawl(client: httpx.Client, *, most: int) -> dict[str, httpx.Response]:
    """Follow every link of our own from the first page on, as a reader might."""
    seen: dict[str, httpx.Response] = {}
    waiting = ["/"]
    while waiting and len(seen) < most:
        path = waiting.pop(0)
        if path in seen:
            continue
        answer = client.get(path)
        seen[path] = answer
        if answer.headers.get("content-type", "").startswith("text/html") and not path.startswith("/evidence"):
            waiting += [link.replace("&amp;", "&") for link in LINK.findall(answer.text)]
    return seen


@pytest.mark.parametrize("role", Role)
def test_every_link_a_role_is_shown_leads_somewhere_it_may_go(people_served: Served, role: Role) -> None:
    seen = crawl(people_served.logged_in(role.value), most=40)
    assert {path: answer.status_code for path, answer in seen.items() if answer.status_code != 200} == {}
    assert len(seen) > 5


def test_every_page_of_an_empty_laboratory_says_that_there_is_nothing(bare_served: Served) -> None:
    with bare_served.client() as client:
        seen = crawl(client, most=40)
    assert {path: answer.status_code for path, answer in seen.items() if answer.status_code != 200} == {}
    assert "Nothing needs you." in seen["/"].text


def test_an_empty_laboratory_has_pages_for_every_other_role_too(bare_served: Served, add_everyone: object) -> None:
    add_everyone(bare_served.laboratory)  # type: ignore[operator]
    for role in Role:
        seen = crawl(bare_served.logged_in(role.value), most=20)
        assert {path: answer.status_code for path, answer in seen.items() if answer.status_code != 200} == {}, role


def test_a_technician_sees_files_that_need_them_before_specimens_that_wait_to_be_measured(people_served: Served) -> None:
    page = people_served.logged_in("technician").get("/").text
    assert page.index("Drop P0999.map.csv.") < page.index("Received and not measured")
    assert page.index("onerror=alert(1)&gt;.fcs") < page.index("Received and not measured")


def test_markup_in_a_files_name_and_reason_is_shown_as_text(people_served: Served) -> None:
    client = people_served.logged_in("technician")
    for path in ("/", "/board", "/waiting", "/board/live"):
        text = client.get(path).text
        assert "<img src=x" not in text, path
        assert "&lt;img src=x onerror=alert(1)&gt;.fcs" in text, path
        assert "<b>no</b>" not in text, path


@pytest.mark.parametrize("value", ["'; DROP TABLE result; --", "<script>alert(1)</script>", "IL6' OR '1'='1", "\u0000", "%"])
def test_a_filter_is_a_word_and_never_sql_or_markup(people_served: Served, value: str) -> None:
    client = people_served.logged_in("scientist")
    for name in ("measurand", "visit", "subject", "status", "sort"):
        answer = client.get("/timepoints", params={name: value})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
    assert client.get("/timepoints.csv").text.count("\n") > 10


def test_the_table_is_filtered_sorted_and_counted(people_served: Served) -> None:
    client = people_served.logged_in("scientist")
    every = people_served.laboratory.rows()
    code = next(row.measurand for row in every if row.assay == "elisa" and row.value is not None)
    rows = [row for row in every if row.measurand == code]
    measured = sorted(row.value for row in rows if row.value is not None)
    assert measured
    text = client.get(f"/timepoints?measurand={code}&sort=value&order=up").text
    shown = [
        float(value) for value in re.findall(r'class="number"[^>]*>(?:<span[^>]*>[^<]*</span> )?<data value="([^"]+)"', text)
    ]
    assert shown == measured
    assert f"of {len(rows)}" in text
    assert 'aria-sort="ascending"' in text


def test_exports_hold_every_row_chosen_and_keep_formulas_text(people_served: Served) -> None:
    client = people_served.logged_in("scientist")
    rows = [row for row in people_served.laboratory.rows() if row.visit == "C2D1"]
    table = list(csv.DictReader(io.StringIO(client.get("/timepoints.csv?visit=C2D1").text)))
    assert [(row["subject_id"], row["measurand"]) for row in table] == [(row.subject_id, row.measurand) for row in rows]
    assert "arm" not in table[0]
    book = openpyxl.load_workbook(io.BytesIO(client.get("/timepoints.xlsx?visit=C2D1").content))
    assert book["timepoints"].max_row == len(rows) + 1
    assert client.get("/api/v1/timepoints?visit=C2D1").json()[0]["subject_id"] == rows[0].subject_id


def test_a_number_opens_what_lies_behind_it_down_to_the_well_and_the_files_digest(people_served: Served) -> None:
    client = people_served.logged_in("scientist")
    row = next(row for row in people_served.laboratory.rows() if row.assay == "elisa" and row.value is not None)
    page = client.get(f"/results/{row.result_id}").text
    with people_served.laboratory.database.read() as reading:
        place = lookups.result_place(reading, result_id=row.result_id or "")
        assert place is not None
        analysis = read_analysis(reading, analysis_id=place.analysis_id)
    own = [well for well in analysis.wells if well.accession_id == row.accession_id]  # type: ignore[union-attr]
    assert own
    for well in own:
        assert f'<th scope="row">{well.position}</th>' in page
    for source in analysis.run.provenance.sources:
        assert source.sha256 in page
    assert f'<data value="{row.value!r}">' in page
    assert "Calibrators" in page
    assert f"/evidence/{row.run_id}/quality.html" in page


def test_a_frequency_opens_the_gates_it_rests_on(people_served: Served) -> None:
    client = people_served.logged_in("scientist")
    row = next(row for row in people_served.laboratory.rows() if row.measurand == "CD8_PCT_T" and row.result_id)
    page = client.get(f"/results/{row.result_id}").text
    for population in ("singlets", "live", "lymphocytes", "CD8"):
        assert f'<th scope="row">{population}</th>' in page


def test_a_figure_shows_n_and_no_p_value(people_served: Served) -> None:
    every = people_served.laboratory.rows()
    code = next(row.measurand for row in every if row.assay == "elisa" and row.value is not None)
    page = people_served.logged_in("unblinded_scientist").get(f"/timepoints?measurand={code}&arm=true").text
    assert page.count("<svg") >= 3  # a panel an arm, beside the page's own sign
    assert f"{code} by subject" in page
    assert "not compared" in page
    assert re.search(r"\bp\s*[=<]", page) is None


def test_a_quarantined_file_is_put_back_into_its_inbox_by_a_button(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    page = client.get("/waiting").text
    job, csrf = re.search(r'action="/waiting/(\d+)/retry"', page), re.search(r'name="csrf" value="([^"]*)"', page)
    assert job is not None
    assert csrf is not None
    given = {"csrf": csrf.group(1), "reason": "exported again"}
    assert client.post(f"/waiting/{job.group(1)}/retry", data=given).status_code == 303
    folder = own_served.laboratory.folder
    assert [path.name for path in folder.inbox("cytometry").iterdir()] == ["<img src=x onerror=alert(1)>.fcs"]
    assert list(folder.quarantine("cytometry").iterdir()) == []
    again = client.post(f"/waiting/{job.group(1)}/retry", data=given)
    assert again.status_code == 409
    event = own_served.logged_in("auditor").get("/api/v1/audit?action=file.requeued").json()[0]
    assert (event["actor"], event["reason"]) == ("technician", "exported again")


def test_the_live_board_answers_nothing_new_while_nothing_is_new(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    first = client.get("/board/live")
    again = client.get("/board/live", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (own_served.laboratory.folder.inbox("elisa") / "new.txt").write_text("x")
    assert client.get("/board/live", headers={"if-none-match": first.headers["etag"]}).status_code == 200


def test_metrics_are_in_the_format_prometheus_reads_and_name_no_subject(people_served: Served) -> None:
    text = people_served.logged_in("operator").get("/metrics").text
    line = re.compile(r'(# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.e]+)')
    assert [one for one in text.splitlines() if line.fullmatch(one) is None] == []
    assert 'biomarkers_files{assay="cytometry",state="quarantined"} 1' in text
    assert "S0001" not in text


def test_the_page_on_records_claims_nothing_a_laboratory_must_show_itself(people_served: Served) -> None:
    text = people_served.logged_in("auditor").get("/controls").text.lower()
    assert "compliant" not in text
    assert "validated" not in text
    assert "11.10(e)" in text


def test_every_test_the_page_on_records_names_exists(project_root: object) -> None:
    from biomarkers.web.controls_supported import CONTROLS  # noqa: PLC0415  - beside its only use

    assert [one.test for one in CONTROLS if not (project_root / one.test.partition("::")[0]).is_file()] == []  # type: ignore[operator]


def test_every_right_is_given_to_some_role() -> None:
    assert set().union(*RIGHTS.values()) == set(Right)


def test_a_run_says_while_its_quality_page_shows_an_earlier_analysis_or_none(people_served: Served) -> None:
    client, folder = people_served.logged_in("scientist"), people_served.laboratory.folder
    row = next(row for row in people_served.laboratory.rows() if row.assay == "elisa" and row.run_id)
    run_id, place = str(row.run_id), folder.evidence / str(row.run_id)
    said, page = (place / OF).read_bytes(), (place / "quality.html").read_bytes()
    assert "being drawn" not in client.get(f"/runs/{run_id}").text
    try:
        write_evidence(folder, run_id, {"quality.html": page}, of="a-00000000000000000000")
        assert "shows an earlier analysis" in client.get(f"/runs/{run_id}").text
        write_evidence(folder, run_id, {}, of="a-00000000000000000000")
        assert "The quality page is being drawn." in client.get(f"/runs/{run_id}").text
    finally:
        (place / "quality.html").write_bytes(page)
        (place / OF).write_bytes(said)
