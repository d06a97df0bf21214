from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.provenance import utc_now
from biomarkers.store import users
from biomarkers.store.users import Role
from biomarkers.web.pages.login import local
from biomarkers.web.passwords import Limiter, PasswordError, Passwords

if TYPE_CHECKING:
    import httpx
    from conftest import Served

PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests


def word(client: httpx.Client, path: str = "/login") -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]+)"', client.get(path, follow_redirects=True).text)
    assert found is not None
    return found.group(1)


def test_a_login_needs_the_word_its_own_page_was_given(people_served: Served) -> None:
    client = people_served.client()
    given = {"name": "auditor", "password": PASSWORD}
    assert client.post("/login", data=given).status_code == 403
    assert client.post("/login", data={**given, "csrf": "0" * 64}).status_code == 403
    other = people_served.client()
    assert client.post("/login", data={**given, "csrf": word(other)}).status_code == 403
    assert client.post("/login", data={**given, "csrf": word(client)}).status_code == 303


def test_a_session_ends_for_good_when_its_person_logs_out(people_served: Served) -> None:
    client = people_served.logged_in("scientist")
    kept = dict(client.cookies)
    assert client.get("/timepoints").status_code == 200
    assert client.post("/logout", data={"csrf": word(client, "/")}).status_code == 303
    stolen = people_served.client(cookies=kept)
    assert stolen.get("/timepoints").status_code == 303


def test_a_session_is_idle_after_an_hour_without_a_request(people_served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = people_served.logged_in("scientist")
    monkeypatch.setattr("biomarkers.web.identity.IDLE_MINUTES", -1)
    assert client.get("/timepoints").status_code == 303


def test_the_right_password_is_not_looked_at_after_five_wrong_ones(own_served: Served) -> None:
    client = own_served.client()
    for _ in range(5):
        answer = client.post("/login", data={"name": "auditor", "password": "wrong", "csrf": word(client)})
        assert answer.status_code == 401
        assert "Name and password do not fit." in answer.text
    answer = client.post("/login", data={"name": "auditor", "password": PASSWORD, "csrf": word(client)})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 301
    assert client.post("/login", data={"name": "scientist", "password": PASSWORD, "csrf": word(client)}).status_code == 303


def test_an_unknown_name_and_a_wrong_password_are_told_alike(people_served: Served) -> None:
    client = people_served.client()
    texts = {
        re.sub(r"[0-9a-f]{64}", "", client.post("/login", data={"name": name, "password": "x", "csrf": word(client)}).text)
        for name in ("scientist", "nobody-here")
    }
    assert len(texts) == 1


def test_failed_logins_and_sessions_are_in_the_audit_trail_and_no_secret_is(own_served: Served) -> None:
    client = own_served.client()
    client.post("/login", data={"name": "<b>x</b>", "password": "hunter2hunter2", "csrf": word(client)})
    secret = own_served.token("auditor")["authorization"].removeprefix("Bearer ")
    auditor = own_served.logged_in("auditor")
    events = auditor.get("/api/v1/audit?limit=1000")
    actions = {event["action"] for event in events.json()}
    assert {"login.failed", "session.began", "token.began", "user.added"} <= actions
    assert secret not in events.text
    assert "hunter2" not in events.text
    assert "argon2" not in events.text
    assert auditor.get("/api/v1/audit/verdict").json()["whole"] is True


def test_the_database_holds_neither_password_nor_token(own_served: Served) -> None:
    secret = own_served.token("auditor")["authorization"].removeprefix("Bearer ")
    own_served.laboratory.close()
    stored = b"".join(path.read_bytes() for path in own_served.laboratory.folder.root.glob("lab.db*"))
    assert secret.encode() not in stored
    assert PASSWORD.encode() not in stored
    assert b"$argon2id$" in stored


def test_a_closed_account_is_out_at_once_with_session_and_token(own_served: Served) -> None:
    client, headers = own_served.logged_in("scientist"), own_served.token("scientist")
    with own_served.laboratory.database.write() as transaction:
        account = users.find_account(transaction, name="scientist")
        assert account is not None
        users.save_account(
            transaction,
            name=account.name,
            full_name=account.full_name,
            role=account.role,
            password_hash=account.password_hash,
            active=False,
            recorded_at=utc_now(),
            recorded_by="tests",
            reason="left",
        )
    assert client.get("/timepoints").status_code == 303
    assert own_served.client(headers=headers).get("/api/v1/runs").status_code == 401


def test_a_token_is_ended_by_its_owner_alone(own_served: Served) -> None:
    headers = own_served.token("scientist")
    owner, other = own_served.logged_in("scientist"), own_served.logged_in("auditor")
    digest = re.search(r'name="token" value="([0-9a-f]{64})"', owner.get("/account").text)
    assert digest is not None
    ended = {"token": digest.group(1)}
    assert other.post("/account/tokens/end", data={**ended, "csrf": word(other, "/")}).status_code == 404
    script = own_served.client(headers=headers)
    assert script.get("/api/v1/runs").status_code == 200
    assert owner.post("/account/tokens/end", data={**ended, "csrf": word(owner, "/")}).status_code == 303
    assert script.get("/api/v1/runs").status_code == 401


def test_a_password_is_changed_with_the_old_one_and_only_so(own_served: Served) -> None:
    client = own_served.logged_in("scientist")
    new = {"new": "another long sentence", "again": "another long sentence"}
    assert client.post("/account/password", data={**new, "old": "no", "csrf": word(client, "/")}).status_code == 403
    short = {"new": "short", "again": "short", "old": PASSWORD}
    assert client.post("/account/password", data={**short, "csrf": word(client, "/")}).status_code == 409
    assert client.post("/account/password", data={**new, "old": PASSWORD, "csrf": word(client, "/")}).status_code == 200
    own_served.logged_in("scientist", "another long sentence")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/timepoints?x=1", "/timepoints?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
    ],
)
def test_nobody_is_sent_to_another_site_after_login(asked: str, given: str) -> None:
    assert local(asked) == given


