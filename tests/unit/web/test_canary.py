"""An arm whose label exists nowhere else must appear in nothing a role without the right is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from biomarkers.store import lookups
from biomarkers.store.users import Role

if TYPE_CHECKING:
    from conftest import Served

CODE = "QXARMCANARY"
"""As the fixture declares and allocates it."""


def everything(served: Served, client: httpx.Client) -> Iterator[tuple[str, httpx.Response]]:
    laboratory = served.laboratory
    with laboratory.database.read() as reading:
        runs = [entry.run_id for entry in lookups.current_analyses(reading)]
    results = [row.result_id for row in laboratory.rows() if row.result_id][:5]
    paths = [
        *("/", "/board", "/waiting", "/runs", "/charts", "/completeness", "/nights", "/audit", "/people", "/account"),
        *(
            "/timepoints",
            "/timepoints?measurand=CD8_PCT_T",
            "/timepoints?measurand=CD8_PCT_T&visit=C2D1",
            "/timepoints?arm=true",
        ),
        *("/timepoints.csv", "/timepoints.xlsx", "/timepoints.csv?arm=true", "/timepoints.xlsx?arm=true"),
        *("/controls", "/api", "/api/openapi.json", "/metrics", "/static/app.js"),
        *("/api/v1/files", "/api/v1/timepoints", "/api/v1/timepoints?arm=true", "/api/v1/runs", "/api/v1/completeness"),
        *("/api/v1/charts", "/api/v1/audit", "/api/v1/audit?limit=1000", "/api/v1/audit/verdict"),
        *(f"/runs/{run}" for run in runs),
        *(f"/evidence/{run}/quality.html" for run in runs),
        *("/pathology", "/proposals", "/statistics", "/statistics?arm=true"),
        *(f"/slides/{run}/view" for run in runs),
        *(f"/slides/{run}/regions" for run in runs),
        *(f"/slides/{run}/cells?left=0&top=0&right=1024&bottom=1024" for run in runs),
        *(f"/api/v1/runs/{run}/results" for run in runs),
        *(f"/results/{result}" for result in results),
        *(f"/api/v1/results/{result}" for result in results),
        "/timepoints?sort=arm",
    ]
    for path in paths:
        yield path, client.get(path)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.UNBLINDED_SCIENTIST])
def test_the_arm_appears_in_nothing_served_to_a_role_without_the_right(canary_served: Served, role: Role) -> None:
    client = canary_served.logged_in(role.value)
    seen = 0
    for path, answer in everything(canary_served, client):
        told = f"{answer.text} {answer.headers}"
        assert CODE not in told, path
        assert CODE.encode() not in unpacked(answer), path
        seen += answer.status_code == 200
    assert seen > 5


def unpacked(answer: httpx.Response) -> bytes:
    """Open a workbook, whose parts are compressed."""
    if not answer.content.startswith(b"PK"):
        return answer.content
    import io  # noqa: PLC0415  - for this one kind of answer
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(io.BytesIO(answer.content)) as book:
        return b"".join(book.read(name) for name in book.namelist())


def test_the_canary_sings_where_the_right_is_or_the_test_above_would_show_nothing(canary_served: Served) -> None:
    client = canary_served.logged_in(Role.UNBLINDED_SCIENTIST.value)
    assert CODE in client.get("/timepoints?measurand=CD8_PCT_T&arm=true").text
    assert CODE in client.get("/timepoints.csv?arm=true").text
    assert CODE.encode() in unpacked(client.get("/timepoints.xlsx?arm=true"))
    assert CODE not in client.get("/timepoints.csv").text
    assert CODE in client.get("/statistics?arm=true").text
    assert CODE not in client.get("/statistics").text


def test_asking_for_arms_without_the_right_is_refused_and_says_so(canary_served: Served) -> None:
    client = canary_served.logged_in(Role.SCIENTIST.value)
    for path in ("/timepoints?arm=true", "/timepoints.csv?arm=true", "/api/v1/timepoints?arm=true", "/statistics?arm=true"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "This needs the right to see arms." in answer.text
