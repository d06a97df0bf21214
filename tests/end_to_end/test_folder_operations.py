"""Whatever people do in an inbox between sweeps, held against a plain model of it: no bytes lost, changed or taken twice.

Files are dropped, grow, are renamed, replaced, deleted and dropped again, in any order, and sweeps fall between.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from nursery import Nursery

from biomarkers.laboratory import create_laboratory, open_lab

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped

NAMES = ("P1", "P2", "P3")
ENDINGS = (".txt", ".map.csv")
PLATES = 2


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Folder(RuleBasedStateMachine):
    """An inbox for plates as people use it, beside a dictionary that says what should be where."""

    children: Nursery
    template: Path
    plates: tuple[tuple[bytes, bytes], ...]

    @initialize()
    def lab(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.root = self.place / "lab"
        shutil.copytree(self.template, self.root)
        self.inbox = self.root / "inbox" / "elisa"
        self.lying: dict[str, bytes] = {}
        self.accepted: set[str] = set()
        self.gone: Counter[str] = Counter()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)

    def _write(self, name: str, content: bytes) -> None:
        draft = self.inbox / f".{name}.part"
        draft.write_bytes(content)
        draft.replace(self.inbox / name)
        self.lying[name] = content

    @rule(name=st.sampled_from(NAMES), plate=st.integers(0, PLATES - 1), with_map=st.booleans())
    def drop(self, name: str, plate: int, *, with_map: bool) -> None:
        """Drop a plate, alone or with its map; over a file of its name that lies there, it replaces it."""
        export, plate_map = self.plates[plate]
        self._write(f"{name}.txt", export)
        if with_map:
            self._write(f"{name}.map.csv", plate_map)

    @rule(
        name=st.sampled_from(NAMES),
        ending=st.sampled_from(ENDINGS),
        content=st.sampled_from([b"", b"No plate.\n", b"\x00\xff"]),
    )
    def drop_nonsense(self, name: str, ending: str, content: bytes) -> None:
        self._write(name + ending, content)

    @precondition(lambda self: self.lying)
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lying)))
        with (self.inbox / name).open("ab") as file:
            file.write(b"more\n")
        self.lying[name] += b"more\n"

    @precondition(lambda self: self.lying)
    @rule(data=st.data(), to=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.lying)))
        new = to + name[name.index(".") :]
        (self.inbox / name).rename(self.inbox / new)
        self.lying[new] = self.lying.pop(name)

    @precondition(lambda self: self.lying)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lying)))
        (self.inbox / name).unlink()
        del self.lying[name]

    @precondition(lambda self: self.lying)
    @rule()
    def sweep(self) -> None:
        """Sweep; what lay there is then kept under its digest, and still waits or has gone to done or quarantine, once."""
        code = self.children.sweep(self.root)
        assert code == 0, (self.root / "child.log").read_text()[-3000:]
        self.accepted |= {digest(content) for content in self.lying.values()}
        still = {path.name: path.read_bytes() for path in self.inbox.iterdir()}
        assert still.items() <= self.lying.items()
        self.gone.update(digest(content) for name, content in self.lying.items() if name not in still)
        self.lying = still

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        if not hasattr(self, "root"):
            return
        assert {path.name: path.read_bytes() for path in self.inbox.iterdir()} == self.lying
        settled = [
            path
            for folder in ("done", "quarantine")
            for path in (self.root / folder).rglob("*")
            if path.is_file() and not path.name.endswith(".reason.txt")
        ]
        assert Counter(digest(path.read_bytes()) for path in settled) - self.before == self.gone
        kept = {path.name: digest(path.read_bytes()) for path in (self.root / "raw").glob("*/*/*")}
        assert all(name == found for name, found in kept.items())
        assert self.accepted <= set(kept)
        with closing(sqlite3.connect(self.root / "lab.db")) as connection:
            runs, distinct = connection.execute(
                "SELECT count(*), count(DISTINCT run_id) FROM analysis WHERE step = '' AND NOT EXISTS"
                " (SELECT 1 FROM supersession WHERE old_analysis_id = analysis.analysis_id)"
            ).fetchone()
            open_jobs = connection.execute(
                "SELECT count(*) FROM job WHERE finished_at IS NOT NULL AND acknowledged_at IS NULL"
            ).fetchone()
        assert runs == distinct
        assert open_jobs == (0,)

    @property
    def before(self) -> Counter[str]:
        """What had been put away before anybody touched the inbox: the lists of the study."""
        return Counter(digest(path.read_bytes()) for path in (self.template / "done").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, small_study: Dropped, children: Nursery) -> type[Folder]:
    """Make the model's laboratory: it knows the study's lists, and takes files at once."""
    root = tmp_path_factory.mktemp("template") / "lab"
    create_laboratory(root).close()
    settings_file = root / "lab.toml"
    settings_file.write_text(settings_file.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
    for file in (small_study.inbox / "study").iterdir():
        shutil.copyfile(file, root / "inbox" / "study" / file.name)
    assert children.sweep(root) == 0
    with open_lab(root) as laboratory:
        assert laboratory.verify_audit().is_whole
    bad = {Path(file.name).stem for file in small_study.study.bad_files}
    exports = [
        path
        for path in sorted((small_study.inbox / "elisa").glob("*.txt"))
        if path.stem not in bad and path.with_name(f"{path.stem}.map.csv").is_file()
    ][:PLATES]
    assert len(exports) == PLATES

    class FolderOfTheStudy(Folder):
        template = root
        plates = tuple((path.read_bytes(), path.with_name(f"{path.stem}.map.csv").read_bytes()) for path in exports)

    FolderOfTheStudy.children = children
    return FolderOfTheStudy


def run(machine: type[Folder], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(600)
def test_an_inbox_loses_changes_and_doubles_nothing_whatever_people_do(machine: type[Folder]) -> None:
    run(machine, examples=12, steps=12)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_an_inbox_loses_changes_and_doubles_nothing_in_a_thousand_histories(machine: type[Folder]) -> None:
    run(machine, examples=1000, steps=25)
