"""Identifying data planted in files of every kind are found, told by place and kind, and never repeated."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tifffile
from openpyxl import Workbook

from biomarkers.lab.inbox import DroppedFile
from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.laboratory.door import IdentifyingDataError, judge, refused_name, renamed
from biomarkers.readers.free_texts import file_name_text, free_texts
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes
from biomarkers.store.jobs import Reason
from biomarkers.study.identifying import FreeText, Handling, Identifying, IdentifyingPolicy, identifying

IDS = packaged_study().identifiers
PLAIN = IdentifyingPolicy()


def examine(laboratory: Laboratory, file: DroppedFile) -> Reason:
    return judge(laboratory, file, found_in(file.path, laboratory.settings.identifying))


def found_in(path: Path, policy: IdentifyingPolicy = PLAIN) -> list[Identifying]:
    return list(identifying(free_texts(path), policy, IDS))


def fcs(**keywords: str) -> bytes:
    events = np.ones((5, 1), dtype=np.float32)
    named = {name.replace("_", " "): value for name, value in keywords.items()}
    return fcs_bytes(events, [Detector(name="FSC-A", marker="")], named)


def tiff(description: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.zeros((32, 32, 3), np.uint8), photometric="rgb", description=description, metadata=None, **more)
    return buffer.getvalue()


def slide_with_label() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for width, description in (
            (64, "Aperio Image Library v11\r\n64x64|MPP = 0.25"),
            (32, "Aperio Image Library v11\r\nlabel 32x32"),
        ):
            file.write(np.zeros((width, width, 3), np.uint8), photometric="rgb", description=description, metadata=None)
    return buffer.getvalue()


def png(**notes: str) -> bytes:
    buffer, info = io.BytesIO(), PIL.PngImagePlugin.PngInfo()
    for name, text in notes.items():
        info.add_text(name, text)
    PIL.Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def xlsx(cell: str, *, subject: str = "", custom: str = "") -> bytes:
    book, buffer = Workbook(), io.BytesIO()
    book.active.append([cell])
    book.properties.subject = subject
    book.save(buffer)
    if custom:
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(
                "docProps/custom.xml",
                f'<Properties><property name="Patient Name"><vt:lpwstr>{custom}</vt:lpwstr></property></Properties>',
            )
    return buffer.getvalue()


OME = '<OME><Image Name="ATR-000124"><Description>{}</Description></Image></OME>'
WORKSPACE = '<Workspace><Keyword name="$OP" value="Jane Miller"/><Keyword name="PATIENT NAME" value="{}"/></Workspace>'

NAME, BIRTH, NUMBER = "a person's name", "a date of birth", "a hospital's or insurance number"
OTHER_ID, LABEL = "another id of a person than the study's", "a name or number in the picture of its label"
DESCRIPTION = "In picture 1, tag 'ImageDescription'."
APERIO = "Aperio Image Library\r\n32x32|MPP = 0.25|Patient = Zzyzx"
HAMAMATSU = [(65449, "s", 0, "Product=N\r\nDate of birth=1961-05-12\r\n", True)]
FEATURE = b'{"type":"Feature","properties":{"name":"Mrs Zzyzx"}}'

PLANTED: dict[str, tuple[str, bytes, str, str]] = {
    "keyword": ("a.fcs", fcs(PATIENT_NAME="Zzyzx"), NAME, "In the keyword 'PATIENT NAME'."),
    "keyword of birth": ("a.fcs", fcs(DOB="12-MAY-1961"), BIRTH, "In the keyword 'DOB'."),
    "free keyword": ("a.fcs", fcs(TUBE_NAME="born 12.05.1961"), BIRTH, "In the keyword 'TUBE NAME'."),
    "source of the specimen": ("a.fcs", fcs(**{"$SRC": "SMITH^JOHN"}), NAME, "In the keyword '$SRC'."),
    "other id": ("a.fcs", fcs(PATIENT_ID="919300"), OTHER_ID, "In the keyword 'PATIENT ID'."),
    "line of an export": ("p.txt", b"Plate:\tP1\nPatient Name:\tZzyzx\n", NAME, "In line 2."),
    "note of an export": ("p.txt", b"Note: MRN 12345678\n1\t2\n", NUMBER, "In line 1."),
    "column of a map": ("p.csv", b"plate_id,surname\nP1,Zzyzx\n", NAME, "In line 2."),
    "health service number": ("p.csv", b"comment\n943 476 5919\n", NUMBER, "In line 2."),
    "cell": ("p.xlsx", xlsx("DOB: 12/05/1961"), BIRTH, "In sheet 'Sheet', row 1."),
    "workbook's property": ("p.xlsx", xlsx("A1", subject="John Zimmer"), NAME, "In the document's property 'dc:subject'."),
    "workbook's own property": ("p.xlsx", xlsx("A1", custom="Zzyzx"), NAME, "In the document's property 'Patient Name'."),
    "Aperio": ("s.svs", tiff(APERIO), OTHER_ID, DESCRIPTION),
    "OME": ("s.ome.tiff", tiff(OME.format("Patient name: Zzyzx")), NAME, f"{DESCRIPTION[:-1]}, 'Description'."),
    "Hamamatsu": ("s.tif", tiff("", extratags=HAMAMATSU), BIRTH, "In picture 1, tag '65449'."),
    "label": ("s.svs", slide_with_label(), LABEL, "In the picture 'label' beside the slide."),
    "picture's note": ("s.png", png(Comment="MRN: 4477123"), NUMBER, "In the picture's note 'Comment'."),
    "workspace": ("g.wsp", WORKSPACE.format("Zzyzx").encode(), NAME, "In the file, 'PATIENT NAME'."),
    "annotation": ("s.geojson", FEATURE, NAME, "In the file, 'name'."),
    "packed annotation": ("s.geojson.gz", gzip.compress(b'{"patient name":"Zz"}'), NAME, "In the file, 'patient name'."),
}  # fmt: skip


@pytest.mark.parametrize("planted", list(PLANTED))
def test_what_is_planted_is_found_and_told_by_place_and_kind_alone(planted: str, tmp_path: Path) -> None:
    name, content, kind, where = PLANTED[planted]
    path = tmp_path / name
    path.write_bytes(content)
    assert (kind, where) in {(one.kind, one.where) for one in found_in(path)}
    told = " ".join(f"{one.kind} {one.where}" for one in found_in(path))
    assert not any(secret in told for secret in ("Zzyzx", "1961", "919300", "4477123", "12345678", "SMITH", "Zimmer"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Smith_John_CD8.svs", "a person's name"),
        ("MEIER ANDREA.fcs", "a person's name"),
        ("tube 1961-05-12.fcs", "a date of birth"),
        ("19610512_T.fcs", "a date of birth"),
        ("12.05.1961.txt", "a date of birth"),
        ("MRN1234567.txt", "a hospital's or insurance number"),
        ("123-45-6789.txt", "a hospital's or insurance number"),
    ],
)
def test_identifying_file_names_are_found(name: str, kind: str) -> None:
    assert [one.kind for one in identifying([file_name_text(name)], PLAIN, IDS)] == [kind]


@pytest.mark.parametrize(
    "name",
    ["ATR-000123.fcs", "ATR-000124_CD8.ome.tiff", "KYN-P0231.map.csv", "roster.csv", "2025-03-31 plate 2.txt",
     "Specimen_001_Tube_025.fcs", "01247181_NB06_I025.fcs", "PD-L1 James Lab.xlsx", "20240927.fcs", "plate 1 450-620-0000.txt"],
)  # fmt: skip
def test_names_of_a_laboratory_raise_no_alarm(name: str) -> None:
    assert list(identifying([file_name_text(name)], PLAIN, IDS)) == []


@pytest.mark.parametrize(
    "text",
    [
        FreeText(where="", name="PATIENT ID", text="ATR-000123"),
        FreeText(where="", name="PATIENT ID", text="S0001"),
        FreeText(where="", name="SAMPLE ID", text="Default Patient ID"),
        FreeText(where="", name="PATIENT NAME", text="anonymised"),
        FreeText(where="", name="$OP", text="Mary Miller"),
        FreeText(where="", text="Operator: Thomas Miller"),
        FreeText(where="", text="Read by Peter Novak on 2025-03-31"),
        FreeText(where="", text="Softmax Pro 7.1, Molecular Devices, 800-555-0199"),
    ],
)
def test_study_ids_placeholders_and_staff_are_no_finding(text: FreeText) -> None:
    assert list(identifying([text], PLAIN, IDS)) == []


def test_a_laboratorys_own_numbers_are_found_and_what_it_allows_is_not() -> None:
    note = FreeText(where="In line 1.", text="H4711203K and born 1.2.1960")
    own = IdentifyingPolicy(numbers=("H[0-9]{7}K",), allowed=("born 1.2.1960",))
    assert [one.kind for one in identifying([note], own, IDS)] == ["a hospital's or insurance number"]


@pytest.mark.parametrize("pattern", ["[", "x*"])
def test_patterns_that_are_none_or_fit_everything_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"no regular expression|fits every text"):
        IdentifyingPolicy(allowed=(pattern,))


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return create_laboratory(tmp_path / "lab")


def dropped(laboratory: Laboratory, kind: str, name: str, content: bytes) -> DroppedFile:
    (laboratory.folder.inbox(kind) / name).write_bytes(content)
    return next(file for file in laboratory.dropped_files() if file.name == name)


def with_policy(laboratory: Laboratory, **policy: Handling) -> Laboratory:
    settings = laboratory.settings.model_copy(update={"identifying": IdentifyingPolicy(**policy)})
    return replace(laboratory, settings=settings)


def test_the_policy_decides_whether_a_file_is_refused_noted_or_taken(laboratory: Laboratory) -> None:
    file = dropped(laboratory, "cytometry", "ATR-000001.fcs", fcs(PATIENT_NAME="Zzyzx"))
    with pytest.raises(IdentifyingDataError, match="holds what looks like a person's name") as refused:
        examine(laboratory, file)
    assert "In the keyword 'PATIENT NAME'." in str(refused.value)
    note = examine(with_policy(laboratory, certain=Handling.FLAG), file)
    assert (note.what, note.where) == ("The file holds what looks like a person's name.", "In the keyword 'PATIENT NAME'.")
    assert examine(with_policy(laboratory, certain=Handling.ACCEPT), file).what == ""
    slide = dropped(laboratory, "ihc", "ATR-000002_CD8.svs", slide_with_label())
    assert examine(laboratory, slide).what == "The file may hold a name or number in the picture of its label."
    with pytest.raises(IdentifyingDataError):
        examine(with_policy(laboratory, possible=Handling.REFUSE), slide)


def test_several_findings_are_told_in_one_message_with_every_place(laboratory: Laboratory) -> None:
    file = dropped(laboratory, "cytometry", "ATR-000001.fcs", fcs(PATIENT_NAME="Zzyzx", DOB="1.2.1960"))
    with pytest.raises(IdentifyingDataError) as refused:
        examine(laboratory, file)
    assert refused.value.what == "The file holds what looks like a person's name and a date of birth."
    assert refused.value.where == "In the keyword 'PATIENT NAME'; in the keyword 'DOB'."


def test_a_file_of_an_identifying_name_gets_another_and_is_refused_by_it(laboratory: Laboratory) -> None:
    file = dropped(laboratory, "elisa", "Smith_John.map.csv", b"plate_id\n")
    (other,) = renamed(laboratory, [file])
    assert not file.path.exists()
    assert other.path.read_bytes() == b"plate_id\n"
    assert other.name.startswith("name-withheld-")
    assert other.name.endswith(".map.csv")
    assert renamed(laboratory, [other]) == (other,)
    with pytest.raises(IdentifyingDataError, match="name held what looks like"):
        examine(laboratory, other)
    assert renamed(with_policy(laboratory, certain=Handling.FLAG), [file]) == (file,)
    assert refused_name(laboratory, "plate 1.txt") is None


def test_files_nobody_can_read_are_left_to_their_readers(laboratory: Laboratory) -> None:
    for name, content in (("a.fcs", b"FCS3.1 cut"), ("b.xlsx", b"PK\x03\x04"), ("c.svs", b"II*\x00\xff"), ("d.txt", b"\x00")):
        assert examine(laboratory, dropped(laboratory, "cytometry", name, content)).what == ""


@pytest.mark.real
def test_real_instrument_files_raise_no_alarm_that_stops_them(project_root: Path) -> None:
    data = project_root.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the public instrument files are not here")
    paths = [path for path in sorted(data.rglob("*")) if path.is_file()]
    found = {path.name: [*identifying([file_name_text(path.name)], PLAIN, IDS), *found_in(path)] for path in paths}
    flagged = {name for name, several in found.items() if several}
    assert [name for name, several in found.items() if any(one.is_certain for one in several)] == []
    # Two tubes carry a PATIENT ID that is not of the study; the slide has pictures of its label and of the whole glass.
    assert flagged == {"data1.fcs", "itn_02.fcs", "cmu_small_region.svs"}


def test_looking_ends_at_a_slide_whose_pages_go_round_in_a_circle(tmp_path: Path) -> None:
    file = bytearray(tiff("Jane Zzyzx"))
    (first,) = struct.unpack_from("<I", file, 4)
    (tags,) = struct.unpack_from("<H", file, first)
    struct.pack_into("<I", file, first + 2 + 12 * tags, len(file))
    file += struct.pack("<HI", 0, len(file))  # an empty page, after which comes the same again
    path = tmp_path / "s.tif"
    path.write_bytes(file)
    assert [text.text for text in free_texts(path) if text.where == DESCRIPTION] == ["Jane Zzyzx"]
