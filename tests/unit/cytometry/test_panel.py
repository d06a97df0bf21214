"""Templates that contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.cytometry.panel import Panel
from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.panels import packaged_panel, packaged_panels, read_panel
from biomarkers.readers.study_files import packaged_study

HEAD = 'name = "p"\ntitle = "p"\nmarkers = [{ name = "CD3" }, { name = "CD4" }]\n'


def test_the_packaged_panels_are_valid_and_bear_their_files_names() -> None:
    assert {"pbmc-lineage", "euroflow-lst", "hipc-tcell"} <= set(packaged_panels())
    for name in packaged_panels():
        assert packaged_panel(name).name == name


def test_the_panels_of_the_tests_own_data_are_valid(project_root: Path) -> None:
    names = [read_panel(path).name for path in sorted((project_root / "tests" / "data" / "panels").glob("*.toml"))]
    assert names == ["mouse-lymphocytes", "pbmc-spectral"]


def test_the_trial_panel_declares_the_tree_its_measurands_need() -> None:
    panel = packaged_panel("pbmc-lineage")
    parents = {population.name: population.parent for population in panel.populations}
    lineages = {"singlets": "root", "live": "singlets", "lymphocytes": "live", "T": "lymphocytes"}
    lineages |= {"CD4": "T", "CD8": "T", "B": "lymphocytes", "NK": "lymphocytes"}
    subsets = {
        f"{lineage}_{subset}": lineage
        for lineage in ("CD4", "CD8")
        for subset in ("naive", "central_memory", "effector_memory", "effector", "PD1")
    }
    assert parents.items() >= {**lineages, **subsets, "Treg": "CD4"}.items()
    assert panel.ancestors("CD4") == ("T", "lymphocytes", "live", "singlets")
    declared = {measurand.population for measurand in packaged_study().panels[0].measurands}
    assert declared <= set(parents)


def test_populations_laboratories_define_differently_say_how_they_are_defined() -> None:
    for panel in (packaged_panel("pbmc-lineage"), packaged_panel("hipc-tcell")):
        definitions = {population.name: population.definition for population in panel.populations}
        assert definitions["CD8_effector"] == "CD45RA+ CCR7- (TEMRA)"
    assert packaged_panel("pbmc-lineage").population("Treg").definition == "CD4+ FoxP3+ CD25+ CD127low"


def test_a_valley_with_a_reference_says_so_in_both_places() -> None:
    text = (
        HEAD
        + "[[populations]]\nname = 'T'\ngates = [{ method = 'valley', marker = 'CD3', sign = '+', without = 'quantile' }]\n"
    )
    with pytest.raises(StudyDefinitionError, match="'reference' names the population"):
        parse_declaration(text, Panel, name="p.toml")


def test_words_of_the_borrow_policy_are_no_population_names() -> None:
    text = HEAD + "[[populations]]\nname = 'visits'\ngates = [{ method = 'valley', marker = 'CD3', sign = '+' }]\n"
    with pytest.raises(StudyDefinitionError, match="'visits' has a meaning of its own"):
        parse_declaration(text, Panel, name="p.toml")


def test_identity_speaks_of_declared_markers_only() -> None:
    text = HEAD + (
        "[identity]\nanchor = 'CD3'\nscatter = ['FSC-A', 'SSC-A']\nexpect = [{ marker = 'CD5', least = 0.8 }]\n"
        "[[populations]]\nname = 'T'\ngates = [{ method = 'valley', marker = 'CD3', sign = '+' }]\n"
    )
    with pytest.raises(StudyDefinitionError, match="'identity' names marker 'CD5'"):
        parse_declaration(text, Panel, name="p.toml")


def test_contradictions_are_told_together() -> None:
    text = HEAD + (
        "[[populations]]\nname = 'T'\nparent = 'lymphocytes'\n"
        "gates = [{ method = 'valley', marker = 'CD8', sign = '+', borrow = ['CD4'] }]\n"
        "[[populations]]\nname = 'T'\nparent = 'root'\n"
        "gates = [{ method = 'shared', marker = 'CD4', sign = '+', of = 'T' }]\n"
    )
    with pytest.raises(StudyDefinitionError) as caught:
        parse_declaration(text, Panel, name="p.toml")
    for part in (
        "population 'T' is declared 2 times",
        "uses marker 'CD8', which the panel does not declare",
        "refers to 'lymphocytes', which is not declared before it",
        "refers to 'CD4', which is not declared before it",
        "shares a cut of 'CD4' that 'T' does not make",
    ):
        assert part in str(caught.value)


def test_a_gate_must_say_which_side_it_keeps() -> None:
    text = HEAD + "[[populations]]\nname = 'T'\ngates = [{ method = 'valley', marker = 'CD3' }]\n"
    with pytest.raises(StudyDefinitionError, match="sign"):
        parse_declaration(text, Panel, name="p.toml")


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    text = HEAD + "[[populations]]\nname = 'T'\ngates = [{ method = 'magic', marker = 'CD3', sign = '+' }]\n"
    with pytest.raises(StudyDefinitionError, match="'valley', 'shared', 'tail'"):
        parse_declaration(text, Panel, name="p.toml")


def test_an_unknown_packaged_name_lists_the_known_ones() -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        packaged_panel("pbmc")
    assert caught.value.where == f"Packaged are {', '.join(packaged_panels())}."


def test_the_digest_follows_the_content_not_the_layout() -> None:
    one = parse_declaration(
        HEAD + "[[populations]]\nname='T'\ngates=[{method='fixed',marker='CD3',sign='+',cut=1.0}]\n", Panel, name="a"
    )
    other = parse_declaration(
        "# words\n"
        + HEAD
        + "[[populations]]\nname = 'T'\ngates = [{ method = 'fixed', marker = 'CD3', sign = '+', cut = 1 }]\n",
        Panel,
        name="b",
    )
    assert one.digest() == other.digest()
