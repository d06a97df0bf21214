"""What is looked at before a dropped file is taken in: whether its name or its own words tell who a subject is.

Knows the laboratory's policy and what follows from a finding. Must not repeat what was found: a file of an identifying name is
given another before any record, log or notification names it, and a refused file's bytes never reach the archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from biomarkers.errors import BiomarkersError, SourceFileError
from biomarkers.lab.inbox import DroppedFile, stem
from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import content_digest
from biomarkers.readers.free_texts import file_name_text
from biomarkers.store.jobs import Reason
from biomarkers.study.identifying import REMEDY, Handling, Identifying, identifying

WITHHELD = "name-withheld-"
"""A file whose own name was identifying bears a name that begins so, in its inbox and in quarantine."""


MOST_PLACES = 6
"""Places told; whoever mends these finds the others."""


class IdentifyingDataError(SourceFileError):
    """A file holds what tells who a subject is, and the laboratory refuses such files."""


def renamed(laboratory: Laboratory, files: Iterable[DroppedFile]) -> tuple[DroppedFile, ...]:
    """Give files of identifying names another one, where the laboratory refuses such names.

    Done before the flow run begins, so that no record names them. Safe to repeat: a file so named is refused by that name.
    """
    return tuple(_renamed(laboratory, file) for file in files)


def _renamed(laboratory: Laboratory, file: DroppedFile) -> DroppedFile:
    if not any(_refuses(laboratory, found) for found in _in_name(laboratory, file.name)):
        return file
    ending = file.name[len(stem(file.name)) :]
    ending = ending if len(ending) <= 12 and ending.isascii() and "_" not in ending else ""
    path = file.path.with_name(f"{WITHHELD}{content_digest([file.size, file.mtime_ns, file.inode])[:8]}{ending}")
    try:
        if not path.exists():
            file.path.rename(path)
    except OSError:
        return file  # gone, or not ours to rename: it is refused under its name
    return file._replace(name=path.name)


def judge(laboratory: Laboratory, file: DroppedFile, written: Iterable[Identifying]) -> Reason:
    """Decide on a file by its name and by what was found written in it; return the note that goes with one let through.

    Raises
    ------
    IdentifyingDataError
        With every place at once, and nothing of what stands there.
    """
    if is_withheld(file):
        raise IdentifyingDataError(
            what="The file's name held what looks like a person's name, a date of birth or a hospital's number.",
            where=f"It lies in quarantine as '{file.name}' in place of its own name.",
            remedy="Drop it again under a name that holds the accession or plate alone.",
        )
    found = [*_in_name(laboratory, file.name), *written]
    refused = [one for one in found if _refuses(laboratory, one)]
    if refused:
        raise IdentifyingDataError(**_told(refused))
    flagged = [one for one in found if _handling(laboratory, one) is Handling.FLAG]
    return Reason(**_told(flagged), error_kind=IdentifyingDataError.__name__) if flagged else Reason()


def is_withheld(file: DroppedFile) -> bool:
    """Whether a file bears another name because its own was identifying."""
    return file.name.startswith(WITHHELD)


def refused_name(laboratory: Laboratory, name: str) -> BiomarkersError | None:
    """Tell why a file's name is refused, without it; None where it is not."""
    refused = [one for one in _in_name(laboratory, name) if _refuses(laboratory, one)]
    return IdentifyingDataError(**_told(refused)) if refused else None


def _in_name(laboratory: Laboratory, name: str) -> list[Identifying]:
    text = file_name_text(Path(stem(name)).name)
    return list(identifying([text], laboratory.settings.identifying, laboratory.definition.identifiers))


def _handling(laboratory: Laboratory, found: Identifying) -> Handling:
    settings = laboratory.settings.identifying
    return settings.certain if found.is_certain else settings.possible


def _refuses(laboratory: Laboratory, found: Identifying) -> bool:
    return _handling(laboratory, found) is Handling.REFUSE


class _Told(TypedDict):
    what: str
    where: str
    remedy: str


def _told(found: Sequence[Identifying]) -> _Told:
    """Tell what was found in three sentences: of what kind, where, what to do; never what it is."""
    looks = list(dict.fromkeys(one.kind for one in found if one.is_certain))
    may = list(dict.fromkeys(one.kind for one in found if not one.is_certain))
    said = [f"holds what looks like {' and '.join(looks)}"] * bool(looks) + [f"may hold {' and '.join(may)}"] * bool(may)
    places = list(dict.fromkeys(one.where.rstrip(".") for one in found))
    more = f"; and {len(places) - MOST_PLACES} more places" if len(places) > MOST_PLACES else ""
    first, *others = places[:MOST_PLACES]
    where = "; ".join([first, *(f"{place[0].lower()}{place[1:]}" for place in others)])
    return {"what": f"The file {' and '.join(said)}.", "where": f"{where}{more}.", "remedy": REMEDY}
