from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from biomarkers.store.users import Role
from biomarkers.web.access import RIGHTS, Right
from biomarkers.web.app import OPEN_PATHS, addresses, require_rights, right_of

if TYPE_CHECKING:
    from conftest import Served

EXPECTED: dict[str, str] = {
    # The matrix as a laboratory would write it down: T technician, R reviewer, S scientist, U unblinded, A auditor, O operator.
    "GET /": "TRSUAO",
    "POST /logout": "TRSUAO",
    "GET /account": "TRSUAO",
    "POST /account/tokens": "TRSUAO",
    "POST /account/tokens/end": "TRSUAO",
    "POST /account/password": "TRSUAO",
    "GET /people": "AO",
    "GET /board": "TRAO",
    "GET /board/live": "TRAO",
    "GET /waiting": "TRAO",
    "POST /waiting/{job_id}/retry": "TR",
    "PUT /inbox/{kind}": "TR",
    "PUT /api/v1/inbox/{kind}": "TR",
    "GET /timepoints": "RSUA",
    "GET /timepoints.{ending}": "RSUA",
    "GET /results/{result_id}": "TRSUA",
    "POST /results/{result_id}/decisions": "R",
    "GET /evidence/{run_id}/{name}": "TRSUA",
    "GET /runs": "TRSUA",
    "GET /runs/{run_id}": "TRSUA",
    "POST /runs/{run_id}/masks": "TR",
    "POST /runs/{run_id}/signatures": "TRSUA",  # whoever may see; what they may sign is asked within
    "GET /slides/{run_id}/view": "TRSUA",
    "GET /slides/{run_id}/tiles/{level}/{column}/{row}": "TRSUA",
    "GET /slides/{run_id}/field/{x}/{y}": "TRSUA",
    "GET /slides/{run_id}/cells": "TRSUA",
    "GET /slides/{run_id}/regions": "TRSUA",
    "GET /pathology": "TRSUA",
    "POST /slides/{run_id}/decisions": "R",
    "PUT /inbox/ihc/regions/{run_id}": "TR",
    "GET /statistics": "RSUA",
    "GET /proposals": "TRSUA",
    "POST /proposals/{number}/decisions": "R",
    "POST /waiting/{job_id}/answer": "TR",
    "GET /charts": "TRSUA",
    "GET /completeness": "TRSUA",
    "GET /audit": "A",
    "GET /nights": "TRAO",
    "GET /nights/{name}": "TRAO",
    "GET /controls": "TRSUAO",
    "GET /api": "TRSUAO",
    "GET /api/openapi.json": "TRSUAO",
    "GET /metrics": "O",
    "GET /api/v1/files": "TRAO",
    "GET /api/v1/timepoints": "RSUA",
    "GET /api/v1/runs": "TRSUA",
    "GET /api/v1/runs/{run_id}/results": "TRSUA",
    "GET /api/v1/results/{result_id}": "TRSUA",
    "POST /api/v1/runs/{run_id}/masks": "TR",
    "GET /api/v1/completeness": "TRSUA",
    "GET /api/v1/proposals": "TRSUA",
    "GET /api/v1/charts": "TRSUA",
    "GET /api/v1/audit": "A",
    "GET /api/v1/audit/verdict": "A",
    "GET /api/v1/audit/head": "A",
}
LETTERS = dict(zip("TRSUAO", Role, strict=True))
FILLED = {
    "{job_id}": "999999",
    "{kind}": "elisa",
    "{ending}": "csv",
    "{result_id}": "r-00000000000000000000",
    "{run_id}": "elisa-0000000000000000",
    "{name}": "none.html",
    "{number}": "999999",
    "{level}": "0",
    "{column}": "0",
    "{row}": "0",
    "{x}": "0",
    "{y}": "0",
}


def routes() -> Iterator[tuple[str, APIRoute]]:
    for route in addresses():
        for method in sorted(route.methods):
            yield f"{method} {route.path}", route


def test_the_matrix_knows_every_address_that_needs_a_right() -> None:
    assert {name for name, route in routes() if route.path not in OPEN_PATHS} == set(EXPECTED)


def test_only_the_login_and_files_of_style_and_script_need_no_right() -> None:
    assert {route.path for _, route in routes() if right_of(route) is None} == OPEN_PATHS


def test_an_address_that_names_no_right_keeps_the_pages_from_being_served() -> None:
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: "open")
    with pytest.raises(ValueError, match="/forgotten names no right"):
        require_rights(route for route in router.routes if isinstance(route, APIRoute))


