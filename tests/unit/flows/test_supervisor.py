"""Services are started, restarted when they die, stopped together, and never run twice on one machine."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from biomarkers.errors import LabFolderError, TemporarilyUnavailableError
from biomarkers.lab.folders import LabFolder
from flows.supervisor import Service, Supervisor, only_one


def service(name: str, program: str, *words: str) -> Service:
    return Service(name=name, command=[sys.executable, "-c", program, *words], announce="runs")


def running(
    folder: Path,
    services: Sequence[Service],
    until: Callable[[], bool],
    *,
    server: Callable[[], str] | None = None,
    is_well: Callable[[str], bool] = bool,
) -> list[str]:
    said: list[str] = []
    stop = threading.Event()
    supervisor = Supervisor(LabFolder(root=folder), services, server=server, is_well=is_well, say=said.append)
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 30
    while not until() and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
    return said


def test_a_service_that_dies_is_started_again_and_said_so(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.open('a').write('x'); sys.exit(7)"
    said = running(tmp_path, [service("short", program, str(count))], lambda: count.exists() and len(count.read_text()) >= 2)
    assert any(line.split()[:2] == ["short", "died"] and "status 7" in line for line in said)


def test_services_are_stopped_with_the_supervisor(tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    program = (
        "import signal, sys, time, pathlib\n"
        "def end(*_):\n    pathlib.Path(sys.argv[1]).write_text('asked'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\npathlib.Path(sys.argv[2]).write_text('up')\ntime.sleep(60)"
    )
    up = tmp_path / "up"
    said = running(tmp_path, [service("long", program, str(mark), str(up))], up.exists)
    assert mark.read_text() == "asked"
    assert said[-1].split() == ["long", "stopped"]


def test_what_a_service_says_is_kept_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "talker.log"
    running(
        tmp_path,
        [service("talker", "print('good morning', flush=True); import time; time.sleep(60)")],
        lambda: log.exists() and "good morning" in log.read_text(),
    )
    assert "good morning" in log.read_text()


def test_a_server_that_does_not_start_is_tried_again(tmp_path: Path) -> None:
    attempts: list[float] = []

    def server() -> str:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise TemporarilyUnavailableError(what="It did not start.", where="Here.", remedy="Wait.")
        return "http://127.0.0.1:1/api"

    said = running(tmp_path, [], lambda: len(attempts) == 2, server=server)
    assert [line.split()[:2] for line in said] == [
        ["server", "starting"],
        ["server", "failed"],
        ["server", "starting"],
        ["server", "running"],
    ]


def test_two_supervisors_of_one_laboratory_do_not_run_on_one_machine(tmp_path: Path) -> None:
    folder = LabFolder(root=tmp_path)
    with only_one(folder), pytest.raises(LabFolderError, match="already up on this machine"), only_one(folder):
        pass
    with only_one(folder):
        pass
