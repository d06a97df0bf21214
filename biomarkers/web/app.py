"""The application: every page and address put together, and what happens when one fails.

Knows which modules have pages. Must not know what they show.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import resources
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from biomarkers.errors import BiomarkersError, TemporarilyUnavailableError
from biomarkers.laboratory import Laboratory
from biomarkers.provenance import bytes_digest
from biomarkers.web import api, api_proposals, metrics
from biomarkers.web.border import Border
from biomarkers.web.identity import LOOPBACK, Needs, open_to_all
from biomarkers.web.pages import (
    account,
    audit,
    board,
    charts,
    completeness,
    evidence,
    home,
    login,
    manual,
    nights,
    pathology,
    proposals,
    runs,
    slides,
    statistics,
    timepoints,
    uploads,
)
from biomarkers.web.passwords import Passwords
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import Renew, Site, site_of

log = logging.getLogger(__name__)

PAGES = (
    home,
    login,
    account,
    board,
    uploads,
    timepoints,
    evidence,
    runs,
    slides,
    pathology,
    statistics,
    proposals,
    charts,
    completeness,
    audit,
    nights,
    manual,
    api,
    api_proposals,
    metrics,
)

STATIC = {
    "app.css": "text/css; charset=utf-8",
    "figures.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "slide.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


files = APIRouter(include_in_schema=False)


def create_app(
    laboratory: Laboratory,
    *,
    host: str = "127.0.0.1",
    passwords: Passwords | None = None,
    renew: Renew | None = None,
) -> FastAPI:
    """Make the pages of one laboratory.

    Parameters
    ----------
    host
        The address they are served on; only on loopback may somebody without an account come in, as a technician, as long as
        the laboratory has no accounts.
    renew
        Starts computing a run again, given its run_id and why.
    """
    web = laboratory.settings.web
    is_loopback = host in LOOPBACK
    site = Site(
        laboratory=laboratory,
        passwords=passwords or Passwords(),
        open_to_technician=is_loopback and not web.login_header,
        renew=renew,
    )
    app = FastAPI(
        title="biomarkers",
        description="Files, results and decisions of one laboratory, under the same rights as its pages.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_closing(site),
    )
    app.state.site = site
    for page in PAGES:
        app.include_router(page.router)
    app.include_router(files)
    require_rights(addresses())
    app.add_exception_handler(BiomarkersError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_middleware(
        Border,
        hosts={*LOOPBACK, *web.hosts, *([] if host in {"0.0.0.0", "::"} else [host])},  # noqa: S104  - compared, not bound
        trusted_proxies=web.trusted_proxies,
        counted=site.counted,
        cookie_mark=site.cookie_mark,
        on_fault=_our_fault,
    )
    return app


def _closing(site: Site) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        site.slide_readers.submit(site.warm)
        yield
        site.close()

    return lifespan


OPEN_PATHS = frozenset({"/login", "/static/{name}", "/favicon.ico"})
"""All that is answered without a right; a test holds this list against the application."""


def addresses() -> tuple[APIRoute, ...]:
    """Return every address that is answered."""
    routers = (*(page.router for page in PAGES), files)
    found = [route for router in routers for route in router.routes]
    strange = [route for route in found if not isinstance(route, APIRoute)]
    if strange:
        raise TypeError(f"{strange} are no addresses of ours")
    return tuple(route for route in found if isinstance(route, APIRoute))


def require_rights(routes: Iterable[APIRoute]) -> None:
    """Refuse to serve while an address names no right: what nobody thought of is closed, not open."""
    for route in routes:
        if right_of(route) is None and route.path not in OPEN_PATHS:
            raise ValueError(f"{route.path} names no right")


def right_of(route: APIRoute) -> Needs | None:
    """Return the right an address needs."""
    return next((one.call for one in route.dependant.dependencies if isinstance(one.call, Needs)), None)


@files.get("/static/{name}")
def _static(name: str, request: Request) -> Response:
    kind = STATIC.get(name)
    if kind is None:
        raise RequestRefusedError(status=404, what="There is no such file.")
    place = (
        resources.files("biomarkers.reports") / "templates" / "style.html"
        if name == "figures.css"
        else resources.files("biomarkers.web") / "static" / name
    )
    content = place.read_bytes()
    tag = f'"{bytes_digest(content)[:16]}"'
    headers = {"cache-control": "no-cache", "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@files.get("/favicon.ico")
def _icon() -> Response:
    """Give the sign where a report asks for one: it has no origin of its own, so any may have it."""
    content = (resources.files("biomarkers.web") / "static" / "icon.svg").read_bytes()
    headers = {"cross-origin-resource-policy": "cross-origin", "cache-control": "max-age=86400"}
    return Response(content, media_type=STATIC["icon.svg"], headers=headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, BiomarkersError)
    status = (
        error.status
        if isinstance(error, RequestRefusedError)
        else 503
        if isinstance(error, TemporarilyUnavailableError)
        else 409
    )
    headers = {}
    if isinstance(error, RequestRefusedError) and error.retry_after:
        headers["retry-after"] = str(error.retry_after)
    if _is_api(request):
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        faults = [{"what": fault.what, "where": fault.where, "remedy": fault.remedy} for fault in error.faults]
        return JSONResponse({"errors": faults}, status, headers)
    if status == 401 and request.method in {"GET", "HEAD"}:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
    return _told(request, status, error, headers)


def _told(request: Request, status: int, error: BiomarkersError, headers: dict[str, str]) -> Response:
    site = site_of(request)
    visitor = getattr(request.state, "visitor", None) or open_to_all(request)
    page = site.page("refused.html", request, visitor, status=status, code=status, faults=error.faults)
    page.headers.update(headers)
    return page


def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: "There is no such page.", 405: "The page does not take this."}.get(error.status_code, "That is not possible.")
    return _refused(request, RequestRefusedError(status=error.status_code, what=told, remedy="Follow a link from a page."))


def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    where = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:10])
    return _refused(
        request, RequestRefusedError(status=422, what="The request cannot be read.", where=where, remedy="See the API's page.")
    )


def _our_fault(request: Request, error: Exception) -> Response:
    log.error("A page failed: %s", request.url.path, exc_info=error)
    return _refused(
        request,
        RequestRefusedError(
            status=500,
            what="Something went wrong inside the program.",
            remedy="Nothing was changed. An operator finds more in the log.",
        ),
    )


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/metrics", "/inbox/"))
