"""The API against its own description: whatever is sent, no answer is our own fault, and each has the shape described."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biomarkers.store.users import Role

if TYPE_CHECKING:
    from conftest import Served

EXAMPLES = int(os.environ.get("WEB_EXAMPLES", "5"))
ODD = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "9" * 30, "1e309", "NaN", "true", "null", "'", '"', "<b>", "../..", "%00", "\u202e", "=1+1", "x" * 5000]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)


@pytest.fixture(scope="module")
def scripts(people_served: Served) -> Mapping[Role, httpx.Client]:
    return {role: people_served.client(headers=people_served.token(role.value)) for role in Role}


def operations(document: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, str, dict[str, object]]]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():  # type: ignore[attr-defined]
            yield method, path, told


def test_the_description_names_every_operation_with_what_refusals_look_like(scripts: Mapping[Role, httpx.Client]) -> None:
    document = scripts[Role.SCIENTIST].get("/api/openapi.json").json()
    listed = list(operations(document))
    assert len(listed) >= 12
    assert {path.partition("/v1")[0] for _, path, _ in listed} == {"/api"}
    for _, path, told in listed:
        assert told.get("description") or told.get("summary"), path


@pytest.mark.parametrize("role", Role)
def test_no_odd_word_anywhere_makes_an_answer_our_own_fault(scripts: Mapping[Role, httpx.Client], role: Role) -> None:
    client = scripts[role]
    document = client.get("/api/openapi.json").json()
    listed = list(operations(document))

    @settings(
        max_examples=EXAMPLES * len(listed) // 2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        method, path, told = data.draw(st.sampled_from(listed))
        query = {}
        for parameter in told.get("parameters", []):  # type: ignore[attr-defined]
            value = data.draw(ODD)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
            elif data.draw(st.booleans()):
                query[parameter["name"]] = value
        body = data.draw(st.sampled_from([b"", b"{", b"[]", b'{"wells":["A01"],"reason":"x","masked":true}', b"\xff"]))
        answer = client.request(
            method, path, params=query, content=body if method != "get" else None, headers={"content-type": "application/json"}
        )
        assert answer.status_code < 500, (method, path, query, answer.text)
        if answer.status_code >= 400 and answer.status_code not in {404, 405}:
            told_back = answer.json()["errors"]
            assert all(set(one) == {"what", "where", "remedy"} for one in told_back)

    ask()


@pytest.mark.parametrize("role", Role)
def test_schemathesis_finds_no_fault_of_ours(people_served: Served, scripts: Mapping[Role, httpx.Client], role: Role) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    client = scripts[role]
    document = client.get("/api/openapi.json").json()
    headers = {"authorization": client.headers["authorization"]}
    schema = schemathesis.openapi.from_dict(document)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def ask(case: object) -> None:
            nonlocal asked
            answer = case.call(base_url=people_served.url, headers=headers)  # type: ignore[attr-defined]
            asked += 1
            assert answer.status_code < 500, (case, answer.text)

        ask()
    assert asked > 20


def test_results_come_back_as_they_were_recorded(scripts: Mapping[Role, httpx.Client], people_served: Served) -> None:
    client = scripts[Role.SCIENTIST]
    row = next(row for row in people_served.laboratory.rows() if row.value is not None)
    told = client.get(f"/api/v1/results/{row.result_id}").json()
    assert (told["value"], told["unit"], told["lower"], told["upper"]) == (row.value, row.unit, row.lower, row.upper)
    assert told["sources"][0]["sha256"] == (row.source_sha256 or "").split(";")[0]
    assert told["standing"] == "preliminary"
