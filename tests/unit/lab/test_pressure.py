"""A disk that is nearly full takes nothing more in, and says so before it is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.lab.pressure import require_room, room


def test_a_file_that_fits_with_room_to_spare_is_taken(tmp_path: Path) -> None:
    require_room(tmp_path, for_bytes=1, least_free_bytes=1)


def test_a_file_for_which_there_is_no_room_waits_with_its_reason(tmp_path: Path) -> None:
    free = room(tmp_path).free_bytes
    with pytest.raises(TemporarilyUnavailableError, match=r"nearly full: .* GB are free") as caught:
        require_room(tmp_path, for_bytes=free, least_free_bytes=1)
    assert caught.value.is_transient
    assert "waits in its inbox" in caught.value.remedy


def test_the_room_found_is_a_share_of_the_whole(tmp_path: Path) -> None:
    found = room(tmp_path)
    assert 0 <= found.used_fraction <= 1
    assert found.free_bytes <= found.total_bytes
