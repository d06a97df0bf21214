"""A laboratory's own Prefect server: found if one is running, else started, and stopped by the last who needs it.

Knows the server's process and the file that announces it. Its database is telemetry, never a record: it can be removed at any
time, and nothing of the laboratory is lost. Does not import Prefect itself, so that the environment is set before anyone does.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.lab.folders import LabFolder

STARTUP_SECONDS = 180.0
"""A server on a loaded machine was seen to need 75 seconds."""

STOP_SECONDS = 10.0

_OWN_SERVERS: dict[int, subprocess.Popen[bytes]] = {}
"""Servers this process started, so that their end can be waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What server.json says.

    Attributes
    ----------
    lasting
        Whether the server was started to stay; a passing one is stopped by the last command that used it.
    """

    url: str
    pid: int
    lasting: bool

    def write(self, path: Path) -> None:
        """Announce the server; whole or not at all."""
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"url": self.url, "pid": self.pid, "lasting": self.lasting}), encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Announcement | None:
        """Return the announcement, or None where there is none that can be read."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(url=str(content["url"]), pid=int(content["pid"]), lasting=bool(content["lasting"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def environment(folder: LabFolder) -> dict[str, str]:
    """Return the settings under which Prefect keeps to the laboratory's folder and says nothing to the outside."""
    return {
        "PREFECT_HOME": str(folder.orchestration),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder.orchestration / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
        # A server that is gone is given up after 6 seconds a request; by its default a client asks for a minute, each time.
        "PREFECT_CLIENT_MAX_RETRIES": "2",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_MEMO_STORE_PATH": str(folder.orchestration / "memo_store.toml"),
    }


@contextmanager
def prefect_server(folder: LabFolder, *, shared: str = "") -> Iterator[str]:
    """Have a Prefect server for as long as the block runs; yields the URL of its API.

    A live server named in ``.prefect/server.json`` is used, whoever started it. Otherwise one is started in a process group of
    its own, so that a signal to the command does not reach it first. A passing server is stopped by the last command using it.

    Parameters
    ----------
    shared
        Address of the API of a server that several machines share; it is used as it is, and never started or stopped here.

    Raises
    ------
    TemporarilyUnavailableError
        No server answers in time. Dropped files wait in their inboxes meanwhile.
    """
    home = folder.orchestration
    home.mkdir(exist_ok=True)
    os.environ.update(environment(folder))
    if shared:
        _require_answer(shared)
        os.environ["PREFECT_API_URL"] = shared
        yield shared
        return
    with (home / "users.lock").open("a") as users:
        with _exclusive(home / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            announced = _live(home) or _start(folder, lasting=False)
        os.environ["PREFECT_API_URL"] = announced.url
        try:
            yield announced.url
        finally:
            with _exclusive(home / "start.lock"):
                if _is_last(users):
                    _stop_passing(home)


def lasting_server(folder: LabFolder, *, port: int) -> Announcement:
    """Return the laboratory's live server, or start one that stays, with Prefect's own page, on the port if it is free.

    Raises
    ------
    TemporarilyUnavailableError
        No server answers in time.
    """
    home = folder.orchestration
    home.mkdir(exist_ok=True)
    with _exclusive(home / "start.lock"):
        return _live(home) or _start(folder, lasting=True, port=port)


def stop_lasting_server(folder: LabFolder) -> None:
    """Stop the server that :func:`lasting_server` started, or what is left of it."""
    home = folder.orchestration
    with _exclusive(home / "start.lock"):
        announced = Announcement.read(home / "server.json")
        if announced is not None and announced.lasting:
            _end_group(announced.pid)
            (home / "server.json").unlink(missing_ok=True)


def answers(url: str) -> bool:
    """Whether a Prefect server answers at the URL of its API."""
    return _answers(url, seconds=5.0)


def _require_answer(url: str) -> None:
    if not answers(url):
        raise TemporarilyUnavailableError(
            what="The Prefect server that several machines share does not answer.",
            where=f"lab.toml, [orchestration] api_url = '{url}'.",
            remedy="Start it, or correct the address; dropped files wait in their inboxes.",
        )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_last(users: object) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except BlockingIOError:
        return False
    return True


def _live(home: Path) -> Announcement | None:
    announced = Announcement.read(home / "server.json")
    if announced is None:
        return None
    if _answers(announced.url, seconds=5.0):
        return announced
    _end_group(announced.pid)
    (home / "server.json").unlink(missing_ok=True)
    return None


def _start(folder: LabFolder, *, lasting: bool, port: int = 0) -> Announcement:
    home = folder.orchestration
    _end_orphans(home)
    port = _free_port(port)
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    if not lasting:
        command.append("--no-ui")
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  - our own interpreter, no shell, no outside words
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment(folder), **_of_its_page(url)},
        )
    _OWN_SERVERS[process.pid] = process
    announced = Announcement(url=url, pid=process.pid, lasting=lasting)
    announced.write(home / "server.json")
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if _answers(url, seconds=2.0):
            return announced
        if process.poll() is not None:
            break
        time.sleep(0.1)
    _end_group(process.pid)
    (home / "server.json").unlink(missing_ok=True)
    raise TemporarilyUnavailableError(
        what="The Prefect server did not start.",
        where=f"Its log is '{home / 'server.log'}'.",
        remedy="Look at the end of the log, then try again; dropped files wait in their inboxes.",
    )


def _of_its_page(url: str) -> dict[str, str]:
    """Return the settings of Prefect's own page: by its default it asks port 4200, whichever port serves it."""
    return {"PREFECT_SERVER_UI_API_URL": url, "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}


def _stop_passing(home: Path) -> None:
    announced = Announcement.read(home / "server.json")
    if announced is None or announced.lasting:
        return
    _end_group(announced.pid)
    (home / "server.json").unlink(missing_ok=True)


def _answers(url: str, *, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:  # noqa: S310  - our own loopback URL
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            # A server that was just stopped leaves connections behind that block its port for a minute otherwise.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody else has the wanted port
            return int(probe.getsockname()[1])
    raise TemporarilyUnavailableError(
        what="No free port was found for the Prefect server.", where="127.0.0.1.", remedy="Try again in a moment."
    )


def _end_group(pid: int) -> None:
    """End a server's process group, if the process of that number still is a Prefect server."""
    if not _is_prefect(pid):
        return
    for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if _is_gone(pid):
                return
            time.sleep(0.05)


def _end_orphans(home: Path) -> None:
    """End servers of this laboratory that nobody announced: their starter was killed between the two steps."""
    mark = f"PREFECT_HOME={home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"server" in words and mark in (process / "environ").read_bytes().split(b"\0"):
                _end_group(int(process.name))
        except OSError:
            continue  # not ours to look at, or gone meanwhile


def _is_prefect(pid: int) -> bool:
    try:
        return b"prefect" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_gone(pid: int) -> bool:
    own = _OWN_SERVERS.get(pid)
    if own is not None:
        return own.poll() is not None
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