def test_the_limit_forgets_with_time_and_with_success() -> None:
    now = [0.0]
    limiter = Limiter(most=2, seconds=10, clock=lambda: now[0])
    limiter.failed("x")
    limiter.failed("x")
    assert limiter.wait_seconds("x") == 10
    assert limiter.wait_seconds("y") == 0
    now[0] = 10.5
    assert limiter.wait_seconds("x") == 0
    limiter.failed("x")
    limiter.succeeded("x")
    limiter.failed("x")
    assert limiter.wait_seconds("x") == 0


def test_a_password_is_long_and_not_the_login() -> None:
    for password in ("short", "x" * 2000, "a-very-long-login"):
        with pytest.raises(PasswordError, match="A password has 12 to 1024 characters"):
            Passwords().hashed(password, name="A-very-long-login")


def test_hashes_are_argon2id_with_the_work_rfc_9106_asks_of_small_machines() -> None:
    hashed = Passwords().hashed(PASSWORD, name="x")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.fixture
def with_header(tmp_path: Path) -> Laboratory:
    create_laboratory(tmp_path / "proxied").close()
    settings = tmp_path / "proxied" / "lab.toml"
    settings.write_text(settings.read_text().replace("[web]\n", '[web]\nlogin_header = "X-Remote-User"\n'))
    from biomarkers.laboratory import open_lab  # noqa: PLC0415  - beside its only use

    return open_lab(tmp_path / "proxied")


def test_a_proxys_header_logs_in_where_lab_toml_says_so_and_nowhere_else(
    with_header: Laboratory, own_served: Served, add_everyone: Callable[[Laboratory], None], serve: Callable[..., Served]
) -> None:
    add_everyone(with_header)
    served = serve(with_header)
    assert served.client(headers={"X-Remote-User": "auditor"}).get("/api/v1/audit").status_code == 200
    assert served.client(headers={"X-Remote-User": "scientist"}).get("/api/v1/audit").status_code == 403
    assert served.client(headers={"X-Remote-User": "nobody"}).get("/api/v1/audit").status_code == 401
    assert own_served.client(headers={"X-Remote-User": "auditor"}).get("/api/v1/audit").status_code == 401


def test_a_role_that_is_changed_holds_from_the_next_request_on(own_served: Served) -> None:
    client = own_served.logged_in("scientist")
    assert client.get("/audit").status_code == 403
    with own_served.laboratory.database.write() as transaction:
        account = users.find_account(transaction, name="scientist")
        assert account is not None
        users.save_account(
            transaction,
            name=account.name,
            full_name=account.full_name,
            role=Role.AUDITOR,
            password_hash=account.password_hash,
            active=True,
            recorded_at=utc_now(),
            recorded_by="tests",
            reason="new work",
        )
    assert client.get("/audit").status_code == 200
