"""What somebody may drop at the front door: identifying data and payloads are found, refused, or stay the text they are."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import pytest
import tifffile
from openpyxl import Workbook

from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes
from biomarkers.store import audit, jobs
from biomarkers.store.study_lists import current_roster

P = ParamSpec("P")
R = TypeVar("R")

PLANTED = "Zzyzxowicz"
EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "example_study"


class SameProcess(Executor):
    """Computes at once, in the process that asks."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        done: Future[R] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  - an executor hands every error on
            done.set_exception(error)
        return done


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return made_lab(tmp_path / "lab")


def made_lab(root: Path) -> Path:
    create_laboratory(root).close()
    for name in ("roster", "specimens", "visits"):
        (root / "inbox" / "study" / f"{name}.csv").write_bytes((EXAMPLE / f"{name}.csv").read_bytes())
    with (root / "inbox/study/specimens.csv").open("a") as sections:
        sections.writelines(f"ATR-00870{number},S0001,FFPE_SECTION,2025-01-20,BASELINE,,,,,\n" for number in range(4))
    return root


def sweep(root: Path) -> list[str]:
    """Run one sweep over what lies in the inboxes; return what was told of it on the way."""
    from flows.bench import at_bench  # noqa: PLC0415  - imports Prefect
    from flows.logbook import Logbook  # noqa: PLC0415
    from flows.settings import without_prefect  # noqa: PLC0415
    from flows.sweep import run_sweep  # noqa: PLC0415

    told: list[str] = []
    with (
        open_lab(root) as laboratory,
        without_prefect(),
        at_bench(laboratory, lambda _done, _known, text: told.append(text), executor=SameProcess()) as bench,
    ):
        report = run_sweep(bench, laboratory.dropped_files())
        log = Logbook(laboratory.folder)
        log.swept(report, seconds=1.0)
    assert report.faults == ()
    return [*told, *(f"{one.state} {one.name} {one.reason}" for one in report.files)]


def states(laboratory: Laboratory) -> dict[str, str]:
    with laboratory.database.read() as reading:
        return {job.name: job.state.value for job in jobs.all_jobs(reading)}


def tube(**keywords: str) -> bytes:
    events = np.random.default_rng(1).lognormal(6, 1, (50, 2)).astype(np.float32)
    named = {name.replace("_", " "): text for name, text in keywords.items()}
    return fcs_bytes(events, [Detector(name="FSC-A", marker=""), Detector(name="PE-A", marker="CD3")], named)


def test_identifying_data_end_in_quarantine_and_are_repeated_nowhere(lab: Path) -> None:
    planted = {
        "cytometry/ATR-000101.fcs": tube(PATIENT_NAME=PLANTED),
        f"elisa/Mrs {PLANTED}.txt": b"1\t2\t3\n",
        f"elisa/Mrs {PLANTED}.map.csv": b"plate_id,layout,analyte,slot,accession_id\n",
        "elisa/P1.txt": f"Patient Name:\t{PLANTED}\n\t1\t2\nA\t0.1\t0.2\n".encode(),
        "study/pathology.csv": f"accession_id,reader,surname\nATR-000101,R,{PLANTED}\n".encode(),
    }
    for name, content in planted.items():
        (lab / "inbox" / name).write_bytes(content)
    told = sweep(lab)
    assert not any(PLANTED in line for line in told)
    with open_lab(lab) as laboratory:
        found = states(laboratory)
        with laboratory.database.read() as reading:
            entries = [entry for entry in audit.events(reading) if entry.action == "file.quarantined"]
    assert {name: found.pop(name) for name in ("roster.csv", "specimens.csv", "visits.csv")} == dict.fromkeys(
        ("roster.csv", "specimens.csv", "visits.csv"), "recorded"
    )
    assert set(found.values()) == {"quarantined"}
    assert len(found) == len(planted) == len(entries)
    assert sum(name.startswith("name-withheld-") for name in found) == 2
    # Only the quarantined files themselves still hold it, each beside a note that says where to look and what to do.
    holding = {path for path in lab.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()}
    assert {path.parent.parent.name for path in holding} == {"quarantine"}
    assert not any(PLANTED in str(path.relative_to(lab)) for path in lab.rglob("*"))
    note = (lab / "quarantine/cytometry/ATR-000101.fcs.reason.txt").read_text()
    assert "holds what looks like a person's name." in note
    assert "In the keyword 'PATIENT NAME'." in note
    assert "drop the file again" in note


