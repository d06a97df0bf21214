"""One FCS file per wound, and the exact words a technician reads."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.fcs import read_fcs


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    path = tmp_path / "sound.fcs"
    with path.open("wb") as file:
        values = np.arange(300, dtype=np.float32)
        flowio.create_fcs(file, values.tolist(), ["FSC-A", "PE-A", "Time"], ["", "CD3", ""]).close()
    return path.read_bytes()


def _refusal(folder: Path, content: bytes) -> SourceFileError:
    path = folder / "tube.fcs"
    path.write_bytes(content)
    started = time.process_time()  # not the clock on the wall: other tests run beside this one
    with pytest.raises(SourceFileError) as caught:
        read_fcs(path)
    assert time.process_time() - started < 5
    return caught.value


def test_an_empty_file(tmp_path: Path) -> None:
    error = _refusal(tmp_path, b"")
    assert str(error) == "The file is empty. File 'tube.fcs'. Drop the FCS file as the cytometer exported it."


def test_another_kind_of_file_with_the_extension_of_fcs(tmp_path: Path) -> None:
    error = _refusal(tmp_path, b"PK\x03\x04 a workbook")
    assert error.what == "This is no FCS file: it does not begin with an FCS version."


def test_a_file_cut_off_inside_its_header(tmp_path: Path, sound: bytes) -> None:
    assert _refusal(tmp_path, sound[:40]).what == "The file ends after 40 bytes, inside its HEADER."


def test_a_file_cut_off_inside_its_keywords(tmp_path: Path, sound: bytes) -> None:
    error = _refusal(tmp_path, sound[:100])
    assert error.what.startswith("TEXT is said to end at byte ")
    assert error.remedy == "The file was cut off: copy it again."


def test_a_file_cut_off_inside_its_events(tmp_path: Path, sound: bytes) -> None:
    error = _refusal(tmp_path, sound[:-50])
    assert error.what.startswith("No stated place of DATA holds 100 events of 12 bytes: ")
    assert error.remedy == "The file was cut off or edited: copy it again, or export it again from the acquisition software."


def test_both_places_lie_about_the_data(tmp_path: Path, sound: bytes) -> None:
    wrong = sound.replace(b"/$TOT/100/", b"/$TOT/999/").replace(b"/$tot/100/", b"/$tot/999/")
    if wrong == sound:  # the writer may choose another delimiter
        place = sound.upper().index(b"$TOT") + 5
        wrong = sound[:place] + b"999" + sound[place + 3 :]
    assert "holds 999 events of 12 bytes" in _refusal(tmp_path, wrong).what


def test_a_header_that_claims_keywords_of_a_hundred_megabytes(tmp_path: Path, sound: bytes) -> None:
    lying = sound[:18] + b"99999999" + sound[26:]
    assert _refusal(tmp_path, lying).what == "The HEADER does not say where TEXT lies, or says something impossible."


def _edited(sound: bytes, keyword: bytes, value: bytes) -> bytes:
    """Replace a keyword's value by one of the same length."""
    delimiter = sound[int(sound[10:18]) : int(sound[10:18]) + 1]
    start = sound.lower().index(delimiter + keyword.lower() + delimiter) + len(keyword) + 2
    stop = sound.index(delimiter, start)
    assert stop - start == len(value)
    return sound[:start] + value + sound[stop:]


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        (b"$DATATYPE", b"A", "3 things are wrong."),
        (b"$MODE", b"C", "The file holds histograms ($MODE 'C'), not events."),
        (b"$PAR", b"0", "The keyword $PAR says '0', no number of channels."),
        (b"$PAR", b"9", "6 things are wrong."),
        (b"$P2N", b"Time", "Two channels are called 'time' ($PnN)."),
        (b"$P1B", b"31", "data type 'F' with '31' bits is not supported."),
    ],
)
def test_keywords_that_contradict_the_standard(tmp_path: Path, sound: bytes, keyword: bytes, value: bytes, told: str) -> None:
    assert _refusal(tmp_path, _edited(sound, keyword, value)).what.startswith(told)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="No such file"):
        read_fcs(tmp_path / "absent.fcs")


def test_a_sparse_file_of_many_gigabytes_is_refused_at_once_and_without_memory(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "huge.fcs"
    path.write_bytes(sound)
    os.truncate(path, 40_000_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with pytest.raises(SourceFileError, match="more than 1000 MB is not read"):
        read_fcs(path)
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


def test_a_number_of_channels_in_digits_of_another_kind(tmp_path: Path, sound: bytes) -> None:
    assert _refusal(tmp_path, _edited(sound, b"$PAR", b"\xb2")).what == "The keyword $PAR says '\xb2', no number of channels."


def _text_of(keywords: bytes, sets: int) -> bytes:
    """Chain data sets that hold nothing but keywords."""
    stated = b"/$NEXTDATA/%012d" % (58 + 23 + len(keywords)) + keywords
    header = b"FCS3.1    %8d%8d%8d%8d%8d%8d" % (58, 58 + len(stated) - 1, 0, 0, 0, 0)
    return (header + stated) * sets


def test_millions_of_keywords(tmp_path: Path) -> None:
    assert _refusal(tmp_path, _text_of(b"/k/v" * 3_900_000, 1)).what.startswith("TEXT holds more than 100000 keywords")


def test_a_chain_of_data_sets_with_megabytes_of_keywords(tmp_path: Path) -> None:
    error = _refusal(tmp_path, _text_of(b"/k/" + b"v" * 5_000_000, 6))
    assert "or more keywords than any instrument writes" in error.what


def test_thousands_of_random_mutations_end_in_typed_refusals_or_events(tmp_path: Path, sound: bytes) -> None:
    rng = np.random.default_rng(20)
    path = tmp_path / "tube.fcs"
    for _ in range(1500):
        content = bytearray(sound)
        # Mostly in HEADER and TEXT, where the structure lies.
        for place in rng.integers(0, min(len(content), 900), size=rng.integers(1, 6)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            acquisition = read_fcs(path)
        except SourceFileError:
            continue
        assert acquisition.events.dtype == np.float32
        assert acquisition.events.shape[1] == len(acquisition.channels)
