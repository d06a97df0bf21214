"""Everything a laboratory needs on one machine: started, watched over, restarted when it dies, and stopped together.

Knows processes and when to start them again. Must not know what they do; imports neither Prefect nor any science, so that it
costs nothing while it waits.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from biomarkers.errors import BiomarkersError, LabFolderError
from biomarkers.lab.folders import LabFolder

LOOK_SECONDS = 1.0
HEALTH_SECONDS = 15.0
"""How often the Prefect server is asked whether it is well."""

UNWELL_TIMES = 3
"""A server that does not answer this often in a row is started anew."""

WAIT_BEFORE_RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Before the first, second, ... restart in a row; what ran for longer than the last of these begins again with the first."""

STOP_SECONDS = 20.0
LOG_BYTES = 5_000_000
"""A service's log is begun anew at its start when it has grown beyond this; one older log is kept."""

Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Service:
    """A process that is kept running.

    Attributes
    ----------
    announce
        Says in a few words what the service offers, once it has started.
    """

    name: str
    command: Sequence[str]
    announce: str
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    start_after: float = 0.0

    def start(self, logs: Path) -> None:
        """Start the process in a group of its own, its words going to its log."""
        path = logs / f"{self.name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  - our own interpreter, no shell, no outside words
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        self.started_at = time.monotonic()

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        process = self.process
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(STOP_SECONDS)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
            break
        self.process = None


class Supervisor:
    """Keeps a laboratory's services running until told to stop.

    Parameters
    ----------
    server
        Brings the Prefect server up, or finds it running; returns its address. None where another machine runs it.
    is_well
        Whether the server of that address answers.
    say
        Told one line for each change of a service.
    """

    def __init__(
        self,
        folder: LabFolder,
        services: Sequence[Service],
        *,
        server: Callable[[], str] | None,
        is_well: Callable[[str], bool],
        say: Say,
    ) -> None:
        self._logs = folder.logs
        self._services = services
        self._server = server
        self._is_well = is_well
        self._say = say
        self._address = ""
        self._asked_at = 0.0
        self._unwell = 0
        self._server_restarts = 0

    def run(self, stop: threading.Event) -> None:
        """Start everything, keep it running, and stop it in the opposite order when the event is set."""
        self._logs.mkdir(exist_ok=True)
        try:
            while not self._server_is_up(stop):
                if stop.wait(LOOK_SECONDS):
                    return
            while not stop.is_set():
                for service in self._services:
                    self._keep(service)
                self._look_after_server(stop)
                stop.wait(LOOK_SECONDS)
        finally:
            for service in reversed(self._services):
                if service.process is not None:
                    service.stop()
                    self._say(_line(service.name, "stopped", ""))

    def _server_is_up(self, stop: threading.Event) -> bool:
        """Bring the server up; what goes wrong is said and tried again."""
        if self._server is None:
            return True
        try:
            self._say(_line("server", "starting", "this may take a minute on a busy machine"))
            self._address = self._server()
        except BiomarkersError as error:
            pause = WAIT_BEFORE_RESTART_SECONDS[min(self._server_restarts, len(WAIT_BEFORE_RESTART_SECONDS) - 1)]
            self._server_restarts += 1
            self._say(_line("server", "failed", f"{error}; tried again in {pause:g} s"))
            stop.wait(pause)
            return False
        self._asked_at = time.monotonic()
        self._unwell = 0
        self._say(_line("server", "running", self._address.removesuffix("/api")))
        return True

    def _look_after_server(self, stop: threading.Event) -> None:
        now = time.monotonic()
        if self._server is None or now - self._asked_at < HEALTH_SECONDS / (2 if self._unwell else 1):
            return
        self._asked_at = now
        if self._is_well(self._address):
            self._unwell = self._server_restarts = 0
            return
        self._unwell += 1
        if self._unwell >= UNWELL_TIMES:
            self._say(_line("server", "died", "it does not answer; started again"))
            self._server_is_up(stop)

    def _keep(self, service: Service) -> None:
        now = time.monotonic()
        if service.process is not None:
            code = service.process.poll()
            if code is None:
                return
            if now - service.started_at > WAIT_BEFORE_RESTART_SECONDS[-1]:
                service.restarts = 0
            pause = WAIT_BEFORE_RESTART_SECONDS[min(service.restarts, len(WAIT_BEFORE_RESTART_SECONDS) - 1)]
            service.restarts += 1
            service.process, service.start_after = None, now + pause
            self._say(_line(service.name, "died", f"with status {code}; started again in {pause:g} s, see {service.name}.log"))
        if now >= service.start_after:
            service.start(self._logs)
            self._say(_line(service.name, "running", service.announce))


def _line(name: str, state: str, detail: str) -> str:
    return f"{name:12} {state:9} {detail}".rstrip()


@contextmanager
def only_one(folder: LabFolder) -> Iterator[None]:
    """Let one supervisor at a time run a laboratory on this machine; the lock goes with the process, however that ends.

    Raises
    ------
    LabFolderError
        Another one runs.
    """
    path = folder.root / f".up.{socket.gethostname()}.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise LabFolderError(
                what="The laboratory is already up on this machine.",
                where=f"Process {lock.read().strip() or 'unknown'}, folder '{folder.root}'.",
                remedy="Use the one that runs, or stop it first.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