def test_a_laboratory_that_only_flags_takes_the_file_and_says_so_beside_it(lab: Path) -> None:
    settings = lab / "lab.toml"
    settings.write_text(settings.read_text().replace('certain = "refuse"', 'certain = "flag"'))
    roster = lab / "inbox/study/roster.csv"
    roster.write_text(
        "subject_id,site,treatment_start,off_study_date,off_study_reason\n"
        "S0001,LONDON,2025-03-10,2025-05-01,moved (born 12.05.1961)\nS0002,LONDON,2025-03-10,,\nS0003,LONDON,2025-03-10,,\n"
        "S0004,LONDON,2025-03-10,,\nS0005,LONDON,2025-03-10,,\n"
    )
    told = sweep(lab)
    assert not any("1961" in line for line in told)
    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        found = next(job for job in jobs.all_jobs(reading) if job.name == "roster.csv")
    assert (found.state.value, found.what) == ("recorded", "The file holds what looks like a date of birth.")
    assert (found.where, "drop the file again" in found.remedy) == ("In line 2.", True)


ENTITY = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
SIZED = b"pixel_size_um = 0.5\n"
SIGNED = b'by = "A. Person"\nreason = "test"\n'
MAP = b"plate_id,layout,analyte,slot,accession_id,dilution_factor,kit_lot\nX1,il6-96,IL6,S01,ATR-000101,4,L1\n"


CELL = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
    b'<c r="A1" t="inlineStr"><is><t>&a;</t></is></c></row></sheetData></worksheet>'
)


def workbook(part: str = "", content: bytes = b"") -> bytes:
    """Make a sound workbook of one plate, with one of its parts exchanged or one put in."""
    book, buffer, made = Workbook(), io.BytesIO(), io.BytesIO()
    book.active.append(["", *range(1, 13)])
    for letter in "ABCDEFGH":
        book.active.append([letter, *[0.5] * 12])
    book.save(buffer)
    with zipfile.ZipFile(buffer) as sound, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sound.namelist():
            if name != part:
                packed.writestr(name, sound.read(name))
        if part:
            packed.writestr(part, content)
    return made.getvalue()


def ome(description: str) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        picture = np.full((64, 64, 3), 240, np.uint8)
        file.write(picture, photometric="rgb", tile=(32, 32), description=description, metadata=None)
    return buffer.getvalue()


