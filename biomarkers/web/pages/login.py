"""Logging in and out.

Knows forms and cookies. Must not know what lies behind the login.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.provenance import utc_now
from biomarkers.store import audit, users
from biomarkers.store.users import NAME_PATTERN, Account, CredentialKind
from biomarkers.web.access import Right, Visitor
from biomarkers.web.border import cookies
from biomarkers.web.identity import Needs, OwnForm, open_to_all, session_cookie
from biomarkers.web.passwords import new_secret, secret_digest
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import SESSION_HOURS, Site, site_of

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show(request: Request, next: str = "/") -> Response:  # noqa: A002  - the address's own word
    """Ask for name and password."""
    visitor = open_to_all(request)
    site = site_of(request)
    with site.laboratory.database.read() as reading:
        has_accounts = users.has_accounts(reading)
    return site.page("login.html", request, visitor, next=local(next), said="", has_accounts=has_accounts)


@router.post("/login")
def log_in(request: Request, form: OwnForm) -> Response:
    """Begin a session, or say that name and password do not fit, never which of them."""
    site = site_of(request)
    account = checked_account(site, request, name=form.get("name", "").strip().lower(), password=form.get("password", ""))
    following = local(form.get("next", "/"))
    if account is None:
        return site.page(
            "login.html",
            request,
            None,
            status=401,
            next=following,
            said="Name and password do not fit. Check both and try again.",
            has_accounts=True,
        )
    secret, now = new_secret(), utc_now()
    with site.laboratory.database.write() as transaction:
        users.begin_credential(
            transaction,
            token_digest=secret_digest(secret),
            kind=CredentialKind.SESSION,
            name=account.name,
            label="browser",
            began_at=now,
            ends_at=now + timedelta(hours=SESSION_HOURS),
        )
    site.last_seen[secret_digest(secret)] = time.monotonic()
    answer = RedirectResponse(following, 303)
    answer.set_cookie(
        session_cookie(site, request),
        secret,
        max_age=3600 * SESSION_HOURS,
        httponly=True,
        samesite="lax",
        secure=bool(request.scope.get("secure")),
    )
    return answer


@router.post("/logout")
def log_out(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.SELF))], _form: OwnForm) -> Response:
    """End the session."""
    site = site_of(request)
    cookie = session_cookie(site, request)
    secret = cookies(request.headers).get(cookie, "")
    with site.laboratory.database.write() as transaction:
        users.end_credential(
            transaction, token_digest=secret_digest(secret), ended_at=utc_now(), ended_by=visitor.name, reason="logged out"
        )
    site.last_seen.pop(secret_digest(secret), None)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie, secure=bool(request.scope.get("secure")), httponly=True, samesite="lax")
    return answer


def checked_account(site: Site, request: Request, *, name: str, password: str) -> Account | None:
    """Return the account a name and password fit; None where they do not.

    Raises
    ------
    RequestRefusedError
        Too many attempts failed of late; then not even the right password is looked at.
    """
    address = "" if request.client is None else request.client.host
    keys = ((site.by_name, name[:64]), (site.by_address, address))
    wait = max(limiter.wait_seconds(key) for limiter, key in keys)
    if wait > 0:
        raise RequestRefusedError(
            status=429,
            what="Too many attempts have failed.",
            remedy=f"Wait {int(wait // 60) + 1} minutes, then try again.",
            retry_after=int(wait) + 1,
        )
    account = None
    if NAME_PATTERN.fullmatch(name):
        with site.laboratory.database.read() as reading:
            account = users.find_account(reading, name=name)
    usable = account is not None and account.active
    if site.passwords.are_right(account.password_hash if account is not None and usable else None, password):
        site.by_name.succeeded(name[:64])
        return account
    for limiter, key in keys:
        limiter.failed(key)
    with site.laboratory.database.write() as transaction:
        audit.append(
            transaction,
            at=utc_now(),
            actor=audit.PROGRAM,
            action="login.failed",
            entity=name if NAME_PATTERN.fullmatch(name) else "a name that cannot be one",
            detail={"address": address},
        )
    return None


def local(address: str) -> str:
    """Return an address if it lies on this site, else the first page: nobody is sent elsewhere after login."""
    is_ours = (
        address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable() and "\\" not in address
    )
    return address if is_ours else "/"
