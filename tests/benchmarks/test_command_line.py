"""How quickly the command line answers, beside the interpreter that runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark_suite

RUN = {"check": True, "capture_output": True}

BUDGET_SECONDS = 0.5
"""`biomarkers --help` answers within half a second."""


def test_help_answers_within_its_budget(benchmark: BenchmarkFixture) -> None:
    command = [str(Path(sys.executable).with_name("biomarkers")), "--help"]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs=RUN, rounds=7, warmup_rounds=1)
    benchmark.extra_info["budget_seconds"] = BUDGET_SECONDS
    assert benchmark.stats.stats.median < BUDGET_SECONDS


def test_the_bare_interpreter_for_comparison(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", "pass"]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs=RUN, rounds=7, warmup_rounds=1)
