"""`biomarkers serve` and `biomarkers users`: the web pages, and who may use them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.laboratory import Laboratory
    from biomarkers.store.users import Account, Role

app = typer.Typer(no_args_is_help=True, help="Who may use the web pages.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.command("serve")(serve)
    parent.add_typer(app, name="users")


def serve(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    host: str | None = typer.Option(None, "--host", help="Address to listen on; lab.toml's, by default this machine alone."),
    port: int | None = typer.Option(None, "--port", min=0, max=65535, help="Port to listen on; lab.toml's if left out."),
) -> None:
    """Serve the web pages until stopped."""
    import threading

    import uvicorn

    from biomarkers.errors import StoreError
    from biomarkers.laboratory import open_lab
    from biomarkers.store.users import has_accounts
    from biomarkers.web.app import create_app
    from biomarkers.web.identity import LOOPBACK

    with open_lab(lab) as laboratory:
        web = laboratory.settings.web
        at, on = host or web.host, web.port if port is None else port
        if at not in LOOPBACK:
            with laboratory.database.read() as reading:
                if not has_accounts(reading):
                    raise StoreError(
                        what="The laboratory has no accounts, so its pages are served on this machine alone.",
                        where=f"Address '{at}'.",
                        remedy="Make accounts with 'biomarkers users add', or serve on 127.0.0.1.",
                    )
            say(f"The pages are reachable from other machines at {at}. Put a proxy with TLS before them.")
        pages = create_app(laboratory, host=at, renew=_Renewing(lab))
        # The first reader should not wait for a table that can be made while they type the address.
        threading.Thread(target=pages.state.site.table.current, daemon=True).start()
        say(f"Pages of '{laboratory.definition.study.id}': http://{at}:{on}/")
        # What a proxy says of address and scheme is read by the pages themselves, from proxies lab.toml names.
        uvicorn.run(pages, host=at, port=on, log_level="warning", access_log=False, server_header=False, proxy_headers=False)


class _Renewing:
    """Starts computing a run again in a process of its own, so that pages stay quick."""

    def __init__(self, lab: Path) -> None:
        self._lab = lab.resolve()

    def __call__(self, run_id: str, why: str) -> None:
        """Start it."""
        import subprocess

        subprocess.Popen(  # noqa: S603  - our own interpreter, no shell
            [sys.executable, "-m", "biomarkers.cli.renewal", str(self._lab), run_id, why],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )


@app.command("add")
def add(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    name: str = typer.Argument(..., help="The login: small letters, digits and . _ @ -"),
    *,
    role: str = typer.Option(..., "--role", help="technician, reviewer, scientist, unblinded_scientist, auditor or operator."),
    full_name: str = typer.Option("", "--full-name", help="As signatures show it; the login if left out."),
    password_stdin: bool = typer.Option(False, "--password-stdin", help="Read the password from standard input."),
) -> None:
    """Make an account; asks for its password."""
    from biomarkers.errors import StoreError
    from biomarkers.laboratory import open_lab
    from biomarkers.store.users import find_account

    chosen = _role(role)
    with open_lab(lab) as laboratory:
        with laboratory.database.read() as reading:
            if find_account(reading, name=name) is not None:
                raise StoreError(
                    what="There is an account of this name.", where=f"User '{name}'.", remedy="Use 'biomarkers users change'."
                )
        password_hash = _hashed(name, password_stdin=password_stdin)
        _save(laboratory, name, full_name or name, chosen, password_hash, active=True, reason="added")
    say(f"'{name}' is {chosen.value}.")


@app.command("change")
def change(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    name: str = typer.Argument(..., help="The login."),
    *,
    role: str = typer.Option("", "--role", help="A new role."),
    full_name: str = typer.Option("", "--full-name", help="A new name for signatures."),
    password: bool = typer.Option(False, "--password", help="Ask for a new password."),
    password_stdin: bool = typer.Option(False, "--password-stdin", help="Read a new password from standard input."),
    close: bool = typer.Option(False, "--close", help="Nobody comes in with this account any more."),
    reopen: bool = typer.Option(False, "--reopen", help="The account can be used again."),
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
) -> None:
    """Change an account's role, name or password, or close it; what stood before stays on record."""
    from biomarkers.laboratory import open_lab

    if not reason.strip() or (close and reopen):
        raise typer.BadParameter("--reason must say why, and an account is either closed or reopened.")
    with open_lab(lab) as laboratory:
        account = _account(laboratory, name)
        password_hash = account.password_hash
        if password or password_stdin:
            password_hash = _hashed(name, password_stdin=password_stdin)
        _save(
            laboratory,
            name,
            full_name or account.full_name,
            _role(role) if role else account.role,
            password_hash,
            active=not close and (reopen or account.active),
            reason=reason.strip(),
        )
    say(f"'{name}' was changed.")


