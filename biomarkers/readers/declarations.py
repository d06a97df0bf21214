"""TOML declarations (study, panels, stain protocols, settings) into their types.

Knows how a TOML file's faults are told: all at once, each with its key. Must not know what any declaration means.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from biomarkers.errors import Fault, StudyDefinitionError

Declared = TypeVar("Declared", bound=BaseModel)

LARGEST_DECLARATION_BYTES = 1_000_000
"""A declaration is written by hand; anything larger is some other file."""


def read_declaration(path: Path, kind: type[Declared]) -> Declared:
    """Read and validate a TOML file.

    Raises
    ------
    StudyDefinitionError
        The file is absent, is not TOML, or says something its kind does not allow; all faults are reported together.
    """
    try:
        if path.stat().st_size > LARGEST_DECLARATION_BYTES:
            raise StudyDefinitionError(
                what=f"The declaration is larger than {LARGEST_DECLARATION_BYTES} bytes.",
                where=f"File '{path.name}'.",
                remedy="Check that this is the file you meant.",
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyDefinitionError(
            what=f"The declaration cannot be read: {error}.",
            where=f"File '{path.name}'.",
            remedy="Check the file's name, rights and that it is UTF-8 text.",
        ) from error
    return parse_declaration(text, kind, name=path.name)


def parse_declaration(text: str, kind: type[Declared], *, name: str) -> Declared:
    """Validate the text of a TOML file; ``name`` is the file's name for messages.

    Raises
    ------
    StudyDefinitionError
        As for :func:`read_declaration`.
    """
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own is a ValueError; so are numbers of thousands of digits
        raise StudyDefinitionError(
            what=f"The file is not valid TOML: {error}.", where=f"File '{name}'.", remedy="Mend the line named."
        ) from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise StudyDefinitionError.gathered(
            Fault(
                where=f"File '{name}', {_key(fault['loc'])}.",
                what=f"{fault['msg'].removeprefix('Value error, ')}.",
                remedy="Correct this entry.",
            )
            for fault in error.errors()
        ) from error


def _key(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if path else part
    return f"entry '{path}'" if path else "as a whole"
