"""One's own account: password and tokens for scripts; and who else has one.

Knows the visitor's own credentials. Must not change anybody else's: that is done at the command line.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.provenance import utc_now
from biomarkers.store import users
from biomarkers.store.users import CredentialKind, Scope
from biomarkers.web.access import RIGHTS, Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.pages.login import checked_account
from biomarkers.web.passwords import new_secret, secret_digest
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Own = Annotated[Visitor, Depends(Needs(Right.SELF))]
TOKEN_DAYS = 365


@router.get("/account")
def show(request: Request, visitor: Own) -> Response:
    """Show rights, tokens and the form for a new password."""
    return _page(request, visitor)


def _page(request: Request, visitor: Visitor, *, secret: str = "", said: str = "") -> Response:
    site = site_of(request)
    with site.laboratory.database.read() as reading:
        tokens = users.live_credentials(reading, name=visitor.name, kind=CredentialKind.TOKEN, now=utc_now())
    rights = sorted(right.value for right in RIGHTS[visitor.role])
    return site.page("account.html", request, visitor, tokens=tokens, rights=rights, secret=secret, said=said)


@router.post("/account/tokens")
def make_token(request: Request, visitor: Own, form: OwnForm) -> Response:
    """Make a token for a script; it is shown once."""
    label = form.get("label", "").strip()[:100]
    if not label:
        raise RequestRefusedError(status=400, what="A token needs a name.", remedy="Write which script it is for.")
    try:
        scope = Scope(form.get("scope", Scope.ALL.value))
    except ValueError as error:
        raise RequestRefusedError(
            status=400, what="There is no such scope.", remedy="Choose what the script may do from the list."
        ) from error
    secret, now = new_secret(), utc_now()
    with site_of(request).laboratory.database.write() as transaction:
        users.begin_credential(
            transaction,
            token_digest=secret_digest(secret),
            kind=CredentialKind.TOKEN,
            name=visitor.name,
            label=label,
            scope=scope,
            began_at=now,
            ends_at=now + timedelta(days=TOKEN_DAYS),
        )
    return _page(request, visitor, secret=secret)


@router.post("/account/tokens/end")
def end_token(request: Request, visitor: Own, form: OwnForm) -> Response:
    """End one of one's own tokens."""
    site, digest = site_of(request), form.get("token", "")
    with site.laboratory.database.write() as transaction:
        own = users.live_credentials(transaction, name=visitor.name, kind=CredentialKind.TOKEN, now=utc_now())
        if digest not in {one.token_digest for one in own}:
            raise RequestRefusedError(status=404, what="You have no such token.", remedy="Load the page again.")
        users.end_credential(
            transaction, token_digest=digest, ended_at=utc_now(), ended_by=visitor.name, reason="ended by its owner"
        )
    return RedirectResponse("/account", 303)


@router.post("/account/password")
def change_password(request: Request, visitor: Own, form: OwnForm) -> Response:
    """Change one's own password, with the old one."""
    site = site_of(request)
    account = checked_account(site, request, name=visitor.name, password=form.get("old", ""))
    if account is None:
        raise RequestRefusedError(status=403, what="The old password does not fit.", remedy="Try again.")
    if form.get("new", "") != form.get("again", ""):
        raise RequestRefusedError(status=400, what="The new password was written in two ways.", remedy="Write it twice alike.")
    with site.laboratory.database.write() as transaction:
        users.save_account(
            transaction,
            name=account.name,
            full_name=account.full_name,
            role=account.role,
            password_hash=site.passwords.hashed(form.get("new", ""), name=account.name),
            active=True,
            recorded_at=utc_now(),
            recorded_by=visitor.name,
            reason="changed by its owner",
        )
    return _page(request, visitor, said="Your password was changed.")


@router.get("/people")
def people(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.PEOPLE))]) -> Response:
    """List accounts and what each role may do."""
    site = site_of(request)
    with site.laboratory.database.read() as reading:
        found = users.all_accounts(reading)
    return site.page("people.html", request, visitor, accounts=found, rights_by_role=RIGHTS)
