"""openCyto templates read as panels, and panels written as TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.cytometry.panel import (
    BooleanGate,
    FixedGate,
    MixtureGate,
    Panel,
    QuantileGate,
    SharedGate,
    SingletGate,
    TailGate,
    ValleyGate,
)
from biomarkers.errors import SourceFileError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.opencyto_templates import panel_text, read_opencyto_template
from biomarkers.readers.panels import packaged_panel, packaged_panels

HEADER = (
    "alias,pop,parent,dims,gating_method,gating_args,collapseDataForGating,groupBy,preprocessing_method,preprocessing_args\n"
)
SOUND = """boundary,boundary,root,"FSC-A,SSC-A",boundary,"max = c(250000, 2.5e5)",,,,
singlets,singlets,boundary,"FSC-A,FSC-H",singletGate,,,,,
Live,Live-,singlets,Live,tailgate,tol = 0.05,,,,
CD3,CD3+,/boundary/singlets/Live,CD3,mindensity,"adjust = 2,gate_range = c(1,3)",TRUE,4,,
*,cd4+/-cd8+/-,CD3,"CD4,CD8",mindensity,,,,,
CD25gate,CD25+,CD4+CD8-,CD25,flowClust,K = 2,,,prior_flowClust,K = 2
DRgate,HLA-DR-,CD4+CD8-,<HLA-DR>,quantileGate,probs = 0.995,,,,
activated,HLA-DR+CD25+,CD4+CD8-,"HLA-DR,CD25",refGate,CD25gate:DRgate,,,,
either,either,CD3,,boolGate,CD4+CD8-|CD4-CD8+,,,,
neither,neither,CD3,,boolGate,!CD4+CD8-&!CD4-CD8+,,,,
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "template.csv"
    path.write_text(HEADER + text)
    return path


def test_each_method_with_an_equal_here_becomes_that_gate_with_its_side_explicit(tmp_path: Path) -> None:
    imported = read_opencyto_template(_write(tmp_path, SOUND), name="imported")
    gates = {population.name: population.gates for population in imported.panel.populations}
    assert gates["boundary"] == (
        FixedGate(method="fixed", marker="FSC-A", sign="-", cut=250_000),
        FixedGate(method="fixed", marker="SSC-A", sign="-", cut=250_000),
    )
    assert gates["singlets"] == (SingletGate(method="singlet_ratio", area="FSC-A", height="FSC-H"),)
    assert gates["Live"] == (TailGate(method="tail", marker="Live", sign="-", side="above", widths=3.0, adjust=1.5),)
    assert gates["CD3"] == (ValleyGate(method="valley", marker="CD3", sign="+", adjust=2.0),)
    assert gates["CD4+CD8-"] == (
        ValleyGate(method="valley", marker="CD4", sign="+"),
        ValleyGate(method="valley", marker="CD8", sign="-"),
    )
    assert {"CD4+CD8+", "CD4-CD8+", "CD4-CD8-"} < set(gates)
    assert gates["CD25gate"] == (MixtureGate(method="mixture", marker="CD25", sign="+"),)
    assert gates["DRgate"] == (QuantileGate(method="quantile", marker="HLA-DR", sign="-", of="CD4+CD8-", quantile=0.995),)
    assert gates["activated"] == (
        SharedGate(method="shared", marker="HLA-DR", sign="+", of="DRgate"),
        SharedGate(method="shared", marker="CD25", sign="+", of="CD25gate"),
    )
    assert gates["either"] == (BooleanGate(method="boolean", any_of=("CD4+CD8-", "CD4-CD8+")),)
    assert gates["neither"] == (BooleanGate(method="boolean", none_of=("CD4+CD8-", "CD4-CD8+")),)
    assert imported.panel.population("CD3").parent == "Live"
    assert {marker.name: marker.kind for marker in imported.panel.markers}["SSC-A"] == "scatter"


def test_what_is_translated_with_a_difference_is_told(tmp_path: Path) -> None:
    notes = read_opencyto_template(_write(tmp_path, SOUND), name="imported").notes
    assert "Line 4: 'Live' is cut 3 standard deviations beside the highest peak of Live" in " ".join(notes)
    assert "Line 5: collapsedataforgating 'TRUE' has no equal here and was left out." in notes
    assert "Line 5: 'CD3': gate_range = c(1,3) has no equal here and was left out." in notes
    assert "Line 7: preprocessing_method 'prior_flowClust' has no equal here and was left out." in notes


def test_lines_that_cannot_be_translated_are_refused_together_and_their_followers_are_not_repeated(tmp_path: Path) -> None:
    text = """lymph,lymph,root,"FSC-A,SSC-A",flowClust,"K=2,target=c(1e5,5e4)",,,,
cd3,cd3,root,CD3,mindensity,,,,,
neg,CD45RA-,root,CD45RA,mindensity,positive = TRUE,,,,
cells,cells,root,,boolGate,neg&(cd3|lymph),,,,
both,CD3+CD45RA-,root,"CD3,CD45RA",refGate,cd3:neg,,,,
bound,bound,root,CD3,boundary,max=4,,,,
"""
    with pytest.raises(SourceFileError) as caught:
        read_opencyto_template(_write(tmp_path, text), name="imported")
    assert [(fault.where.rpartition("line ")[2], fault.what) for fault in caught.value.faults] == [
        ("002, population 'lymph'.", "The method 'flowclust' on FSC-A and SSC-A has no equal here."),
        ("003, population 'cd3'.", "The column pop says 'cd3', which does not say '+' or '-' for CD3."),
        ("004, population 'neg'.", "Gating_args says positive = TRUE and the column pop says '-'."),
        (
            "005, population 'cells'.",
            "The combination 'neg&(cd3|lymph)' mixes & and |, or is empty; only one of them can be translated.",
        ),
        ("007, population 'bound'.", "A boundary on anything but scatter is written on a scale that is not this software's."),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "This is no openCyto template: it has no column alias"),
        ("a,b\n1,2\n", "This is no openCyto template"),
        (HEADER + "CD3,CD3+,T,CD3,mindensity,,,,,\n", "population 'CD3' refers to 'T', which is not declared before it"),
        (HEADER + f"CD3,CD3+,root,{'C' * 61},mindensity,,,,,\n", "line 002, population 'CD3'"),
        (HEADER + "CD3,CD3+,root,CD3,mindensity,adjust=wide,,,,\n", "The argument adjust says 'wide', no number"),
    ],
)
def test_files_that_are_no_template_or_contradict_themselves_are_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "template.csv"
    path.write_text(content)
    with pytest.raises(SourceFileError, match=told):
        read_opencyto_template(path, name="imported")


def test_an_imported_panel_reads_back_from_its_text(tmp_path: Path) -> None:
    panel = read_opencyto_template(_write(tmp_path, SOUND), name="imported").panel
    text = panel_text(panel)
    assert parse_declaration(text, Panel, name="imported.toml") == panel
    assert 'sign = "-"' in text


@pytest.mark.parametrize("name", packaged_panels())
def test_packaged_panels_read_back_from_their_text(name: str) -> None:
    panel = packaged_panel(name)
    assert parse_declaration(panel_text(panel), Panel, name=name) == panel
