"""What the study declares of cells: counts in blood, fixation, the parts tubes play."""

from __future__ import annotations

import re

import pytest

from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.study_files import packaged_study, packaged_study_text
from biomarkers.study.cellular import TubeRole
from biomarkers.study.definition import StudyDefinition

_MEASURANDS_OF_PANEL = 'measurands = [\n    { code = "LYMPH_PCT_LIVE"'
_COUNTS_OF_PANEL = re.compile(r"\ncounts = \[\n.*?\n\]\n", re.DOTALL)


def _study(before_measurands: str = "", *, roles: str = "") -> StudyDefinition:
    text, found = _COUNTS_OF_PANEL.subn("\n", packaged_study_text())
    assert found == 1
    assert text.count(_MEASURANDS_OF_PANEL) == 1
    text = text.replace(_MEASURANDS_OF_PANEL, f"{before_measurands}\n{_MEASURANDS_OF_PANEL}")
    text = text.replace("slide_file =", f"{roles}\nslide_file =", 1)
    return parse_declaration(text, StudyDefinition, name="study.toml")


def test_counts_in_blood_are_measurands_of_their_panel_in_cells_per_microlitre() -> None:
    study = _study('counts = [{ code = "CD4_PER_UL", population = "CD4" }]')
    measurand = study.measurand("CD4_PER_UL")
    assert measurand is not None
    assert (measurand.unit, measurand.scale, measurand.due) == ("cells/uL", "log", study.panels[0].due)
    assert study.panels[0].counts[0].lymphocytes == "lymphocytes"


def test_a_count_whose_code_hides_its_unit_is_refused() -> None:
    with pytest.raises(StudyDefinitionError, match="its code must end in _PER_UL"):
        _study('counts = [{ code = "CD4_COUNT", population = "CD4" }]')


def test_a_count_and_a_frequency_cannot_share_a_code() -> None:
    with pytest.raises(StudyDefinitionError, match="measurand 'CD4_PER_UL' is declared 2 times"):
        _study('counts = [{ code = "CD4_PER_UL", population = "CD4" }, { code = "CD4_PER_UL", population = "T" }]')


def test_the_packaged_study_declares_its_fixation_and_says_that_it_is_an_assumption() -> None:
    study = packaged_study()
    assert study.panels[0].fixation is not None
    assert study.panels[0].fixation.order == "stain_then_fix"
    assert "panels[pbmc-lineage].fixation" in study.assumptions()


def test_roles_of_tubes_are_declared_by_pattern() -> None:
    study = _study(roles='fcs_roles = [{ role = "CONTROL_PBMC", pattern = "CONTROL_{batch}.fcs" }]')
    assert study.identifiers.fcs_roles[0].role is TubeRole.CONTROL_PBMC
    with pytest.raises(StudyDefinitionError, match=r"identifiers\.fcs_roles\[1\]"):
        _study(roles='fcs_roles = [{ role = "FMO", pattern = "FMO.fcs" }]')
