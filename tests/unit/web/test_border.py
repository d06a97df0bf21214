from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from biomarkers.store.users import Role

if TYPE_CHECKING:
    from conftest import Served

PAGES = ("/login", "/board", "/nothing-here", "/api/v1/files", "/static/app.js")


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_a_strict_policy_and_is_kept_by_nobody(people_served: Served, path: str) -> None:
    answer = people_served.client().get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] in {"no-store", "no-cache"}
    assert "server" not in answer.headers


def test_no_page_holds_script_or_style_within_it(people_served: Served) -> None:
    client = people_served.logged_in(Role.REVIEWER.value)
    for path in ("/", "/board", "/waiting", "/timepoints?measurand=KYN&visit=C2D1", "/runs", "/charts", "/completeness"):
        text = client.get(path).text
        assert "<style" not in text, path
        assert " style=" not in text, path
        assert "<script>" not in text, path
        assert " onclick" not in text, path
        assert "http://" not in text.replace(people_served.url, ""), path


def test_a_quality_page_is_shown_without_script_forms_or_an_origin(people_served: Served) -> None:
    client = people_served.logged_in(Role.SCIENTIST.value)
    run_id = next(run["run_id"] for run in client.get("/api/v1/runs").json() if run["assay"] == "elisa")
    answer = client.get(f"/evidence/{run_id}/quality.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "a b"])
def test_a_foreign_name_that_points_here_is_not_answered(bare_served: Served, host: str) -> None:
    address = httpx.URL(bare_served.url)
    with socket.create_connection((address.host, address.port or 0), timeout=10) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(100).split()[1] in {b"421", b"400"}


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "same-site"}],
)
def test_a_change_another_site_sends_is_refused(bare_served: Served, headers: dict[str, str]) -> None:
    client = bare_served.client()
    answer = client.put("/inbox/elisa?name=a.txt", content=b"x", headers=headers)
    assert answer.status_code == 403
    assert list(bare_served.laboratory.folder.inbox("elisa").iterdir()) == []


def test_a_large_form_is_not_read(people_served: Served) -> None:
    assert people_served.client().post("/login", content=b"x" * 300_000).status_code == 413


def test_a_body_that_does_not_say_its_length_is_cut_off(people_served: Served) -> None:
    def endless() -> object:
        for _ in range(40):
            yield b"x" * 10_000

    answer = people_served.client().post(
        "/login",
        content=endless(),  # type: ignore[arg-type]
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code in {400, 403, 413}


def test_what_came_over_tls_is_told_to_stay_there(people_served: Served) -> None:
    client = people_served.client(headers={"x-forwarded-proto": "https"})
    answer = client.get("/login")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "; Secure" in answer.headers["set-cookie"]
    assert answer.headers["set-cookie"].startswith("__Host-")
    assert "strict-transport-security" not in people_served.client().get("/login").headers


def test_an_error_within_shows_no_inside_and_changes_nothing(people_served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = people_served.logged_in(Role.REVIEWER.value)
    monkeypatch.setattr("biomarkers.web.files.file_lines", lambda _laboratory: 1 / 0)
    page, told = client.get("/board"), client.get("/api/v1/files")
    assert (page.status_code, told.status_code) == (500, 500)
    assert "Something went wrong inside the program." in page.text
    assert "ZeroDivision" not in page.text + told.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert json.loads(told.text)["errors"][0]["what"] == "Something went wrong inside the program."


@pytest.mark.parametrize(
    "path",
    [
        "/evidence/elisa-0000000000000000/..%2F..%2Flab.toml",
        "/evidence/..%2F..%2Flab.toml/quality.html",
        "/evidence/%2e%2e/lab.toml",
        "/nights/..%2Flab.toml",
        "/static/..%2Fapp.py",
        "/static/%2e%2e%2fborder.py",
    ],
)
def test_no_address_reaches_a_file_outside_its_own_list(people_served: Served, path: str) -> None:
    client = people_served.logged_in(Role.TECHNICIAN.value)
    answer = client.get(path)
    assert answer.status_code == 404
    assert "time_zone" not in answer.text


def test_a_link_among_evidence_is_not_followed(own_served: Served) -> None:
    client = own_served.logged_in(Role.TECHNICIAN.value)
    run_id = client.get("/api/v1/runs").json()[0]["run_id"]
    place = own_served.laboratory.folder.evidence / run_id
    place.mkdir(exist_ok=True)
    (place / "stolen.csv").symlink_to(own_served.laboratory.folder.arms_file)
    (place / ".hidden.csv").write_text("x")
    assert client.get(f"/evidence/{run_id}/stolen.csv").status_code == 404
    assert client.get(f"/evidence/{run_id}/.hidden.csv").status_code == 404
