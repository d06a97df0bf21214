"""Study files and declarations damaged at random: whatever is done to a file, it is read or refused in our own words.

Each kind is damaged `BIOMARKERS_FUZZ_MUTATIONS` times (100 000 unless set) or for `BIOMARKERS_FUZZ_CPU_SECONDS` of CPU (900
unless set), whichever comes first, in a child process that may take no more than 1 GB. A file that takes longer than ten
seconds counts as a hang. A short slice of the same runs with the ordinary tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from damage import be_child, damaged, judge_long_run, judge_slices, read_damaged

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "data" / "example_study"

TOKENS = [
    b",", b";", b"\t", b"\n", b"\r\n", b'"', b'""', b"'", b'"""', b"'''", b"=", b"[", b"]", b"[[", b"]]", b"{", b"}",
    b"#", b".", b"\\", b"\\u0000", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x85", b"\xe2\x80\xa8", b"\xd9\xa1",
    b"\xc2\xb2", b"true", b"inf", b"nan", b"1e999", b"-1e308", b"-0", b"0x1F", b"9" * 400, b"9" * 5000, b"1_000",
    b"12,5", b"2025-02-30", b"9999-12-31T23:59", b"0001-01-01", b"2025-03-30T02:30+25:00", b"2025-W01-1",
    b"ATR-000101", b"S0001", b"BASELINE", b"PLASMA", b"subject_id", b"accession_id", b"=cmd|' /C calc'!A0",
    b"../../etc/passwd", b"<script>", b"role", b"CALIBRATOR", b"A", b"H", b"12", b"[study]", b"[[visits]]",
    b"[[gates]]", b"(?P<a>(a+)+)$", b"[a-", b"{accession_id}", b"windows = []", b"source = ",
]  # fmt: skip

