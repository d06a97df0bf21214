"""FCS files made here byte by byte, so that each says exactly what the test means."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.spillover_matrices import read_spillover_table


def fcs_bytes(data: bytes, keywords: dict[str, str], *, version: str = "FCS3.1", delimiter: str = "/", **offsets: int) -> bytes:
    """One data set; ``offsets`` overrule what HEADER (header_first, header_last) and TEXT (text_first, text_last) say."""
    first = 4096
    last = first + len(data) - 1
    stated = {
        "$BEGINDATA": str(offsets.get("text_first", first)),
        "$ENDDATA": str(offsets.get("text_last", last)),
        "$NEXTDATA": "0",
        "$MODE": "L",
        **keywords,
    }
    pairs = [part.replace(delimiter, delimiter * 2) for pair in stated.items() for part in pair]
    text = delimiter + delimiter.join(pairs) + delimiter
    places = (58, 58 + len(text.encode()) - 1, offsets.get("header_first", first), offsets.get("header_last", last), 0, 0)
    header = f"{version}    " + "".join(f"{place:>8d}" for place in places)
    return (header + text).encode().ljust(first, b" ") + data


def parameters(*names: str, bits: int = 32, top: int = 262_144) -> dict[str, str]:
    described = {"$PAR": str(len(names)), "$DATATYPE": "F" if bits == 32 else "I", "$BYTEORD": "1,2,3,4"}
    for number, name in enumerate(names, start=1):
        described |= {f"$P{number}N": name, f"$P{number}B": str(bits), f"$P{number}R": str(top), f"$P{number}E": "0,0"}
    return described


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "tube.fcs"
    path.write_bytes(content)
    return path


EVENTS = np.arange(12, dtype="<f4").reshape(4, 3)
THREE = parameters("FSC-A", "PE-A", "Time") | {"$TOT": "4"}


def test_events_channels_and_keywords_are_read(tmp_path: Path) -> None:
    keywords = THREE | {"$P2S": "CD3", "ACCESSION_ID": "ATR-000001", "$DATE": "01-JAN-2024", "$BTIM": "10:00:00"}
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), keywords)))
    np.testing.assert_array_equal(acquisition.events, EVENTS)
    assert [(c.detector, c.marker, c.top) for c in acquisition.channels] == [
        ("FSC-A", "", 262_144.0),
        ("PE-A", "CD3", 262_144.0),
        ("Time", "", 262_144.0),
    ]
    assert acquisition.name == "tube"
    assert acquisition.version == "3.1"
    assert acquisition.keywords["ACCESSION_ID"] == "ATR-000001"
    assert acquisition.acquired_at == "01-JAN-2024 10:00:00"
    assert acquisition.findings == ()
    assert not acquisition.events.flags.writeable


@pytest.mark.parametrize("version", ["FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2"])
def test_all_versions_in_use_are_read(tmp_path: Path, version: str) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE, version=version)))
    np.testing.assert_array_equal(acquisition.events, EVENTS)


@pytest.mark.parametrize("delimiter", ["/", "\\", "|", "!", "^", ".", "*", "\x0c", "\x1e"])
def test_any_delimiter_separates_and_doubled_is_part_of_the_value(tmp_path: Path, delimiter: str) -> None:
    keywords = THREE | {"$SRC": f"arm{delimiter}left"}
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), keywords, delimiter=delimiter)))
    assert acquisition.keywords["$SRC"] == f"arm{delimiter}left"


def test_empty_values_which_the_standard_forbids_are_read_as_empty(tmp_path: Path) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), {"$OP": "", "$P2S": ""} | THREE)))
    assert acquisition.channels[1].marker == ""
    assert acquisition.channels[2].detector == "Time"


def test_big_endian_and_double_precision_and_the_time_step(tmp_path: Path) -> None:
    keywords = THREE | {"$DATATYPE": "D", "$BYTEORD": "4,3,2,1", "$TIMESTEP": "0.5"}
    keywords |= {f"$P{number}B": "64" for number in (1, 2, 3)}
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.astype(">f8").tobytes(), keywords)))
    np.testing.assert_array_equal(acquisition.events, EVENTS * [1, 1, 0.5])


def test_integers_are_masked_to_their_range_and_logarithms_undone(tmp_path: Path) -> None:
    keywords = parameters("FSC-H", "FL1-H", bits=16, top=1024) | {"$TOT": "2", "$P2E": "4,0", "$P1G": "2.0"}
    data = struct.pack("<4H", 1024 + 100, 512, 1023, 0)
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(data, keywords)))
    # FCS 3.1, 3.2.20: bits above the range are ignored; 10 ** (4 * 512 / 1024) * 1 = 100; a gain of 2 halves.
    np.testing.assert_allclose(acquisition.events, [[50.0, 100.0], [511.5, 1.0]])
    assert acquisition.channels[1].top == 10_000.0


def test_channels_of_different_width_and_type_share_an_event(tmp_path: Path) -> None:
    keywords = parameters("Time", "PE-A") | {"$TOT": "2", "$P1B": "16", "$P1R": "65536", "$P1DATATYPE": "I"}
    data = struct.pack("<HfHf", 1, 2.5, 3, -4.5)
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(data, keywords, version="FCS3.2")))
    np.testing.assert_array_equal(acquisition.events, [[1.0, 2.5], [3.0, -4.5]])


def test_floating_point_values_are_linear_whatever_amplifier_is_stated(tmp_path: Path) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE | {"$P2E": "4,1"})))
    np.testing.assert_array_equal(acquisition.events, EVENTS)
    assert [finding.code for finding in acquisition.findings] == ["AMPLIFICATION_IGNORED"]


@pytest.mark.parametrize("keyword", ["$SPILLOVER", "SPILL", "spillover"])
def test_the_spillover_matrix_is_found_under_its_names(tmp_path: Path, keyword: str) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE | {keyword: "2,FSC-A,PE-A,1,0.1,0.2,1"})))
    assert acquisition.spillover.detectors == ("FSC-A", "PE-A")
    np.testing.assert_array_equal(acquisition.spillover.matrix, [[1, 0.1], [0.2, 1]])


@pytest.mark.parametrize("text", ["2,FSC-A,PE-A,1,0.1,0.2", "x,A", "1,PE-A,nan", "2,PE-A,PE-A,1,0,0,1", "2,A,B,1,a,b,1"])
def test_a_spillover_matrix_that_is_none_is_a_finding_and_the_events_are_read(tmp_path: Path, text: str) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE | {"$SPILLOVER": text})))
    assert acquisition.spillover is None
    assert [finding.code for finding in acquisition.findings] == ["SPILLOVER_UNREADABLE"]


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"header_first": 3000}, "only TEXT fits 4 events of 12 bytes and was used"),
        ({"header_last": 90_000}, "only TEXT fits"),
        ({"text_last": 90_000}, "only HEADER fits"),
        ({"text_last": 4096 + 48, "header_last": 4096 + 48}, "DATA is stated one byte too long"),
    ],
)
def test_offsets_that_disagree_are_settled_by_the_number_of_events(tmp_path: Path, lie: dict[str, int], told: str) -> None:
    acquisition = read_fcs(
        _write(tmp_path, fcs_bytes(EVENTS.tobytes() + b" ", THREE, **{"header_last": 4143, "text_last": 4143} | lie))
    )
    np.testing.assert_array_equal(acquisition.events, EVENTS)
    assert [finding.code for finding in acquisition.findings] == ["OFFSETS_CORRECTED"]
    assert told in acquisition.findings[0].message


def _chained(*sets: bytes) -> bytes:
    """Join data sets, each of which must announce the next by $NEXTDATA of eight digits."""
    joined = b""
    for number, content in enumerate(sets, start=1):
        step = len(content) if number < len(sets) else 0
        joined += content.replace(b"$NEXTDATA/00000000", f"$NEXTDATA/{step:08d}".encode())
    return joined


def _tube(events: np.ndarray, names: tuple[str, ...] = ("FSC-A", "PE-A", "Time"), **keywords: str) -> bytes:
    stated = parameters(*names) | {"$TOT": str(len(events)), "$NEXTDATA": "00000000"} | keywords
    return fcs_bytes(events.astype("<f4").tobytes(), stated)


CELLS = np.random.default_rng(3).lognormal(8, 0.6, size=(500, 3))


def test_data_sets_that_hold_the_same_events_again_are_one_acquisition(tmp_path: Path) -> None:
    finer = CELLS[:, [0, 1, 2]] * 16
    path = _write(tmp_path, _chained(_tube(np.floor(CELLS)), _tube(finer, ("FS", "FL1", "TIME"))))
    acquisition = read_fcs(path)
    np.testing.assert_array_equal(acquisition.events, np.floor(CELLS).astype(np.float32))
    assert [finding.code for finding in acquisition.findings] == ["SEVERAL_DATA_SETS"]
    assert "2: FCS3.1, 500 events, 3 channels from 'FS' on" in acquisition.findings[0].message
    second = read_fcs(path, data_set=2)
    np.testing.assert_allclose(second.events[:, 0], finer[:, 0], rtol=1e-6)
    assert second.name == "tube#2"


def test_data_sets_of_different_tubes_are_refused_until_one_is_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path, _chained(_tube(CELLS), _tube(CELLS[::-1]), _tube(CELLS[:100])))
    with pytest.raises(SourceFileError, match=r"holds 3 data sets that are different acquisitions: 1: FCS3\.1, 500 events"):
        read_fcs(path)
    np.testing.assert_allclose(read_fcs(path, data_set=3).events, CELLS[:100], rtol=1e-6)
    with pytest.raises(SourceFileError, match="holds 3 data sets; number 4 was asked for"):
        read_fcs(path, data_set=4)


def test_an_empty_data_set_before_the_events_is_passed_over(tmp_path: Path) -> None:
    empty = fcs_bytes(b" ", parameters("FSC-A") | {"$TOT": "0", "$NEXTDATA": "00000000"}, header_last=4096, text_last=4096)
    acquisition = read_fcs(_write(tmp_path, _chained(empty, _tube(CELLS))))
    assert acquisition.event_count == 500
    assert [(finding.code, finding.severity) for finding in acquisition.findings] == [("SEVERAL_DATA_SETS", "note")]


@pytest.mark.parametrize("step", ["5000", "30"])
def test_a_further_data_set_that_is_not_there_is_told(tmp_path: Path, step: str) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE | {"$NEXTDATA": step})))
    np.testing.assert_array_equal(acquisition.events, EVENTS)
    assert [finding.code for finding in acquisition.findings] == ["NEXT_DATA_SET_UNREADABLE"]


def test_a_file_whose_data_set_points_at_itself_ends(tmp_path: Path) -> None:
    content = _tube(CELLS[:20])
    path = _write(tmp_path, b"".join([content.replace(b"$NEXTDATA/00000000", f"$NEXTDATA/{len(content):08d}".encode())] * 80))
    with pytest.raises(SourceFileError, match="chains more than 64 data sets"):
        read_fcs(path)


def test_integers_of_three_bytes_and_words_in_mixed_order_are_read(tmp_path: Path) -> None:
    values = [70_000, 3, 16_000_000, 255]
    octets = b"".join(value.to_bytes(3, "big") for value in values)
    keywords = parameters("FSC-A", "PE-A", bits=24, top=1 << 24) | {"$TOT": "2", "$BYTEORD": "4,3,2,1"}
    np.testing.assert_array_equal(
        read_fcs(_write(tmp_path, fcs_bytes(octets, keywords))).events, np.array(values, dtype=np.float32).reshape(2, 2)
    )
    # 3,4,1,2: the two halves of the word change places, the bytes within each do not.
    words = np.array([1.5, -2.25, 3.0, 1e5], dtype="<f4").view("<u2").reshape(-1, 2)[:, ::-1]
    mixed = parameters("FSC-A", "PE-A") | {"$TOT": "2", "$BYTEORD": "3,4,1,2"}
    np.testing.assert_array_equal(
        read_fcs(_write(tmp_path, fcs_bytes(words.tobytes(), mixed))).events, np.array([[1.5, -2.25], [3.0, 1e5]])
    )


def test_channels_of_three_types_share_an_event_with_byte_order_and_masks_of_their_own(tmp_path: Path) -> None:
    keywords = parameters("Time", "FSC-A", "PE-A", "FL1") | {"$TOT": "2", "$BYTEORD": "4,3,2,1", "$DATATYPE": "F"}
    keywords |= {"$P1DATATYPE": "I", "$P1B": "32", "$P1R": "1024", "$P2DATATYPE": "D", "$P2B": "64"}
    keywords |= {"$P4DATATYPE": "I", "$P4B": "16", "$P4R": "1024", "$P4E": "4,1"}
    data = struct.pack(">IdfH", 2048 + 7, 1e5, -1.5, 256) + struct.pack(">IdfH", 9, 2e5, 4.0, 1023)
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(data, keywords, version="FCS3.2")))
    np.testing.assert_allclose(acquisition.events, [[7, 1e5, -1.5, 10.0], [9, 2e5, 4.0, 10 ** (4 * 1023 / 1024)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("keyword", "text", "codes"),
    [
        ("$COMP", "2,1,0.1,0.2,1", ["COMPENSATION_AMBIGUOUS"]),
        ("$DFC1TO2", "12", ["COMPENSATION_AMBIGUOUS"]),
        ("$COMP", "2,1,0,0,1", []),
        ("$DFC1TO2", "0", []),
        ("$COMP", "none", ["COMPENSATION_AMBIGUOUS"]),
    ],
)
def test_compensation_in_keywords_withdrawn_as_ambiguous_is_told_and_not_applied(
    tmp_path: Path, keyword: str, text: str, codes: list[str]
) -> None:
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(EVENTS.tobytes(), THREE | {keyword: text}, version="FCS3.0")))
    assert acquisition.spillover is None
    assert [finding.code for finding in acquisition.findings] == codes


def test_a_matrix_of_a_panel_is_read_with_and_without_names_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text("PE-A,FITC-A\n1,0.1\n0.02,1\n")
    plain = read_spillover_table(path)
    assert plain.detectors == ("PE-A", "FITC-A")
    np.testing.assert_array_equal(plain.matrix, [[1, 0.1], [0.02, 1]])
    path.write_text("\tPE-A\tFITC-A\nPE-A\t1\t0.1\nFITC-A\t0.02\t1\n")
    np.testing.assert_array_equal(read_spillover_table(path).matrix, plain.matrix)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it needs a header"),
        ("PE-A,FITC-A\n1,0.1\n", "2 detectors need as many rows"),
        ("PE-A,FITC-A\n1,x\n0,1\n", "a coefficient is no number"),
        (",PE-A,FITC-A\nFITC-A,1,0.1\nPE-A,0,1\n", "the rows' names are not the header's detectors"),
        ("PE-A,PE-A\n1,0\n0,1\n", "a detector is named twice"),
    ],
)
def test_a_table_that_is_no_matrix_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(text)
    with pytest.raises(SourceFileError, match=told):
        read_spillover_table(path)


def test_a_file_without_events_is_read_as_empty(tmp_path: Path) -> None:
    empty = fcs_bytes(b"", THREE | {"$TOT": "0"}, header_last=4096, text_last=4096)
    assert read_fcs(_write(tmp_path, empty)).events.shape == (0, 3)


def test_values_that_are_no_measurement_become_missing_with_a_finding(tmp_path: Path) -> None:
    events = EVENTS.copy()
    events[1, 1], events[2, 0] = np.inf, 1e30
    acquisition = read_fcs(_write(tmp_path, fcs_bytes(events.tobytes(), THREE)))
    assert np.isnan(acquisition.events[1, 1])
    assert np.isnan(acquisition.events[2, 0])
    assert acquisition.findings[0].message.startswith("2 of 4 events")
