from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.lab.folders import LabFolder
from flows.server import Announcement, prefect_server

USE_IT = """
import sys
from pathlib import Path
from biomarkers.lab.folders import LabFolder
from flows.server import prefect_server
with prefect_server(LabFolder(root=Path(sys.argv[1]))) as url:
    print(url)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LabFolder]:
    before = dict(os.environ)
    yield LabFolder(root=tmp_path)
    os.environ.clear()
    os.environ.update(before)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_dead_server_is_replaced_a_live_one_shared_and_the_last_user_stops_it(folder: LabFolder) -> None:
    home = folder.orchestration
    home.mkdir()
    Announcement(url="http://127.0.0.1:1/api", pid=4194999, lasting=False).write(home / "server.json")
    with prefect_server(folder) as url:
        assert answers(url)
        announced = Announcement.read(home / "server.json")
        assert announced is not None
        assert (announced.url, announced.lasting) == (url, False)
        other = subprocess.run([sys.executable, "-c", USE_IT, str(folder.root)], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == url
        assert answers(url), "the one who came second stopped the server under the first"
    assert not answers(url)
    assert not (home / "server.json").exists()


def test_an_unreadable_announcement_is_none(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    assert Announcement.read(path) is None
    path.write_text('{"url": ')
    assert Announcement.read(path) is None
