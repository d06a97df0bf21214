"""What a slide's name and sidecar say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from biomarkers.errors import IdentifierError
from biomarkers.readers.slide_sidecars import read_slide_sidecar, slide_sidecar_text
from biomarkers.study.definition import IdentifierPatterns
from biomarkers.study.slides import SlideIdentity, SlideSidecar, slide_of
from biomarkers.study.tissue import SlidePattern, SlideRole, StainReference

PATTERNS = IdentifierPatterns(
    source="assumption",
    accession_id="ATR-[0-9]{6}",
    subject_id="S[0-9]{4}",
    slide_roles=(
        SlidePattern(role=SlideRole.POSITIVE_CONTROL, pattern="POS_{stain}_{batch}"),
        SlidePattern(role=SlideRole.NEGATIVE_CONTROL, pattern="NEG_{stain}_{batch}"),
        SlidePattern(role=SlideRole.HE, pattern="{accession_id}_HE"),
    ),
)


@pytest.mark.parametrize(
    ("name", "role", "accession_id", "stain", "batch"),
    [
        ("ATR-000001_CD8.ome.tiff", SlideRole.SPECIMEN, "ATR-000001", "CD8", ""),
        ("ATR-000001_he.svs", SlideRole.HE, "ATR-000001", "HE", ""),
        ("POS_CD8_2025-11.svs", SlideRole.POSITIVE_CONTROL, "", "CD8", "2025-11"),
        ("neg_PDL1_7.tiff", SlideRole.NEGATIVE_CONTROL, "", "PDL1", "7"),
    ],
)
def test_a_name_says_what_part_a_slide_plays(name: str, role: SlideRole, accession_id: str, stain: str, batch: str) -> None:
    assert slide_of(name, PATTERNS) == SlideIdentity(role=role, accession_id=accession_id, stain=stain, batch=batch)


def test_name_or_sidecar_say_which_section_and_batch_and_must_agree() -> None:
    patterns = PATTERNS.model_copy(update={"slide_file": "{accession_id}_{stain}_{section}"})
    found = slide_of("ATR-000001_CD8_2.svs", patterns, SlideSidecar(batch="B7"))
    assert (found.accession_id, found.stain, found.section, found.batch) == ("ATR-000001", "CD8", "2", "B7")
    with pytest.raises(IdentifierError, match=r"'3'.*'2'"):
        slide_of("ATR-000001_CD8_2.svs", patterns, SlideSidecar(section="3"))


def test_that_a_scan_counts_instead_of_another_needs_a_persons_word() -> None:
    with pytest.raises(ValidationError, match="replaces is a person's word"):
        SlideSidecar(replaces=True)


def test_a_written_sidecar_reads_back_equal(tmp_path: Path) -> None:
    said = SlideSidecar(
        accession_id="ATR-000001",
        stain="CD8",
        section="2",
        pixel_size_um=0.25,
        role=SlideRole.SPECIMEN,
        by="R. Virchow",
        reason='The "first" was\nblurred.',
        replaces=True,
    )
    path = tmp_path / "slide.toml"
    path.write_text(slide_sidecar_text(said), encoding="utf-8")
    assert read_slide_sidecar(path) == said


def test_ic_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match="IC is the share of tumour area"):
        StainReference(
            source="assumption",
            code="PDL1",
            protocol="pdl1",
            materials=("FFPE_SECTION",),
            due=(),
            scores=["PCT_POSITIVE", "IC"],
        )


def test_a_sidecar_alone_says_it_too() -> None:
    said = SlideSidecar(role=SlideRole.POSITIVE_CONTROL, stain="CD8")
    assert slide_of("whatever.svs", PATTERNS, said).role is SlideRole.POSITIVE_CONTROL
    assert slide_of("tonsil.svs", PATTERNS, SlideSidecar(role=SlideRole.HE)).stain == "HE"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unnamed.svs", None),
        ("ATR-000001_CD8.svs", SlideSidecar(accession_id="ATR-000002")),
        ("POS_CD8_1.svs", SlideSidecar(role=SlideRole.NEGATIVE_CONTROL, stain="CD4")),
        ("POS_CD8_1.svs", SlideSidecar(role=SlideRole.SPECIMEN)),
        ("unnamed.svs", SlideSidecar(role=SlideRole.NEGATIVE_CONTROL)),
    ],
)
def test_what_is_not_said_or_contradicts_itself_is_refused(name: str, said: SlideSidecar | None) -> None:
    with pytest.raises(IdentifierError):
        slide_of(name, PATTERNS, said)


def test_patterns_of_two_roles_that_fit_one_name_are_refused() -> None:
    both = SlidePattern(role=SlideRole.HE, pattern="POS_{stain}_{batch}")
    doubled = PATTERNS.model_copy(update={"slide_roles": (*PATTERNS.slide_roles, both)})
    with pytest.raises(IdentifierError, match="fits the patterns"):
        slide_of("POS_CD8_1.svs", doubled)


def test_a_signature_needs_name_and_reason_and_describes_no_slide() -> None:
    with pytest.raises(ValidationError):
        SlideSidecar(by="R. Virchow")
    signed = SlideSidecar(by="R. Virchow", reason="Necrosis.")
    assert signed.is_signed
    assert not signed.describes
    assert SlideSidecar(by="R. Virchow", reason="Necrosis.", pixel_size_um=0.5).describes
    assert SlideSidecar(stain="CD8").describes


def test_a_pattern_of_a_control_holds_its_stain_and_none_is_of_specimens() -> None:
    with pytest.raises(ValidationError):
        SlidePattern(role=SlideRole.POSITIVE_CONTROL, pattern="POS_{batch}")
    with pytest.raises(ValidationError):
        SlidePattern(role=SlideRole.SPECIMEN, pattern="{accession_id}_{stain}")