@app.command("list")
def show(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """List the accounts."""
    from biomarkers.laboratory import open_lab
    from biomarkers.store.users import all_accounts

    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        found = all_accounts(reading)
    if as_json:
        print_json(
            {
                "users": [
                    {"name": one.name, "full_name": one.full_name, "role": one.role.value, "active": one.active}
                    for one in found
                ]
            }
        )
        return
    print_table(
        ["name", "full name", "role", "state"],
        [(one.name, one.full_name, one.role.value, "active" if one.active else "closed") for one in found],
    )


@app.command("token")
def token(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    name: str = typer.Argument(..., help="Whose rights the script has."),
    *,
    label: str = typer.Option(..., "--for", help="What the token is for."),
    days: int = typer.Option(365, "--days", min=1, max=3650, help="For how long it lets the script in."),
    may: str = typer.Option("all", "--may", help="How much of these rights it has: all, read, or drop (files)."),
) -> None:
    """Make a token for a script and print it, this once."""
    from datetime import timedelta

    from biomarkers.laboratory import open_lab
    from biomarkers.provenance import utc_now
    from biomarkers.store.users import CredentialKind, Scope, begin_credential
    from biomarkers.web.passwords import new_secret, secret_digest

    if may not in list(Scope):
        raise typer.BadParameter(f"--may is one of {', '.join(Scope)}.")

    with open_lab(lab) as laboratory:
        _account(laboratory, name)
        secret, now = new_secret(), utc_now()
        with laboratory.database.write() as transaction:
            begin_credential(
                transaction,
                token_digest=secret_digest(secret),
                kind=CredentialKind.TOKEN,
                name=name,
                label=label,
                scope=Scope(may),
                began_at=now,
                ends_at=now + timedelta(days=days),
            )
    typer.echo(secret)


def _role(word: str) -> Role:
    from biomarkers.store.users import Role

    try:
        return Role(word.replace("-", "_"))
    except ValueError as error:
        raise typer.BadParameter(f"--role is one of {', '.join(role.value for role in Role)}.") from error


def _hashed(name: str, *, password_stdin: bool) -> str:
    from biomarkers.web.passwords import Passwords

    password = (
        sys.stdin.readline().rstrip("\r\n")
        if password_stdin
        else str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    )
    return Passwords().hashed(password, name=name)


def _account(laboratory: Laboratory, name: str) -> Account:
    from biomarkers.errors import StoreError
    from biomarkers.store.users import find_account

    with laboratory.database.read() as reading:
        found = find_account(reading, name=name)
    if found is None:
        raise StoreError(
            what="There is no account of this name.", where=f"User '{name}'.", remedy="See 'biomarkers users list'."
        )
    return found


def _save(
    laboratory: Laboratory, name: str, full_name: str, role: Role, password_hash: str, *, active: bool, reason: str
) -> None:
    from getpass import getuser

    from biomarkers.provenance import utc_now
    from biomarkers.store.users import save_account

    with laboratory.database.write() as transaction:
        save_account(
            transaction,
            name=name,
            full_name=full_name,
            role=role,
            password_hash=password_hash,
            active=active,
            recorded_at=utc_now(),
            recorded_by=getuser(),
            reason=reason,
        )