def png_bomb() -> bytes:
    """Claim 60 000 x 60 000 pixels in a picture of some bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


PAYLOADS: dict[str, tuple[dict[str, bytes], str]] = {
    # What is dropped, and what the note of the first file must say.
    "entities in a workbook": (
        {"elisa/X1.xlsx": workbook("xl/worksheets/sheet1.xml", ENTITY + CELL), "elisa/X1.map.csv": MAP},
        "The workbook cannot be read: ValueError: Unable to read workbook: could not read worksheets from X1.xlsx.",
    ),
    "a workbook that unpacks to 400 MB": (
        {"elisa/X2.xlsx": workbook("xl/media/a.bin", bytes(100_000_000)), "elisa/X2.map.csv": MAP},
        "no plate export needs that",
    ),
    "entities in Gating-ML": (
        {"cytometry/ATR-000101.xml": ENTITY + b"<Gating-ML>&a;</Gating-ML>", "cytometry/ATR-000101.toml": SIGNED},
        "document type",
    ),
    "entities in a workspace": (
        {"cytometry/ATR-000102.wsp": ENTITY + b"<Workspace>&a;</Workspace>", "cytometry/ATR-000102.toml": SIGNED},
        "document type",
    ),
    "a picture of 3600 million pixels": (
        {"ihc/ATR-008701_CD8.png": png_bomb(), "ihc/ATR-008701_CD8.toml": SIZED},
        "too large",
    ),
    "an annotation that unpacks to 100 MB": (
        {
            "ihc/ATR-008702_CD8.ome.tiff": ome("x"),
            "ihc/ATR-008702_CD8.toml": SIZED,
            "ihc/ATR-008702_CD8.geojson.gz": gzip.compress(b" " * 100_000_000, 1),
        },
        "holds more than 24 MB of text",
    ),
    "a deep annotation": (
        {
            "ihc/ATR-008703_CD8.ome.tiff": ome("x"),
            "ihc/ATR-008703_CD8.toml": SIZED,
            "ihc/ATR-008703_CD8.geojson": b"[" * 100_000,
        },
        "nested too deeply",
    ),
}


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A laboratory into which all of it was dropped at once."""
    root = made_lab(tmp_path_factory.mktemp("besieged") / "lab")
    for dropped, _ in PAYLOADS.values():
        for name, content in dropped.items():
            (root / "inbox" / name).write_bytes(content)
    (root / "inbox/ihc/ATR-008700_CD8.ome.tiff").write_bytes(ome(ENTITY.decode() + "<OME>&a;</OME>"))
    (root / "inbox/ihc/ATR-008700_CD8.toml").write_bytes(SIZED)
    (root / "inbox/study/pathology.csv").write_text(
        "accession_id,tumour_present,viable_tumour_percent,necrosis_percent,reader\nATR-008700,perhaps,900,,R\n"
    )
    (root / "inbox/elisa/Z1.xlsx").write_bytes(workbook("../../../evil.txt", b"evil"))
    sweep(root)
    return root


@pytest.mark.parametrize("payload", list(PAYLOADS))
def test_a_payload_is_refused_in_our_own_words(payload: str, besieged: Path) -> None:
    dropped, words = PAYLOADS[payload]
    guilty = list(dropped)[-1] if payload.startswith("an annotation") or "deep" in payload else next(iter(dropped))
    note = (besieged / "quarantine" / f"{guilty}.reason.txt").read_text()
    assert words in note
    assert "What to do:" in note


def test_no_payload_reads_or_writes_a_file_outside(besieged: Path) -> None:
    assert not list(besieged.parent.parent.rglob("evil.txt"))
    written = [*besieged.glob("lab.db*"), *besieged.glob("quarantine/*/*.reason.txt"), *besieged.glob("evidence/*/*")]
    assert not any(b"root:x:0" in path.read_bytes() for path in written)


def test_words_of_a_list_that_are_formulas_markup_or_sql_come_back_as_the_words_they_are(lab: Path) -> None:
    words = ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", "'; DROP TABLE result; --", "../../etc/passwd"]
    lines = [f'S000{number},"{word}",2025-03-10' for number, word in enumerate(words, start=1)]
    (lab / "inbox/study/roster.csv").write_text(
        "\n".join(["subject_id,site,treatment_start", *lines, "S0005,X,2025-03-10", ""])
    )
    sweep(lab)
    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        subjects = current_roster(reading).subjects
        assert [subjects[f"S000{number}"].site for number in range(1, 5)] == words


def test_the_note_beside_a_file_of_several_faults_tells_each_with_its_place_and_remedy(besieged: Path) -> None:
    note = (besieged / "quarantine/study/pathology.csv.reason.txt").read_text()
    faults = [block.splitlines() for block in note.strip().split("\n\n")]
    assert len(faults) == 2
    assert all([line.partition(":")[0] for line in lines] == ["What happened", "Where", "What to do"] for lines in faults)
