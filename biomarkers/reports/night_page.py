"""The page of a night's work: what was done, what needs a person, what is due and missing, and whether all is sound.

Knows the record of a night. Must not know how the work was done. No arm and nothing identifying comes here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from biomarkers.reports.page import environment


@dataclass(frozen=True, slots=True, kw_only=True)
class NightStep:
    """One piece of a night's work; ``verdict`` is ok, warning or failed."""

    name: str
    verdict: str
    what: str
    remedy: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How many subject-visits of an assay stand at each status."""

    assay: str
    count_by_status: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A night's work."""

    study_id: str
    began_at: datetime
    ended_at: datetime
    software: str
    steps: tuple[NightStep, ...]
    waiting: tuple[str, ...]
    completeness: tuple[Completeness, ...]
    audit_entries: int
    audit_head: str

    @property
    def verdict(self) -> str:
        """The worst of the steps' verdicts."""
        found = {step.verdict for step in self.steps}
        return "failed" if "failed" in found else "warning" if "warning" in found else "ok"

    @property
    def sentence(self) -> str:
        """The night in one sentence."""
        troubled = [step for step in self.steps if step.verdict != "ok"]
        if not troubled:
            return "All is well."
        return "; ".join(f"{step.name}: {step.what}" for step in troubled)


def night_page(night: Night) -> str:
    """Draw the page: one file, no script, nothing fetched."""
    statuses = list(dict.fromkeys(status for row in night.completeness for status in row.count_by_status))
    page = environment().get_template("night.html").render(night=night, statuses=statuses, title=_title(night))
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


def _title(night: Night) -> str:
    return f"Night of {night.began_at:%Y-%m-%d}"


def night_markdown(night: Night) -> str:
    """Write the same for Prefect's page, shortly."""
    lines = [
        f"# {_title(night)}: {night.verdict}",
        "",
        night.sentence,
        "",
        "| step | verdict | what | seconds |",
        "|---|---|---|---|",
    ]
    lines += [f"| {step.name} | {step.verdict} | {_cell(step.what)} | {step.seconds:.1f} |" for step in night.steps]
    lines += ["", f"Audit trail: {night.audit_entries} entries, head `{night.audit_head}`."]
    return "\n".join(lines) + "\n"


def night_json(night: Night) -> str:
    """Write the same for machines."""
    return json.dumps(
        {
            "study": night.study_id,
            "began_at": night.began_at.isoformat(),
            "ended_at": night.ended_at.isoformat(),
            "verdict": night.verdict,
            "steps": [
                {"name": s.name, "verdict": s.verdict, "what": s.what, "remedy": s.remedy, "seconds": round(s.seconds, 3)}
                for s in night.steps
            ],
            "waiting": len(night.waiting),
            "completeness": {row.assay: row.count_by_status for row in night.completeness},
            "audit": {"entries": night.audit_entries, "head": night.audit_head},
        },
        indent=1,
    )


def tell_shortly(nights: Sequence[Night]) -> str:
    """Write what a notification says: counts and verdicts alone, for it leaves the laboratory."""
    return "\n".join(
        f"{night.study_id}, night of {night.began_at:%Y-%m-%d}: {night.verdict}. "
        + ", ".join(f"{step.name} {step.verdict}" for step in night.steps)
        for night in nights
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
