"""What the watcher takes, and when: files at rest over two scans that are whole, and nothing twice without a change."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from biomarkers.lab.inbox import DroppedFile
from flows.watcher import STALLED_SECONDS, Arrivals, Attempts, at_once


def dropped(name: str, *, size: int = 10, mtime_ns: int = 0, kind: str = "elisa") -> DroppedFile:
    return DroppedFile(
        folder=Path("/lab/inbox") / kind, name=name, kind=kind, instrument="", size=size, mtime_ns=mtime_ns, inode=1
    )


def yes(_path: Path) -> bool:
    return True


def no(_path: Path) -> bool:
    return False


def test_an_old_file_needs_a_second_scan_because_copies_keep_the_original_time() -> None:
    arrivals = Arrivals(1.0, is_whole=yes)
    file = dropped("P1.txt")
    first, wait = arrivals.arrived([file], monotonic=0.0, wall_clock=1000.0)
    assert first == ()
    assert 0 < wait < 1
    assert arrivals.arrived([file], monotonic=wait, wall_clock=1000.0 + wait)[0] == (file,)


def test_a_file_that_grows_between_scans_has_not_arrived() -> None:
    arrivals = Arrivals(1.0, is_whole=yes)
    for step in range(5):
        grown = dropped("P1.txt", size=10 + step)
        assert arrivals.arrived([grown], monotonic=float(step), wall_clock=1000.0 + step)[0] == ()
    assert arrivals.arrived([grown], monotonic=6.0, wall_clock=1006.0)[0] == (grown,)


def test_a_file_at_rest_that_is_not_whole_is_waited_for_and_then_taken_as_it_is() -> None:
    arrivals = Arrivals(1.0, is_whole=no)
    file = dropped("big.fcs", kind="cytometry")
    arrivals.arrived([file], monotonic=0.0, wall_clock=1000.0)
    assert arrivals.arrived([file], monotonic=1.0, wall_clock=1001.0)[0] == ()
    assert arrivals.arrived([file], monotonic=STALLED_SECONDS / 2, wall_clock=1030.0)[0] == ()
    assert arrivals.arrived([file], monotonic=1.0 + STALLED_SECONDS, wall_clock=1061.0)[0] == (file,)


@given(st.lists(st.tuples(st.sampled_from(["a.txt", "b.txt", "c.txt"]), st.integers(1, 3)), max_size=30))
def test_no_file_arrives_in_a_state_that_only_one_scan_has_seen(changes: list[tuple[str, int]]) -> None:
    arrivals = Arrivals(0.0, is_whole=yes)
    sizes: dict[str, int] = {}
    seen: dict[str, int] = {}
    for moment, (name, size) in enumerate(changes):
        sizes[name] = size
        files = [dropped(name, size=size) for name, size in sizes.items()]
        arrived, _ = arrivals.arrived(files, monotonic=float(moment), wall_clock=1000.0 + moment)
        assert {file.name for file in arrived} == {name for name, size in sizes.items() if seen.get(name) == size}
        seen = dict(sizes)


def test_what_a_sweep_left_is_not_swept_again_until_something_near_it_changes() -> None:
    attempts = Attempts(again_seconds=300.0)
    export = dropped("P1.txt")
    assert attempts.worth_taking([export], monotonic=0.0, lists=1) == (export,)
    attempts.swept([export], [export], monotonic=0.0)
    assert attempts.worth_taking([export], monotonic=10.0, lists=1) == ()
    plate_map = dropped("P1.map.csv")
    assert set(attempts.worth_taking([export, plate_map], monotonic=11.0, lists=1)) == {export, plate_map}


def test_what_a_sweep_left_is_tried_again_after_a_while() -> None:
    attempts = Attempts(again_seconds=300.0)
    export = dropped("P1.txt")
    assert attempts.worth_taking([export], monotonic=0.0, lists=1) == (export,)
    attempts.swept([export], [export], monotonic=0.0)
    assert attempts.worth_taking([export], monotonic=299.0, lists=1) == ()
    assert attempts.worth_taking([export], monotonic=300.0, lists=1) == (export,)


def test_a_new_list_of_the_study_makes_everything_that_waits_worth_trying() -> None:
    attempts = Attempts(again_seconds=300.0)
    export = dropped("P1.txt")
    assert attempts.worth_taking([export], monotonic=0.0, lists=1) == (export,)
    attempts.swept([export], [export], monotonic=0.0)
    assert attempts.worth_taking([export], monotonic=1.0, lists=1) == ()
    assert attempts.worth_taking([export], monotonic=2.0, lists=2) == (export,)


def test_a_sweep_takes_lists_first_what_is_quick_before_slides_and_little_at_a_time() -> None:
    slides = [dropped(f"S{number}.{ending}", kind="ihc") for number in range(5) for ending in ("svs", "toml")]
    tube = dropped("T1.fcs", kind="cytometry")
    assert at_once([tube, *slides]) == (tube,)
    assert at_once(slides) == tuple(slides[:4]), "two slides, each with its sidecar"
    plates = [dropped(f"P{number:03}{ending}") for number in range(500) for ending in (".map.csv", ".txt")]
    roster = dropped("roster.csv", kind="study")
    first, *others = at_once([*plates, roster])
    assert first == roster
    assert others == plates[:128], "64 plates, each with its map"


def test_the_same_name_dropped_again_after_it_was_taken_is_new() -> None:
    attempts = Attempts(again_seconds=300.0)
    export = dropped("P1.txt")
    attempts.swept([export], [], monotonic=0.0)
    assert attempts.worth_taking([export], monotonic=1.0, lists=1) == (export,)
