"""Why a request is refused, in the three parts every message has.

Knows statuses. Must not know how a refusal is shown.
"""

from __future__ import annotations

from biomarkers.errors import BiomarkersError


class RequestRefusedError(BiomarkersError):
    """A request that is not answered as asked, with the status that says so."""

    def __init__(self, *, status: int, what: str, where: str = "", remedy: str = "", retry_after: int = 0) -> None:
        super().__init__(what=what, where=where, remedy=remedy)
        self.status = status
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        """Take the refusal apart for another process."""
        return _again, (self.status, self.what, self.where, self.remedy, self.retry_after)


def _again(status: int, what: str, where: str, remedy: str, retry_after: int) -> RequestRefusedError:
    return RequestRefusedError(status=status, what=what, where=where, remedy=remedy, retry_after=retry_after)


def nothing_here(what: str) -> RequestRefusedError:
    """Say that there is nothing at an address."""
    return RequestRefusedError(status=404, what=what, remedy="Go back and follow a link from a page.")
