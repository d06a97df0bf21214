"""The laboratory's folder: where everything lies, and the settings in lab.toml.

Knows paths and their creation. Must not know what a file means, nor the store behind the database URL.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from biomarkers.errors import LabFolderError
from biomarkers.results import Assay
from biomarkers.study.identifying import IdentifyingPolicy

STUDY_INBOX = "study"
"""Name of the inbox, and of the kind, of the study's own lists."""

INBOXES = (*(assay.value for assay in Assay), STUDY_INBOX)


class Instrument(BaseModel):
    """A subfolder of an inbox that one instrument writes into."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Annotated[str, StringConstraints(pattern=r"^[^/\\.][^/\\]*$")]
    kind: Assay


class WebSettings(BaseModel):
    """Where the web pages are served, under which names, and whose word on who somebody is they take.

    ``login_header`` names the header in which a reverse proxy at one of ``trusted_proxies`` gives the login it has checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    hosts: tuple[str, ...] = ()
    login_header: Annotated[str, StringConstraints(pattern=r"^$|^[A-Za-z][A-Za-z0-9-]*$")] = ""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")


class ComputeSettings(BaseModel):
    """How heavy arithmetic is spread, and what one computation may take.

    ``processes`` run on this machine, 0 meaning one for each processor; where ``scheduler`` names a Dask scheduler, its workers
    compute instead. ``memory_mb_for_a_process`` limits the data of each process, ``seconds_for_a_file`` the time of a file or
    of a slide's tile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: Annotated[int, Field(ge=0, le=256)] = 0
    scheduler: Annotated[str, StringConstraints(pattern=r"^$|^(tcp|tls|ucx)://\S+$")] = ""
    memory_mb_for_a_process: Annotated[int, Field(ge=512)] = 4096
    seconds_for_a_file: Annotated[float, Field(gt=0)] = 600.0


class NightlySettings(BaseModel):
    """When the nightly work runs, in the laboratory's time zone, and where its backups go.

    Hours in which clocks change are refused: between 1 and 3 in the morning a night may have two such moments, or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "04:15"
    backup_folder: str = "backups"
    backups_kept: Annotated[int, Field(ge=1, le=3650)] = 14
    notify_webhook: Annotated[str, StringConstraints(pattern=r"^$|^https?://\S+$")] = ""
    notify_email: str = ""
    smtp_host: str = "localhost"

    @field_validator("at")
    @classmethod
    def _outside_clock_changes(cls, value: str) -> str:
        if "01:00" <= value <= "03:00":
            raise ValueError(f"'{value}' lies where clocks are changed; choose a time outside 01:00 to 03:00")
        return value


class OrchestrationSettings(BaseModel):
    """The Prefect server: empty for the laboratory's own on this machine, else the API of one shared by several machines.

    With a ``work_pool``, each machine on which the laboratory runs is a worker of that pool, and one of them does the night.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    work_pool: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    api_url: Annotated[str, StringConstraints(pattern=r"^$|^https?://\S+/api$")] = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 4200


class LabSettings(BaseModel):
    """What lab.toml says. Holds no path of its own laboratory, so that a laboratory can be moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_zone: str = "UTC"
    database_url: str = ""
    settling_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    instruments: tuple[Instrument, ...] = ()
    web: WebSettings = WebSettings()
    compute: ComputeSettings = ComputeSettings()
    nightly: NightlySettings = NightlySettings()
    orchestration: OrchestrationSettings = OrchestrationSettings()
    identifying: IdentifyingPolicy = IdentifyingPolicy()

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"'{value}' is no time zone; write one such as 'Europe/Vienna'") from error
        return value


