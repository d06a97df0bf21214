"""What lies beside a slide as NAME.toml → :class:`~biomarkers.study.slides.SlideSidecar`, and back.

Knows how it is written. Must not know what follows from it.
"""

from __future__ import annotations

from pathlib import Path

from biomarkers.errors import SourceFileError, StudyDefinitionError
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.sign_offs import quoted
from biomarkers.study.slides import SlideSidecar


def read_slide_sidecar(path: Path) -> SlideSidecar:
    """Read a slide's sidecar.

    Raises
    ------
    SourceFileError
        With all that is wrong at once.
    """
    try:
        return read_declaration(path, SlideSidecar)
    except StudyDefinitionError as error:
        raise SourceFileError.gathered(error.faults) from error


def slide_sidecar_text(said: SlideSidecar) -> str:
    """Write a sidecar; what it does not say is left out."""
    lines = []
    for name, value in said.model_dump(mode="json", exclude_defaults=True).items():
        written = quoted(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f"{name} = {written}")
    return "\n".join(lines) + "\n"