def ask(client: httpx.Client, name: str, **given: object) -> httpx.Response:
    method, _, path = name.partition(" ")
    for part, value in FILLED.items():
        path = path.replace(part, value)
    return client.request(method, path, follow_redirects=False, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", Role)
def test_every_address_answers_a_role_exactly_where_the_matrix_says_so(people_served: Served, role: Role) -> None:
    headers = people_served.token(role.value)
    wrong = []
    with people_served.client(headers=headers) as client:
        for name, letters in EXPECTED.items():
            answer = ask(client, name)
            allowed = role in {LETTERS[letter] for letter in letters}
            # With the right the answer may be that there is nothing, or that a form is missing; never that it is forbidden.
            said = answer.status_code
            form_refused = name.startswith("POST /") and "/api/" not in name and said == 415
            if allowed and said in {401, 403}:
                wrong.append((name, said, "should be allowed"))
            if not allowed and said != 403 and not form_refused:
                wrong.append((name, said, "should be refused"))
            assert said < 500, (name, answer.text)
    assert wrong == []


@pytest.mark.parametrize("role", Role)
def test_a_form_that_is_sound_is_refused_to_every_role_without_the_right(people_served: Served, role: Role) -> None:
    client = people_served.logged_in(role.value)
    home = client.get("/").text
    word = home.split('name="csrf" content="')[1].split('"')[0]
    for name, letters in EXPECTED.items():
        if not name.startswith("POST /") or "/api/" in name or name in {"POST /logout", "POST /account/password"}:
            continue
        if role not in {LETTERS[letter] for letter in letters}:
            answer = ask(client, name, data={"csrf": word, "reason": "x", "well": "A01", "decision": "excluded"})
            assert answer.status_code == 403, name
            assert "This needs the right to" in answer.text


def test_nobody_without_a_login_gets_anything_once_there_are_accounts(people_served: Served) -> None:
    with people_served.client() as client:
        for name in EXPECTED:
            answer = ask(client, name)
            assert answer.status_code in {303, 401, 403, 415}, (name, answer.status_code)
            if answer.status_code == 303:
                assert answer.headers["location"].startswith("/login")
            assert "S0001" not in answer.text


def test_a_laboratory_without_accounts_shows_this_machine_the_technicians_pages_only(bare_served: Served) -> None:
    with bare_served.client() as client:
        for name, letters in EXPECTED.items():
            if not name.startswith("GET"):
                continue
            refused = ask(client, name).status_code in {303, 401, 403}
            needs_account = name == "GET /account"
            assert refused == ("T" not in letters or needs_account), name


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_nobody_comes_in_as_technician_through_a_proxy(bare_served: Served, header: str) -> None:
    with bare_served.client(headers={header: "127.0.0.1"}) as client:
        assert client.get("/api/v1/files").status_code == 401


def test_only_one_role_may_see_arms_and_it_is_no_role_of_the_laboratory() -> None:
    assert [role for role in Role if Right.ARMS in RIGHTS[role]] == [Role.UNBLINDED_SCIENTIST]


@pytest.mark.parametrize(
    ("scope", "may", "may_not"),
    [
        ("read", ("GET /api/v1/runs", "GET /api/v1/files"), ("PUT /api/v1/inbox/{kind}", "POST /api/v1/runs/{run_id}/masks")),
        ("drop", ("GET /api/v1/files",), ("GET /api/v1/runs", "GET /api/v1/timepoints", "POST /api/v1/runs/{run_id}/masks")),
    ],
)
def test_a_token_has_no_more_of_its_owners_rights_than_its_scope(
    own_served: Served, scope: str, may: tuple[str, ...], may_not: tuple[str, ...]
) -> None:
    client = own_served.logged_in("reviewer")
    word = client.get("/account").text.split('name="csrf" content="')[1].split('"')[0]
    made = client.post("/account/tokens", data={"csrf": word, "label": "script", "scope": scope}).text
    secret = made.split('class="secret">')[1].split("<")[0]
    with own_served.client(headers={"authorization": f"Bearer {secret}"}) as script:
        assert [name for name in may if ask(script, name).status_code >= 400] == []
        assert {ask(script, name).status_code for name in may_not} == {403}
        assert (script.put("/api/v1/inbox/elisa?name=dropped.csv", content=b"a,b\n").status_code == 201) is (scope == "drop")
    assert client.post("/account/tokens", data={"csrf": word, "label": "script", "scope": "everything"}).status_code == 400