MAP = (
    "plate_id,layout,analyte,slot,accession_id,dilution_factor,kit_lot\n"
    "P1,il6-96,IL6,S01,ATR-000101,4,L1\nP1,il6-96,IL6,S02,ATR-000102,,L1\n"
)
LOTS = (
    "analyte,kit_lot,slot,expiry,value,lower,upper\n"
    "IL6,L1,CAL1,2026-03-31,100.5,,\nIL6,L1,CAL2,2026-03-31,50,,\nIL6,L1,QC1,2026-03-31,,80,120\n"
)
HAEMATOLOGY = "subject_id,date,lymphocytes_per_ul\nS0001,2025-03-09,1200\nS0002,2025-03-09T08:00,900.5\n"
PATHOLOGY = (
    "accession_id,tumour_present,viable_tumour_percent,necrosis_percent,reader\n"
    "ATR-000201,yes,80,5,Reader one\nATR-000202,no,,,Reader two\n"
)
SCORES = "accession_id,stain,score,A,B\nATR-000201,cd8,pct_positive,12.5,\nATR-000202,CD8,HSCORE,0,130\n"
POINTS = "concentration,response,name\n100,1.5,cal\n50,0.9,cal\n,0.4,unknown\n"
SPILLOVER = "\tPE-A\tAPC-A\nPE-A\t1\t0.1\nAPC-A\t0.02\t1\n"
TEMPLATE = (
    "alias,pop,parent,dims,gating_method,gating_args,collapseDataForGating,groupBy,preprocessing_method,preprocessing_args\n"
    'boundary,boundary,root,"FSC-A,SSC-A",boundary,"max = c(250000, 2.5e5)",,,,\n'
    'singlets,singlets,boundary,"FSC-A,FSC-H",singletGate,,,,,\nLive,Live-,singlets,Live,tailgate,tol = 0.05,,,,\n'
    'CD3,CD3+,/boundary/singlets/Live,CD3,mindensity,"adjust = 2",TRUE,4,,\n*,cd4+/-cd8+/-,CD3,"CD4,CD8",mindensity,,,,,\n'
    "neither,neither,CD3,,boolGate,!CD4+CD8-&!CD4-CD8+,,,,\n"
)
SIDECARS = (
    'by = "A. Reader"\nreason = "redrawn"\nreplaces = true\n',
    'role = "SPECIMEN"\naccession_id = "ATR-000101"\nmarker = "CD4"\nbatch = "B1"\ndata_set = 1\n',
    'accession_id = "ATR-000201"\nstain = "CD8"\npixel_size_um = 0.25\nrole = "SPECIMEN"\nsection = "1"\nbatch = "B"\n',
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: its name, sound files to damage, and who reads it."""

    name: str
    files: Callable[[], list[bytes]]
    read: Callable[[], Callable[[Path], object]]


def _example(name: str) -> list[bytes]:
    return [(EXAMPLE / f"{name}.csv").read_bytes()]


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def _shipped(folder: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob(pattern)) if path.stat().st_size < 20_000]


def _list(name: str) -> Callable[[Path], object]:
    """Read a list of the study, by the packaged study's ids and visits."""
    from biomarkers.readers import haematology, pathology, study_files  # noqa: PLC0415  - the child limits its memory first

    read = {
        "roster": study_files.read_roster,
        "specimens": study_files.read_specimens,
        "visits": study_files.read_visits,
        "lots": study_files.read_lots,
        "arms": study_files.read_arms,
        "haematology": haematology.read_haematology,
        "pathology": pathology.read_pathology,
    }[name]
    definition = study_files.packaged_study()
    return lambda path: read(path, definition)


def _declared(name: str) -> Callable[[Path], object]:
    """Read a declaration of the laboratory."""
    from biomarkers.lab.folders import LabSettings  # noqa: PLC0415  - as above
    from biomarkers.readers.declarations import read_declaration  # noqa: PLC0415
    from biomarkers.readers.panels import read_panel  # noqa: PLC0415
    from biomarkers.readers.sign_offs import read_sign_off  # noqa: PLC0415
    from biomarkers.readers.slide_sidecars import read_slide_sidecar  # noqa: PLC0415
    from biomarkers.readers.stain_protocols import read_protocol  # noqa: PLC0415
    from biomarkers.readers.study_files import read_study  # noqa: PLC0415
    from biomarkers.readers.tube_sidecars import read_tube_sidecar  # noqa: PLC0415

    readers: dict[str, Callable[[Path], object]] = {
        "lab": partial(read_declaration, kind=LabSettings),
        "study": read_study,
        "panel": read_panel,
        "stain": read_protocol,
        "sign-off": read_sign_off,
        "tube-sidecar": read_tube_sidecar,
        "slide-sidecar": read_slide_sidecar,
    }
    return readers[name]


def _table(name: str) -> Callable[[Path], object]:
    """Read a table that is no list of the study."""
    from biomarkers.readers import curve_points, opencyto_templates, plate_layouts, reader_scores, spillover_matrices  # noqa: PLC0415  - as above  # noqa: PLC0415

    readers: dict[str, Callable[[Path], object]] = {
        "layout": plate_layouts.read_layout,
        "plate-map": plate_layouts.read_plate_map,
        "reader-scores": reader_scores.read_reader_scores,
        "points": curve_points.read_points,
        "spillover": spillover_matrices.read_spillover_table,
        "template": partial(opencyto_templates.read_opencyto_template, name="imported"),
    }
    return readers[name]


def _lab_toml() -> list[bytes]:
    from biomarkers.lab.folders import DEFAULT_SETTINGS  # noqa: PLC0415  - as above

    return _texts(DEFAULT_SETTINGS + '\n[[instruments]]\nname = "Reader 1"\nfolder = "reader1"\nkind = "elisa"\n')


def _words(_name: str) -> Callable[[Path], object]:
    """Look for identifying data, as is done with every file before it is taken in."""
    from biomarkers.readers.free_texts import free_texts  # noqa: PLC0415  - as above
    from biomarkers.readers.study_files import packaged_study  # noqa: PLC0415
    from biomarkers.study.identifying import IdentifyingPolicy, identifying  # noqa: PLC0415

    ids, policy = packaged_study().identifiers, IdentifyingPolicy()
    return lambda path: list(identifying(free_texts(path), policy, ids))


def _worded_files() -> list[bytes]:
    """Files of every format that holds words: tube, slide, picture, workbook, export, workspace, annotation."""
    import io  # noqa: PLC0415  - as above

    import numpy as np  # noqa: PLC0415
    import PIL.Image  # noqa: PLC0415
    import tifffile  # noqa: PLC0415

    from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes  # noqa: PLC0415

    events, square = np.ones((3, 1), np.float32), np.zeros((16, 16, 3), np.uint8)
    found = [fcs_bytes(events, [Detector(name="FSC-A", marker="")], {"PATIENT NAME": "A B", "TUBE NAME": "born 1.2.1960"})]
    for description in (
        "Aperio Image Library v11\r\n16x16|MPP = 0.25|Patient = A",
        "<OME><Image Name='a' ID='b'>x</Image></OME>",
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, square, photometric="rgb", description=description, metadata=None)
        found.append(buffer.getvalue())
    for form in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        PIL.Image.fromarray(square).save(buffer, format=form, comment=b"MRN: 1234567")
        found.append(buffer.getvalue())
    exports = ROOT / "tests" / "data" / "elisa" / "exports"
    found += [path.read_bytes() for path in sorted(exports.iterdir()) if path.stat().st_size < 20_000]
    found += _texts(
        '<W><Keyword name="DOB" value="1"/></W>', '{"properties": {"name": "Mrs B"}}', "Patient Name,A\n,,\nsurname,x\nB,1\n"
    )
    return found


def _kinds() -> dict[str, Kind]:
    lists = {"roster": _example("roster"), "specimens": _example("specimens"), "visits": _example("visits")} | {
        "lots": _texts(LOTS),
        "arms": _texts("subject_id,arm\nS0001,A\nS0002,B\n"),
        "haematology": _texts(HAEMATOLOGY),
        "pathology": _texts(PATHOLOGY),
    }
    tables = {
        "layout": _shipped(ROOT / "plate_layouts", "*-96.csv"),
        "plate-map": _texts(MAP, MAP.replace(",", ";")),
        "reader-scores": _texts(SCORES),
        "points": _texts(POINTS),
        "spillover": _texts(SPILLOVER),
        "template": _texts(TEMPLATE),
    }
    package = ROOT / "biomarkers"
    declared = {
        "study": _shipped(package / "study", "*.toml"),
        "panel": _shipped(package / "cytometry" / "panels", "*.toml"),
        "stain": _shipped(package / "ihc" / "protocols", "*.toml"),
        **{name: _texts(*SIDECARS) for name in ("sign-off", "tube-sidecar", "slide-sidecar")},
    }
    made: dict[str, Kind] = {}
    for files, read, ending in ((lists, _list, "csv"), (tables, _table, "csv"), (declared, _declared, "toml")):
        for name, content in files.items():
            made[name] = Kind(f"{name}.{ending}", partial(list, content), partial(read, name))
    made["words"] = Kind("words.bin", _worded_files, partial(_words, "words"))
    made["lab"] = Kind("lab.toml", _lab_toml, partial(_declared, "lab"))
    return made


KINDS = _kinds()


def mutations(files: list[bytes], seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    while True:
        yield damaged(chance.choice(files), files, TOKENS, chance)


def fuzz(kind: str, most: int, cpu_seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Damage files of one kind until the count or the time is spent; tell what came of it."""
    from biomarkers.errors import BiomarkersError  # noqa: PLC0415  - the child limits its memory before it imports

    chosen = KINDS[kind]
    contents, read = mutations(chosen.files(), seed), chosen.read()
    path = folder / chosen.name
    return read_damaged(contents, read, path, refusal=BiomarkersError, most=most, cpu_seconds=cpu_seconds)


def test_a_short_slice_of_damaged_files_of_every_kind_is_read_or_refused(tmp_path: Path) -> None:
    judge_slices(Path(__file__), list(KINDS), most=100, cpu_seconds=0.25, least=5, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("kind", list(KINDS))
def test_damaged_study_files_are_read_or_refused_and_never_hang_or_fill_the_memory(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_long_run(Path(__file__), kind, tmp_path, capsys)


if __name__ == "__main__":
    be_child(fuzz)
