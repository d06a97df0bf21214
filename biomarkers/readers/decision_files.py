"""Decisions as a file: one JSON document a line, with who, when and why.

Knows the keys of a line. Must not know what a decision does.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from biomarkers.errors import Fault, SourceFileError

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class DecisionLine(BaseModel):
    """One decision: about wells of a run, a result, or a run that somebody signed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["wells", "result", "run"]
    about: _Text
    what: Literal["masked", "unmasked", "reportable", "repeated", "excluded", "reviewed", "released"]
    reason: str
    decided_by: _Text
    decided_at: AwareDatetime
    wells: tuple[_Text, ...] = ()
    digest: str = ""
    full_name: str = ""


def read_decisions(path: Path) -> tuple[DecisionLine, ...]:
    """Read a file of decisions.

    Raises
    ------
    SourceFileError
        With every line that cannot be read.
    """
    lines: list[DecisionLine] = []
    faults: list[Fault] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(DecisionLine.model_validate_json(text))
        except ValidationError as error:
            said = error.errors()[0]
            where = ".".join(str(part) for part in said["loc"])
            faults.append(
                Fault(
                    what=f"The line is no decision: {said['msg']}{f' ({where})' if where else ''}.",
                    where=f"File '{path.name}', line {number}.",
                    remedy="Use a file that 'biomarkers decisions export' or a release has written.",
                )
            )
    if faults:
        raise SourceFileError.gathered(faults)
    return tuple(lines)


def decision_text(
    *,
    kind: str,
    about: str,
    what: str,
    reason: str,
    decided_by: str,
    decided_at: datetime,
    wells: tuple[str, ...],
    digest: str,
    full_name: str,
) -> str:
    """Write a decision as a line, with its keys in their order, those that are empty left out."""
    always = {"kind": kind, "about": about, "what": what, "reason": reason, "decided_by": decided_by}
    more = {"wells": list(wells), "digest": digest, "full_name": full_name}
    told = {**always, "decided_at": decided_at.isoformat(), **{key: value for key, value in more.items() if value}}
    return json.dumps(told, ensure_ascii=False) + "\n"
