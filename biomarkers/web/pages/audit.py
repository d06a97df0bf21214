"""The audit trail: browsed backwards, verified from its first entry.

Knows entries. Must not change any.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from biomarkers.reports.page import Parameter, flat_parameters
from biomarkers.store import audit as trail
from biomarkers.store import lookups
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
ON_A_PAGE = 100


@router.get("/audit")
def audit(
    request: Request,
    visitor: Annotated[Visitor, Depends(Needs(Right.AUDIT))],
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    action: Annotated[str, Query(max_length=60)] = "",
    *,
    verify: bool = False,
) -> Response:
    """Show entries, the newest first; and walk along the whole chain where asked."""
    site = site_of(request)
    with site.laboratory.database.read() as reading:
        events = lookups.latest_events(reading, before=before, action=action, limit=ON_A_PAGE)
        head = trail.head(reading)
    return site.page(
        "audit.html",
        request,
        visitor,
        events=[(event, _told(event)) for event in events],
        head=head,
        verdict=site.laboratory.verify_audit() if verify else None,
        action=action,
        before=before,
        more=events[-1].number if len(events) == ON_A_PAGE else None,
    )


def _told(event: trail.AuditEvent) -> tuple[Parameter, ...]:
    """Spread what an entry holds out into a line each; nothing where it holds nothing."""
    return flat_parameters(json.dumps(event.detail, ensure_ascii=False)) if event.detail else ()
