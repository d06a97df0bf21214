"""Stain protocols from TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.stain_protocols import packaged_protocol, packaged_protocols, read_protocol


def test_the_packaged_protocols_are_valid_and_known_by_their_name() -> None:
    assert packaged_protocols() == ("cd4", "cd8", "ki67", "pdl1")
    for name in packaged_protocols():
        protocol = packaged_protocol(name.upper())
        assert protocol.name == name
        assert protocol.scoring.compartment == ("nucleus" if name == "ki67" else "membrane")
        assert protocol.scoring.needs_tumour_class == (name == "pdl1")


def test_all_faults_of_a_protocol_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cd3.toml"
    path.write_text(
        'name = "cd3"\nstain = "CD3"\ntitle = "CD3"\nmarks = "T cells"\nsource = "assumption"\ncolour = "brown"\n'
        '[scoring]\ncompartment = "cytoplasm"\ncutoffs = [0.2, 0.4, 0.6]\n'
        "[evaluability]\nsmallest_tissue_mm2 = 0\nfewest_cells = 100\n"
    )
    with pytest.raises(StudyDefinitionError) as caught:
        read_protocol(path)
    places = " ".join(fault.where for fault in caught.value.faults)
    assert all(entry in places for entry in ("colour", "scoring.compartment", "evaluability.smallest_tissue_mm2"))


def test_cut_offs_have_to_rise(tmp_path: Path) -> None:
    path = tmp_path / "cd3.toml"
    path.write_text(
        'name = "cd3"\nstain = "CD3"\ntitle = "CD3"\nmarks = "T cells"\nsource = "assumption"\n'
        '[scoring]\ncompartment = "membrane"\ncutoffs = [0.4, 0.2, 0.6]\n'
        "[evaluability]\nsmallest_tissue_mm2 = 0.1\nfewest_cells = 100\n"
    )
    with pytest.raises(StudyDefinitionError, match="cutoffs must rise"):
        read_protocol(path)
