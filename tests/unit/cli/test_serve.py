"""Where the pages are served, and what a script's token may be."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner

from biomarkers.cli import app
from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.provenance import utc_now
from biomarkers.store.users import CredentialKind, Role, Scope, live_credentials, save_account


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return create_laboratory(tmp_path / "lab")


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses the pages were to be served at; nothing is."""
    found: list[str] = []
    monkeypatch.setattr(uvicorn, "run", lambda _app, *, host, **_settings: found.append(host))
    return found


def with_account(laboratory: Laboratory) -> None:
    with laboratory.database.write() as transaction:
        save_account(
            transaction,
            name="maria",
            full_name="Maria Weiss",
            role=Role.REVIEWER,
            password_hash="x",  # noqa: S106  - nobody logs in
            active=True,
            recorded_at=utc_now(),
            recorded_by="tests",
            reason="tests",
        )


def test_pages_are_served_on_this_machine_alone_unless_told_otherwise(laboratory: Laboratory, bound: list[str]) -> None:
    assert CliRunner().invoke(app, ["serve", str(laboratory.folder.root)]).exit_code == 0
    assert bound == ["127.0.0.1"]


def test_without_accounts_no_other_machine_is_served(laboratory: Laboratory, bound: list[str]) -> None:
    root = str(laboratory.folder.root)
    refused = CliRunner().invoke(app, ["serve", root, "--host", "0.0.0.0"])  # noqa: S104  - it is refused
    assert "The laboratory has no accounts, so its pages are served on this machine alone." in str(refused.exception)
    assert bound == []
    with_account(laboratory)
    told = CliRunner().invoke(app, ["serve", root, "--host", "0.0.0.0"])  # noqa: S104  - as above
    assert "Put a proxy with TLS before them." in told.output
    assert bound == ["0.0.0.0"]  # noqa: S104  - as above


def test_a_token_is_made_with_the_scope_asked_for(laboratory: Laboratory) -> None:
    with_account(laboratory)
    root = str(laboratory.folder.root)
    for word in ("read", "drop"):
        assert CliRunner().invoke(app, ["users", "token", root, "maria", "--for", word, "--may", word]).exit_code == 0
    assert CliRunner().invoke(app, ["users", "token", root, "maria", "--for", "x", "--may", "sign"]).exit_code == 2
    with laboratory.database.read() as reading:
        made = live_credentials(reading, name="maria", kind=CredentialKind.TOKEN, now=utc_now())
    assert {one.label: one.scope for one in made} == {"read": Scope.READ, "drop": Scope.DROP}
