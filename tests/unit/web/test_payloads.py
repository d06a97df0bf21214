"""Words that are markup, formulas or SQL, planted wherever somebody can write one: every page shows them as words."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from biomarkers.provenance import utc_now
from biomarkers.store import jobs, study_lists, users
from biomarkers.store.jobs import JobState, Reason
from biomarkers.store.users import Role

if TYPE_CHECKING:
    import httpx
    from conftest import Served

MARKUP = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
FORMULA = "=HYPERLINK(0)'; DROP TABLE result; --"
LIVE = re.compile(r"<img src=x|<script>alert|onerror=alert\(1\)>(?!&)", re.IGNORECASE)
LINK = re.compile(r'href="(/[^"#]*)"')
PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests


def word_of(client: httpx.Client, path: str) -> str:
    found = re.search(r'name="csrf" (?:content|value)="([0-9a-f]*)"', client.get(path).text)
    assert found is not None, path
    return found.group(1)


def plant(served: Served) -> str:
    """Write the payloads through every way in; return the plate they are on."""
    laboratory, now = served.laboratory, utc_now()
    with laboratory.database.write() as transaction:
        roster = study_lists.current_roster(transaction)
        subjects = tuple(replace(one, site=MARKUP, off_study_reason=MARKUP) for one in roster.subjects.values())
        study_lists.record_roster(transaction, subjects=subjects, sha256="4" * 64, recorded_at=now)
        specimens = tuple(replace(one, condition=MARKUP, lesion=MARKUP) for one in roster.specimens.values())
        study_lists.record_specimens(transaction, specimens=specimens, sha256="5" * 64, recorded_at=now)
        for kind, name in (("elisa", MARKUP), ("ihc", FORMULA)):
            job = jobs.enqueue(transaction, assay=kind, name=name, size=1, mtime_ns=1, received_at=now)
            assert jobs.claim(transaction, job_id=job.id, owner="t", now=now, lease=timedelta(minutes=1)) is not None
            reason = Reason(what=MARKUP, where=MARKUP, remedy=MARKUP, error_kind="SourceFileError")
            jobs.finish(transaction, job_id=job.id, owner="t", state=JobState.QUARANTINED, finished_at=now, reason=reason)
        account = users.find_account(transaction, name="reviewer")
        assert account is not None
        users.save_account(
            transaction,
            name="reviewer",
            full_name=MARKUP,
            role=Role.REVIEWER,
            password_hash=account.password_hash,
            active=True,
            recorded_at=now,
            recorded_by="tests",
            reason=MARKUP,
        )
    client = served.logged_in("reviewer")
    run_id = next(run["run_id"] for run in client.get("/api/v1/runs").json() if run["assay"] == "elisa")
    page = f"/runs/{run_id}"
    answer = client.post(
        f"{page}/masks", data={"csrf": word_of(client, page), "well": "A03", "reason": MARKUP, "action": "mask"}
    )
    assert answer.status_code == 303
    digest = re.search(r'name="digest" value="([^"]*)"', client.get(page).text)
    assert digest is not None
    given = {"csrf": word_of(client, page), "digest": digest[1], "meaning": "reviewed", "password": PASSWORD, "reason": MARKUP}
    assert client.post(f"{page}/signatures", data=given).status_code == 303
    result = client.get(f"/api/v1/runs/{run_id}/results").json()[0]["result_id"]
    decided = {"csrf": word_of(client, f"/results/{result}"), "decision": "excluded", "reason": MARKUP}
    assert client.post(f"/results/{result}/decisions", data=decided).status_code == 303
    assert client.post("/account/tokens", data={"csrf": word_of(client, "/account"), "label": MARKUP}).status_code == 200
    dropped = client.put("/inbox/elisa", params={"name": FORMULA}, content=b"x", headers={"x-csrf": word_of(client, "/board")})
    assert dropped.status_code in {201, 400, 403}  # whatever is said, the name is only a name
    return str(run_id)


def pages(client: httpx.Client, first: list[str], most: int) -> dict[str, httpx.Response]:
    seen: dict[str, httpx.Response] = {}
    waiting = [*first, "/"]
    while waiting and len(seen) < most:
        path = waiting.pop(0)
        if path not in seen:
            answer = seen[path] = client.get(path)
            if answer.headers.get("content-type", "").startswith("text/html") and not path.startswith("/evidence"):
                waiting += [link.replace("&amp;", "&") for link in LINK.findall(answer.text)]
    return seen


@pytest.fixture
def planted(own_served: Served) -> tuple[Served, str]:
    return own_served, plant(own_served)


def test_every_page_of_every_role_shows_planted_words_as_text(planted: tuple[Served, str]) -> None:
    served, run_id = planted
    shown: set[str] = set()
    for role in Role:
        for path, answer in pages(served.logged_in(role.value), [f"/runs/{run_id}"], most=25).items():
            if answer.headers.get("content-type", "").startswith("text/html"):
                assert LIVE.search(answer.text) is None, (role, path)
                shown |= {path.partition("?")[0]} if "&lt;img src=x" in answer.text else set()
    # The payloads are on these pages: what is asserted above is not asserted of empty ones.
    assert {"/board", "/waiting", "/audit", "/people", f"/runs/{run_id}"} <= shown


def test_tables_that_leave_keep_planted_formulas_from_running(planted: tuple[Served, str]) -> None:
    served, _ = planted
    client = served.logged_in("scientist")
    for row in csv.reader(io.StringIO(client.get("/timepoints.csv").text)):
        assert not any(cell.startswith(("=", "@", "\t")) for cell in row)
    answer = served.logged_in("auditor").get("/api/v1/files")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert FORMULA in {file["name"] for file in answer.json()}
