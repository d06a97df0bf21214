"""What every test may ask for."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real instrument files beside the project (looked for {folder.name} in ../shared)")
    return folder


class PostgresServer:
    """A PostgreSQL server of the tests' own, on a free port of the loopback address, gone with the session."""

    def __init__(self, *, programs: Path, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        # The server refuses to run as root; the distribution's packages bring a user for it.
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = folder / "data"
        self._run(str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        self._log = (folder / "server.log").open("wb")
        self._server = subprocess.Popen(
            [*self._prefix, str(programs / "postgres"), "-D", str(data), *(part for one in settings for part in ("-c", one))],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._names = itertools.count(1)
        self._wait_until_ready()

    def _run(self, *command: str) -> None:
        subprocess.run([*self._prefix, *command], cwd=self.folder, check=True, capture_output=True, timeout=120)

    def _wait_until_ready(self) -> None:
        psycopg = pytest.importorskip("psycopg")
        for _ in range(300):
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._server.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "server.log").read_text())

    def url(self, database: str, *, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        psycopg = pytest.importorskip("psycopg")
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def new_database(self, *, template: str = "template0") -> str:
        """Make a database and return its name."""
        name = f"lab_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def stop(self) -> None:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # at once: nothing of it is kept
        self._server.wait(timeout=60)
        self._log.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server once for all tests; skip where its programs are absent."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("postgres")
    programs = found[-1].parent if found else Path(on_path).parent if on_path else None
    if programs is None or not (programs / "initdb").is_file():
        pytest.skip("no PostgreSQL server's programs (looked in /usr/lib/postgresql and on the path)")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser to become another")
    # pytest's own folders belong to root alone, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    try:
        server = PostgresServer(programs=programs, folder=folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
