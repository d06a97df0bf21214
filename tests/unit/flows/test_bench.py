from __future__ import annotations

import asyncio
import operator
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.laboratory import create_laboratory
from flows.bench import Bench, FileKillsProcessError, ProgramFaultError, at_bench, attempt, each, is_dead, owner_name


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with create_laboratory(tmp_path / "lab") as laboratory, at_bench(laboratory, lambda *_: None) as made:
        yield made


def test_what_kills_its_process_is_told_apart_and_its_neighbours_are_computed(bench: Bench) -> None:
    async def both() -> list[object]:
        return list(await asyncio.gather(attempt(os._exit, 3), *(attempt(operator.neg, number) for number in range(5))))

    killer, *others = asyncio.run(both())
    assert isinstance(killer, FileKillsProcessError)
    assert others == [0, -1, -2, -3, -4]
    assert bench.faults == []


def test_a_fault_of_the_program_is_returned_and_kept_with_its_traceback(bench: Bench) -> None:
    outcome = asyncio.run(attempt(int, "no number"))
    assert isinstance(outcome, ProgramFaultError)
    assert "invalid literal" in outcome.what
    assert len(bench.faults) == 1
    assert "Traceback" in bench.faults[0]


def test_outcomes_come_in_the_order_given(bench: Bench) -> None:
    async def gathered() -> list[tuple[int, object]]:
        return [found async for found in each(operator.neg, list(range(20)))]

    assert asyncio.run(gathered()) == [(number, -number) for number in range(20)]
    assert bench.faults == []


def test_an_owner_is_dead_when_its_process_is_gone_or_its_number_was_given_anew() -> None:
    me = owner_name()
    host, pid, began = me.split("/")
    assert not is_dead(me)
    assert is_dead(f"{host}/{pid}/{int(began) + 1}")
    assert is_dead(f"{host}/4194999/1")
    assert not is_dead("elsewhere/1/1")
