"""What a declared protocol takes from a panel."""

from __future__ import annotations

import pytest

from biomarkers.cytometry.fixation import fixation_findings, purity_findings, unreadable_markers
from biomarkers.cytometry.panel import Panel
from biomarkers.readers.declarations import parse_declaration
from biomarkers.study.cellular import Fixation

PANEL = parse_declaration(
    """
name = "fixed"
title = "A panel with every sensitive marker"
markers = [{ name = "Viability" }, { name = "CD3" }, { name = "CD4" }, { name = "CCR7", aliases = ["CD197"] },
           { name = "CD127" }, { name = "FoxP3" }, { name = "CD56" }]
populations = [
    { name = "live", pass_through = true, gates = [{ method = "valley", marker = "Viability", sign = "-" }] },
    { name = "T", parent = "live", gates = [{ method = "valley", marker = "CD3", sign = "+" }] },
    { name = "NK", parent = "live", purity_markers = ["CD14"], gates = [{ method = "valley", marker = "CD56", sign = "+" }] },
    { name = "CD4", parent = "T", gates = [{ method = "valley", marker = "CD4", sign = "+" }] },
    { name = "CCR7 high", parent = "CD4", gates = [{ method = "valley", marker = "CCR7", sign = "+" }] },
    { name = "memory", parent = "CD4", gates = [{ method = "boolean", none_of = ["CCR7 high"] }] },
    { name = "Treg", parent = "CD4", gates = [{ method = "valley", marker = "FoxP3", sign = "+" }] },
    { name = "resting Treg", parent = "Treg", gates = [{ method = "valley", marker = "CD3", sign = "+" }] },
    { name = "CD127 low", parent = "CD4", gates = [{ method = "valley", marker = "CD127", sign = "-" }] },
]
""",
    Panel,
    name="fixed.toml",
)


def _protocol(**stated: object) -> Fixation:
    return Fixation.model_validate(
        {
            "order": "stain_then_fix",
            "fixative": "1 % paraformaldehyde",
            "permeabilised": True,
            "hours_to_acquisition": 24,
            "source": "assumption",
        }
        | stated
    )


def _rejected(protocol: Fixation | None) -> set[str]:
    found = fixation_findings(PANEL, protocol)
    return {name for name, findings in found.items() if any(finding.severity == "reject" for finding in findings)}


def test_staining_living_cells_and_opening_them_keeps_everything() -> None:
    assert fixation_findings(PANEL, _protocol()) == {}


def test_foxp3_and_all_found_through_it_fall_without_permeabilisation() -> None:
    assert _rejected(_protocol(permeabilised=False)) == {"Treg", "resting Treg"}
    assert _rejected(None) == {"Treg", "resting Treg"}


def test_staining_fixed_cells_takes_viability_ccr7_and_cd127_with_what_rests_on_them() -> None:
    protocol = _protocol(order="fix_then_stain")
    assert set(unreadable_markers(PANEL, protocol)) == {"Viability", "CCR7", "CD127"}
    assert _rejected(protocol) == {"live", "CCR7 high", "memory", "CD127 low"}
    # Cells below the viability gate can still be told apart; only the dead are among them.
    found = fixation_findings(PANEL, protocol)
    assert [(finding.code, finding.severity) for finding in found["CD4"]] == [("VIABILITY_NOT_EVALUABLE", "warning")]


@pytest.mark.parametrize(("dye", "why"), [("dna", "binds DNA reversibly"), ("none", "no viability dye is declared")])
def test_a_dye_that_cannot_tell_the_dead_takes_viability(dye: str, why: str) -> None:
    found = fixation_findings(PANEL, _protocol(viability_dye=dye))
    assert _rejected(_protocol(viability_dye=dye)) == {"live"}
    assert why in found["live"][0].message


def test_every_rule_names_its_source() -> None:
    for protocol in (_protocol(order="fix_then_stain", permeabilised=False), _protocol(viability_dye="dna")):
        for findings in fixation_findings(PANEL, protocol).values():
            for finding in findings:
                if "cannot be read" in finding.message:
                    assert "(source: " in finding.message


def test_long_fixation_is_told_of_every_population() -> None:
    found = fixation_findings(PANEL, _protocol(hours_to_acquisition=72))
    assert set(found) == {population.name for population in PANEL.populations}
    assert found["T"][0].code == "FIXED_TOO_LONG"
    assert "Stewart" in found["T"][0].message


def test_purity_is_unverified_only_without_its_markers() -> None:
    assert set(purity_findings(PANEL, ["CD3", "CD56"])) == {"NK"}
    assert purity_findings(PANEL, ["CD3", "cd-14"]) == {}
