"""Further scans of a recorded section: who waits, and what a person's word or the study's rule does to the first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

import pytest

from biomarkers.study.slides import SlideSidecar
from flows import slide_signing
from flows.slide_groups import SlideTask
from flows.work import WorkFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.flows.slides.conftest import SlideStore

Rule = Literal["ask", "first", "latest"]


@pytest.fixture
def with_rule(slide_store: SlideStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[Rule], SlideStore]:
    """Let the study say what becomes of further scans; a scan of ATR-000001 is on record."""
    slide_store.slide("ATR-000001_CD8.svs")

    def make(rule: Rule) -> SlideStore:
        definition = slide_store.whole.definition
        stains = tuple(stain.model_copy(update={"rescans": rule}) for stain in definition.stains)
        laboratory = SimpleNamespace(
            database=slide_store.whole.database, definition=definition.model_copy(update={"stains": stains})
        )
        monkeypatch.setattr(slide_signing, "bench", lambda: SimpleNamespace(laboratory=laboratory))
        return slide_store

    return make


def scan(name: str = "ATR-000001_CD8.ome.tiff", said: SlideSidecar | None = None, reason: str = "") -> SlideTask:
    return SlideTask(files={"instrument": WorkFile(name=name, sha256="f" * 64)}, held=(), reason=reason, said=said)


def decisions(store: SlideStore, task: SlideTask) -> set[tuple[str, str, str]]:
    write = slide_signing.consequences(task)
    if write is not None:
        with store.whole.database.write() as transaction:
            write(transaction)
    with store.whole.database.read() as reading:
        rows = reading.connection.exec_driver_sql("SELECT decision, decided_by, reason FROM disposition")
        return {(row[0], row[1], row[2]) for row in rows}


def test_a_further_scan_waits_and_another_section_specimen_or_correction_does_not(
    with_rule: Callable[[Rule], SlideStore],
) -> None:
    with_rule("ask")
    assert slide_signing.waits_as_rescan(scan())
    assert not slide_signing.waits_as_rescan(scan("ATR-000002_CD8.svs"))
    assert not slide_signing.waits_as_rescan(scan("ATR-000001_CD4.svs"))
    assert not slide_signing.waits_as_rescan(scan(said=SlideSidecar(section="2")))
    assert not slide_signing.waits_as_rescan(scan(said=SlideSidecar(role="POSITIVE_CONTROL")))
    assert not slide_signing.waits_as_rescan(scan(reason="The annotation was dropped."))


def test_a_persons_word_takes_it_in_and_sets_the_first_aside_only_if_it_says_so(
    with_rule: Callable[[Rule], SlideStore],
) -> None:
    store = with_rule("ask")
    kept = scan(said=SlideSidecar(by="virchow", reason="Sharper."))
    assert not slide_signing.waits_as_rescan(kept)
    assert decisions(store, kept) == set()
    replacing = scan(said=SlideSidecar(by="virchow", reason="Sharper.", replaces=True))
    assert decisions(store, replacing) == {("repeated", "virchow", "Sharper.")}
    assert decisions(store, replacing) == {("repeated", "virchow", "Sharper.")}, "what is decided is not decided again"


@pytest.mark.parametrize("rule", ["first", "latest"])
def test_a_rule_declared_beforehand_decides_without_a_person(with_rule: Callable[[Rule], SlideStore], rule: Rule) -> None:
    store = with_rule(rule)
    assert not slide_signing.waits_as_rescan(scan())
    decided = {(decision, by) for decision, by, _ in decisions(store, scan())}
    assert decided == ({("repeated", "rule in study.toml")} if rule == "latest" else set())
