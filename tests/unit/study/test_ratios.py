from __future__ import annotations

import pytest

from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.study_files import packaged_study, packaged_study_text
from biomarkers.results import Assay
from biomarkers.study.definition import StudyDefinition


def test_a_ratio_is_a_measurand_due_where_both_its_parts_are() -> None:
    narrowed = packaged_study_text().replace(
        'due = ["BASELINE", "C2D1", "C6D1", "PROGRESSION"]\ncalibrators = [0.0, 2.5', 'due = ["C2D1"]\ncalibrators = [0.0, 2.5'
    )
    definition = parse_declaration(narrowed, StudyDefinition, name="study.toml")
    ratio = definition.measurand("KYN_TRP_RATIO")
    assert ratio is not None
    assert (ratio.assay, ratio.unit, ratio.scale, ratio.due) == (Assay.ELISA, "uM/uM", "log", ("C2D1",))
    full = packaged_study().measurand("KYN_TRP_RATIO")
    assert full is not None
    assert full.due == ("BASELINE", "C2D1", "C6D1", "PROGRESSION")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('numerator = "KYN"', 'numerator = "TRP"', "divides 'TRP' by itself"),
        ('denominator = "TRP"', 'denominator = "NAD"', "made of 'NAD', which is no analyte"),
        ('unit = "uM/uM"', 'unit = "mg/mg"', "ratios"),
        (
            'scale = "log"\nmaterials = ["PLASMA"]',
            'scale = "log"\nmaterials = ["SERUM"]',
            "a material 'KYN' is not measured in",
        ),
    ],
)
def test_a_ratio_that_cannot_be_made_is_refused(before: str, after: str, message: str) -> None:
    head, mark, ratios = packaged_study_text().partition("[[ratios]]")
    with pytest.raises(StudyDefinitionError, match=message):
        parse_declaration(head + mark + ratios.replace(before, after, 1), StudyDefinition, name="study.toml")
