"""Who asks: by session, token, a proxy's header, or as the technician at this machine.

Knows how a request proves who sent it, and that every address names the right it needs. Must not know what a page shows.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getuser
from typing import Annotated, Protocol, TypeAlias
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from biomarkers.provenance import utc_now
from biomarkers.store import users
from biomarkers.store.users import CredentialKind, Role, Scope
from biomarkers.web.access import Right, Visitor
from biomarkers.web.border import SAFE_METHODS, cookie_name, cookies
from biomarkers.web.passwords import csrf_token, secret_digest
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import IDLE_MINUTES, Site, csrf_of, site_of

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host")

Fields: TypeAlias = Mapping[str, str]


def visitor_of(request: Request) -> Visitor | None:
    """Tell who asks, found out once a request; None where nothing proves it."""
    if not hasattr(request.state, "found_visitor"):
        request.state.found_visitor = _found(request)
    found: Visitor | None = request.state.found_visitor
    return found


def _found(request: Request) -> Visitor | None:
    site = site_of(request)
    authorization = request.headers.get("authorization", "")
    if authorization:
        scheme, _, secret = authorization.partition(" ")
        return _by_secret(site, secret.strip(), CredentialKind.TOKEN) if scheme.lower() == "bearer" else None
    found = _by_header(site, request)
    if found is not None:
        return found
    secret = cookies(request.headers).get(session_cookie(site, request), "")
    if secret:
        found = _by_secret(site, secret, CredentialKind.SESSION)
    return found or _by_loopback(site, request)


def session_cookie(site: Site, request: Request) -> str:
    """Name the cookie that holds a session."""
    return cookie_name(site.cookie_mark, "session", secure=bool(request.scope.get("secure")))


def _by_secret(site: Site, secret: str, kind: CredentialKind) -> Visitor | None:
    digest = secret_digest(secret)
    if kind is CredentialKind.SESSION and _is_idle(site, digest):
        return None
    with site.laboratory.database.read() as reading:
        held = users.live_credential(reading, token_digest=digest, now=utc_now())
        account = None if held is None or held.kind is not kind else users.find_account(reading, name=held.name)
    if account is None or not account.active:
        return None
    if kind is CredentialKind.SESSION:
        site.last_seen[digest] = time.monotonic()
    return Visitor(
        name=account.name,
        full_name=account.full_name,
        role=account.role,
        by="session" if kind is CredentialKind.SESSION else "token",
        csrf=csrf_token(secret) if kind is CredentialKind.SESSION else "",
        scope=Scope.ALL if held is None else held.scope,
    )


def _is_idle(site: Site, digest: str) -> bool:
    seen = site.last_seen.get(digest)
    return seen is not None and time.monotonic() - seen > 60 * IDLE_MINUTES


def _by_header(site: Site, request: Request) -> Visitor | None:
    """Believe a proxy that has checked the person itself, where lab.toml names header and proxy."""
    web = site.laboratory.settings.web
    client = request.client
    if not web.login_header or client is None or client.host not in web.trusted_proxies:
        return None
    name = request.headers.get(web.login_header, "")
    if not name:
        return None
    with site.laboratory.database.read() as reading:
        account = users.find_account(reading, name=name)
    if account is None or not account.active:
        return None
    return Visitor(
        name=account.name,
        full_name=account.full_name,
        role=account.role,
        by="header",
        csrf=str(request.scope.get("visit_csrf", "")),
    )


def _by_loopback(site: Site, request: Request) -> Visitor | None:
    """Let whoever sits at this machine in as technician while there are no accounts; never through a proxy."""
    client = request.client
    if not site.open_to_technician or client is None or client.host not in LOOPBACK:
        return None
    if (request.url.hostname or "") not in LOOPBACK or any(name in request.headers for name in FORWARDED):
        return None
    with site.laboratory.database.read() as reading:
        if users.has_accounts(reading):
            return None
    return Visitor(
        name=getuser(),
        full_name=getuser(),
        role=Role.TECHNICIAN,
        by="loopback",
        csrf=str(request.scope.get("visit_csrf", "")),
    )


@dataclass(frozen=True, slots=True)
class Needs:
    """The right an address needs; as a dependency it gives the visitor who has it, and refuses everyone else."""

    right: Right

    def __call__(self, request: Request) -> Visitor:
        """Return the visitor."""
        visitor = visitor_of(request)
        request.state.visitor = visitor
        if visitor is None:
            raise RequestRefusedError(
                status=401,
                what="Nobody is logged in.",
                remedy="Log in; an operator makes accounts with 'biomarkers users add'.",
            )
        if not visitor.may(self.right):
            raise RequestRefusedError(
                status=403,
                what=f"This needs the right to {self.right.value}.",
                where=f"Role '{visitor.role.value}'.",
                remedy="Log in: this is put on record in a person's name. An operator adds people with 'biomarkers users'."
                if visitor.by == "loopback"
                else "Ask an operator for another role if your work needs it.",
            )
        if request.method not in SAFE_METHODS and visitor.by != "token" and "x-csrf-token" in request.headers:
            require_csrf(request, visitor, request.headers["x-csrf-token"])
        return visitor


class Open(Protocol):
    """What everyone may have: the login page, and files of style and script."""

    def __call__(self, request: Request) -> Visitor | None:
        """Return the visitor, if any."""


def open_to_all(request: Request) -> Visitor | None:
    """Say of an address that it needs no right; give the visitor, if there is one."""
    visitor = visitor_of(request)
    request.state.visitor = visitor
    return visitor


def require_csrf(request: Request, visitor: Visitor | None, given: str) -> None:
    """Refuse a change that does not carry what our own page was given."""
    expected = csrf_of(request, visitor)
    if not expected or not secrets.compare_digest(expected.encode(), given.encode()):
        raise RequestRefusedError(
            status=403,
            what="The page is too old, or the form is not ours.",
            remedy="Load the page again and repeat what you did.",
        )


def require_header_csrf(request: Request) -> None:
    """Ask of a change sent by script that it carries the page's word, unless a token that no other site has came with it."""
    visitor: Visitor | None = getattr(request.state, "visitor", None) or visitor_of(request)
    if visitor is None or visitor.by != "token":
        require_csrf(request, visitor, request.headers.get("x-csrf-token", ""))


async def form_fields(request: Request) -> Fields:
    """Read a form's fields, the last of each name; several of one name are joined by spaces."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise RequestRefusedError(status=415, what="This is no form.", remedy="Use the page's own form.")
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise RequestRefusedError(status=400, what="The form cannot be read.", remedy="Load the page again.") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]} {value}" if name in fields else value
    return fields


def own_form(request: Request, fields: Annotated[Fields, Depends(form_fields)]) -> Fields:
    """Give a form's fields, once it is proven to be from our own page."""
    visitor = visitor_of(request)
    require_csrf(request, visitor, fields.get("csrf", ""))
    return fields


OwnForm: TypeAlias = Annotated[Fields, Depends(own_form)]