DEFAULT_SETTINGS = """\
# Settings of this laboratory.

time_zone = "UTC"

# Empty: a SQLite database, lab.db, in this folder. A postgresql:// URL moves it to a server.
database_url = ""

# A dropped file is taken when it has not changed for this long; use 60 on network shares.
settling_seconds = 10

# Subfolders of an inbox that instruments write into:
# [[instruments]]
# name = "Plate reader 1"
# folder = "reader1"
# kind = "elisa"

[web]
host = "127.0.0.1"
port = 8765

[compute]
# Processes for heavy arithmetic; 0 means one for each processor.
processes = 0
# A Dask scheduler whose workers compute instead, such as "tcp://10.0.0.5:8786".
scheduler = ""

[nightly]
# Local time of the nightly work, and where its backups go: a folder of this laboratory, or better a path on another disk.
at = "04:15"
backup_folder = "backups"

[identifying]
# What becomes of a file that tells who a subject is: "refuse", "flag" or "accept". Certain is what has the form of a name, a
# date of birth or a hospital's number; possible another patient id than the study's, or a picture of a slide's label.
certain = "refuse"
possible = "flag"
# Regular expressions of your hospitals' numbers, such as '[0-9]{7}[A-Z]', and of texts that look identifying and are not.
numbers = []
allowed = []

[orchestration]
# Empty: a Prefect server of this laboratory's own. Several machines share one by its API's address, and a work pool of it.
api_url = ""
work_pool = ""
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFolder:
    """Paths of one laboratory."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """lab.toml."""
        return self.root / "lab.toml"

    @property
    def study_file(self) -> Path:
        """study.toml."""
        return self.root / "study.toml"

    @property
    def layouts(self) -> Path:
        """Plate layouts."""
        return self.root / "plate_layouts"

    @property
    def stain_protocols(self) -> Path:
        """The laboratory's own stain protocols, each going before the packaged one of its name."""
        return self.root / "stain_protocols"

    @property
    def panels(self) -> Path:
        """Gating templates."""
        return self.root / "panels"

    @property
    def raw(self) -> Path:
        """Original bytes by digest."""
        return self.root / "raw"

    @property
    def done(self) -> Path:
        """Dropped files whose results are committed."""
        return self.root / "done"

    @property
    def evidence(self) -> Path:
        """What can be remade from raw at any time, by run."""
        return self.root / "evidence"

    @property
    def work(self) -> Path:
        """Links under which files are read by their own names while they are worked on."""
        return self.root / ".work"

    @property
    def logs(self) -> Path:
        """What services say, and the structured log."""
        return self.root / "logs"

    @property
    def nights(self) -> Path:
        """Pages of the nightly work."""
        return self.root / "nights"

    @property
    def orchestration(self) -> Path:
        """Home of the orchestration server."""
        return self.root / ".prefect"

    @property
    def database_file(self) -> Path:
        """The SQLite database, where no other database is configured."""
        return self.root / "lab.db"

    @property
    def arms_file(self) -> Path:
        """The separate store of allocations, where no other database is configured."""
        return self.root / "arms.db"

    def inbox(self, kind: str) -> Path:
        """Return the inbox of a kind: an assay's name or ``study``."""
        return self.root / "inbox" / kind

    def quarantine(self, kind: str) -> Path:
        """Return the quarantine of a kind: an assay's name or ``study``."""
        return self.root / "quarantine" / kind

    def database_url(self, settings: LabSettings) -> str:
        """Return the URL of the laboratory's database."""
        return settings.database_url or f"sqlite:///{self.database_file}"

    def is_laboratory(self) -> bool:
        """Whether the folder holds a laboratory."""
        return self.settings_file.is_file() and self.study_file.is_file()


def existing_lab(root: Path) -> LabFolder:
    """Return the paths of a laboratory that is there.

    Raises
    ------
    LabFolderError
        The folder is not a laboratory.
    """
    folder = LabFolder(root=root.expanduser().resolve())
    if not folder.is_laboratory():
        raise LabFolderError(
            what="This is not a laboratory: lab.toml or study.toml is missing.",
            where=f"Folder '{root}'.",
            remedy="Make one with 'biomarkers init', or name the right folder.",
        )
    return folder


def create_lab(root: Path, *, study: str, layouts: dict[str, str], panels: dict[str, str]) -> LabFolder:
    """Make a laboratory's folder with its settings and declarations.

    Parameters
    ----------
    study
        Text of study.toml.
    layouts, panels
        Texts of the files to start with, by file name.

    Raises
    ------
    LabFolderError
        Something is already there, or the folder cannot be written.
    """
    folder = LabFolder(root=root.expanduser().resolve())
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        if any(folder.root.iterdir()):
            raise LabFolderError(
                what="The folder is not empty, so no laboratory was made there.",
                where=f"Folder '{root}'.",
                remedy="Name a new folder.",
            )
        for kind in INBOXES:
            folder.inbox(kind).mkdir(parents=True)
            folder.quarantine(kind).mkdir(parents=True)
        for path in (folder.done, folder.raw, folder.evidence, folder.root / "releases", folder.layouts, folder.panels):
            path.mkdir()
        folder.stain_protocols.mkdir()
        for place, texts in ((folder.layouts, layouts), (folder.panels, panels)):
            for name, text in texts.items():
                (place / name).write_text(text, encoding="utf-8", newline="")
        folder.study_file.write_text(study, encoding="utf-8", newline="")
        # Last: its presence says that the laboratory is whole.
        folder.settings_file.write_text(DEFAULT_SETTINGS, encoding="utf-8")
    except OSError as error:
        raise LabFolderError(
            what=f"The laboratory cannot be made: {error.strerror}.",
            where=f"Folder '{root}'.",
            remedy="Check rights and space.",
        ) from error
    return folder


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable; without it a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
