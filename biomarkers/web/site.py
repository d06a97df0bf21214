"""What every page works with: the laboratory, passwords, limits, templates.

Knows what is made once and shared by all requests. Must not know any page.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from biomarkers.errors import BiomarkersError
from biomarkers.lab.drafts import remove_unfinished_uploads
from biomarkers.laboratory import Laboratory
from biomarkers.provenance import content_digest
from biomarkers.web.access import Right, Visitor
from biomarkers.web.passwords import Limiter, Passwords
from biomarkers.web.requests_counted import Counted
from biomarkers.web.slides_kept import SlideKeeper
from biomarkers.web.table import TableKeeper
from biomarkers.web.templates_made import environment

SESSION_HOURS = 12
"""A working day; then everyone shows their password again."""

IDLE_MINUTES = 60
"""An unattended screen is locked after this."""

Renew = Callable[[str, str], None]


@dataclass(slots=True, kw_only=True)
class Site:
    """One laboratory's pages, being served.

    Attributes
    ----------
    open_to_technician
        Whether somebody at this machine may come in as a technician while the laboratory has no accounts.
    renew
        Starts computing a run again, given its run_id and why; None where whoever serves the pages cannot.
    slide_readers
        Threads that read slides at one time: many who look at slides leave threads for the pages.
    """

    laboratory: Laboratory
    passwords: Passwords
    open_to_technician: bool
    renew: Renew | None = None
    templates: Environment = field(default_factory=environment)
    by_name: Limiter = field(default_factory=lambda: Limiter(most=5, seconds=300, clock=time.monotonic))
    by_address: Limiter = field(default_factory=lambda: Limiter(most=20, seconds=300, clock=time.monotonic))
    last_seen: dict[str, float] = field(default_factory=dict)
    counted: Counted = field(default_factory=Counted)
    table: TableKeeper = field(init=False)
    slides: SlideKeeper = field(init=False)
    slide_readers: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="slides"))

    def __post_init__(self) -> None:
        self.table = TableKeeper(self.laboratory)
        self.slides = SlideKeeper(self.laboratory)

    def warm(self) -> None:
        """Make the timepoint table before somebody waits for it; what keeps it from being made is told to who asks for it.

        What a server that was killed had half received goes.
        """
        remove_unfinished_uploads(self.laboratory.folder)
        with contextlib.suppress(BiomarkersError):
            self.table.current()

    def close(self) -> None:
        """Let go of slides and the threads that read them, once nobody is served any more."""
        self.slide_readers.shutdown(wait=True, cancel_futures=True)
        self.slides.close()

    @property
    def cookie_mark(self) -> str:
        """Tells laboratories apart that are served from one machine: cookies know no port."""
        return content_digest(str(self.laboratory.folder.root))[:8]

    def page(
        self,
        template: str,
        request: Request,
        visitor: Visitor | None,
        *,
        status: int = 200,
        shown: Mapping[str, object] | None = None,
        **context: object,
    ) -> HTMLResponse:
        """Fill a template with what it shows and who looks at it."""
        given: Mapping[str, object] = {
            "visitor": visitor,
            "csrf": csrf_of(request, visitor),
            "Right": Right,
            "path": request.url.path,
            "study": self.laboratory.definition.study.id,
            "has_login": visitor is None or visitor.by == "session",
            **context,
            **(shown or {}),
        }
        return HTMLResponse(self.templates.get_template(template).render(given), status_code=status)


def csrf_of(request: Request, visitor: Visitor | None) -> str:
    """Return what forms on the page must carry."""
    return visitor.csrf if visitor is not None and visitor.csrf else str(request.scope.get("visit_csrf", ""))


def site_of(request: Request) -> Site:
    """Return the site a request belongs to."""
    site: Site = request.app.state.site
    return site
