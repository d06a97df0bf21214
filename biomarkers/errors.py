"""The one exception hierarchy.

Knows how a fault is told to a person: what happened, where, what to do. Must not know who prints it: terminal, quarantine
note, web page and flow artifact all print the same three parts.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One thing that is wrong, at one place, with the way to mend it.

    Attributes
    ----------
    where
        The place in the words of its reader: file, line, well, channel.
    what
        What happened, values in quotes and with units.
    remedy
        What the reader can do about it.
    """

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.where, self.remedy) if part)


class BiomarkersError(Exception):
    """Root of every error this package raises on purpose.

    Parameters
    ----------
    what, where, remedy
        The three parts of the message, each a sentence with a full stop.
    faults
        All faults of one source when there are several; ``what``, ``where`` and ``remedy`` then summarise them.
    """

    is_transient: ClassVar[bool] = False

    def __init__(self, *, what: str, where: str = "", remedy: str = "", faults: Sequence[Fault] = ()) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.faults: tuple[Fault, ...] = tuple(faults) or (Fault(what=what, where=where, remedy=remedy),)
        super().__init__(" ".join(part for part in (what, where, remedy) if part))

    @classmethod
    def gathered(cls, faults: Iterable[Fault]) -> Self:
        """Make one error of all faults of one source, sorted by place."""
        ordered = tuple(sorted(faults))
        if not ordered:
            raise ValueError("an error needs at least one fault")
        if len(ordered) == 1:
            only = ordered[0]
            return cls(what=only.what, where=only.where, remedy=only.remedy)
        return cls(
            what=f"{len(ordered)} things are wrong. " + " ".join(str(fault) for fault in ordered),
            faults=ordered,
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default reduction, and errors cross process borders.
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.faults)


def _rebuild(kind: type[BiomarkersError], what: str, where: str, remedy: str, faults: tuple[Fault, ...]) -> BiomarkersError:
    return kind(what=what, where=where, remedy=remedy, faults=faults)


class StudyDefinitionError(BiomarkersError):
    """The trial, a panel, a stain protocol, a layout or the laboratory's settings are declared wrongly."""


class IdentifierError(BiomarkersError):
    """An accession, subject or plate id does not fit the study's pattern or is not known."""


class UnknownAccessionError(IdentifierError):
    """A file names an accession the specimen list does not hold; it is tried again when a new list arrives."""


class SourceFileError(BiomarkersError):
    """A dropped file cannot be read as what it claims to be."""


class WaitingForFileError(BiomarkersError):
    """A file is sound but needs another one beside it, such as an export its plate map."""


class AssayError(BiomarkersError):
    """The measurements in a sound file do not allow a number to be given."""


class CurveFitError(AssayError):
    """A calibration curve cannot be fitted or used."""


class GatingError(AssayError):
    """A population cannot be gated."""


class StainError(AssayError):
    """Stains cannot be separated or scored."""


class LabFolderError(BiomarkersError):
    """The folder is not a laboratory, or cannot be made one."""


class StoreError(BiomarkersError):
    """The store refuses or contradicts itself."""


class TemporarilyUnavailableError(BiomarkersError):
    """Something outside is busy or away for the moment: a locked database, a share, a server."""

    is_transient: ClassVar[bool] = True


_OF_THE_MACHINE = frozenset(
    {
        *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        *(errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.ENETDOWN, errno.EHOSTDOWN),
    }
)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error goes back to a disk, a share or a limit of this machine, of which no file is guilty."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
