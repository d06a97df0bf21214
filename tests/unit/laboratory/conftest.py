"""A new laboratory for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.laboratory import Laboratory, create_laboratory


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    with create_laboratory(tmp_path / "lab") as made:
        yield made
