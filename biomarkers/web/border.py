"""What stands around every request: which hosts are answered, how much is read, which headers go out.

Knows the border. Must not know who asks or what for. Written against ASGI itself, so that bodies stream through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, MutableMapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biomarkers.web.passwords import csrf_token, new_secret
from biomarkers.web.requests_counted import Counted

GREATEST_BODY = 256 * 1024
"""Forms and JSON are small; only the upload of a file streams, and counts its bytes itself."""

UPLOAD_PATHS = ("/inbox/", "/api/v1/inbox/")

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-src 'self'; "
    "frame-ancestors 'none'"
)
"""Pages run their own script and style files alone; nothing inline, nothing from anywhere else."""

EVIDENCE_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Reports are single files with their style inside: shown as documents without script, forms, cookies or an origin."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Border:
    """The outermost layer.

    Parameters
    ----------
    hosts
        Names under which the pages are reached; any other is refused, or a foreign site could point its own name here and
        read what a loopback page shows.
    trusted_proxies
        Addresses whose word on the outer scheme is taken.
    on_fault
        Answers where a page failed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        trusted_proxies: Collection[str],
        counted: Counted,
        cookie_mark: str,
        on_fault: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._trusted = frozenset(trusted_proxies)
        self._counted = counted
        self._mark = cookie_mark
        self._on_fault = on_fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, started = time.perf_counter(), 500, False
        headers = Headers(scope=scope)
        secure = self._is_secure(scope, headers)
        visit = self._visit(scope, headers, secure=secure)

        async def out(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                self._dress(message, scope, secure=secure, visit=visit)
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, out)
                return
            await self._app(scope, self._limited(scope, receive), out)
        except ClientDisconnect:
            if not started:  # cut off here for its length, or really gone and nobody reads this
                await PlainTextResponse("The request is too large, or broke off.\n", 413)(scope, receive, out)
        except Exception as error:  # the outermost border: it answers, and the handler logs what happened
            if started:
                raise
            await self._on_fault(Request(scope), error)(scope, receive, out)
        finally:
            self._counted.add(scope["method"], status, time.perf_counter() - began)

    def _is_secure(self, scope: Scope, headers: Headers) -> bool:
        client = scope.get("client")
        if client is not None and client[0] in self._trusted and "x-forwarded-proto" in headers:
            return headers["x-forwarded-proto"] == "https"
        return bool(scope.get("scheme") == "https")

    def _visit(self, scope: MutableMapping[str, object], headers: Headers, *, secure: bool) -> str:
        """Note the visit's secret, which forms before login are bound to; return a new one where the browser has none."""
        name = cookie_name(self._mark, "visit", secure=secure)
        given = cookies(headers).get(name, "")
        secret = given if 20 <= len(given) <= 100 else new_secret()
        scope["visit_csrf"] = csrf_token(secret)
        scope["secure"] = secure
        return "" if secret == given else f"{name}={secret}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host = (urlsplit(f"//{headers.get('host', '')}").hostname or "") if _is_plain(headers.get("host", "")) else ""
        if host not in self._hosts:
            return PlainTextResponse("This name is not one of this server's; lab.toml lists them under [web] hosts.\n", 421)
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return PlainTextResponse("Content-Length is no number.\n", 400)
        if int(length) > GREATEST_BODY and not scope["path"].startswith(UPLOAD_PATHS):
            return PlainTextResponse("The request is too large.\n", 413)
        if scope["method"] not in SAFE_METHODS and not self._is_own(headers):
            return PlainTextResponse("The request comes from another site.\n", 403)
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a changing request comes from our own pages, as far as the browser says; scripts say nothing."""
        if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        return origin is None or (origin != "null" and urlsplit(origin).netloc.lower() == headers.get("host", "").lower())

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        if scope["path"].startswith(UPLOAD_PATHS):
            return receive
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # A body that grows past the limit without having said so is treated as one that broke off.
            return message if taken <= GREATEST_BODY else {"type": "http.disconnect"}

        return limited

    @staticmethod
    def _dress(message: Message, scope: Scope, *, secure: bool, visit: str) -> None:
        headers = MutableHeaders(raw=message["headers"])
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("content-security-policy", PAGE_POLICY)
        if "x-frame-options" not in headers and "frame-ancestors 'self'" not in headers["content-security-policy"]:
            headers["x-frame-options"] = "DENY"
        headers.setdefault("cache-control", "no-store")
        if secure:
            headers["strict-transport-security"] = "max-age=31536000"
        if visit and headers.get("content-type", "").startswith("text/html") and not scope["path"].startswith("/static/"):
            headers.append("set-cookie", visit)
        message["headers"] = headers.raw


def cookies(headers: Headers) -> dict[str, str]:
    """Read the cookies of a request; what cannot be read as cookies is none."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def cookie_name(mark: str, kind: str, *, secure: bool) -> str:
    """Name a cookie; over TLS the prefix lets no other host set it."""
    return f"{'__Host-' if secure else ''}biomarkers-{mark}-{kind}"


def _is_plain(host: str) -> bool:
    return bool(host) and all(character.isalnum() or character in ".-:[]_" for character in host)
