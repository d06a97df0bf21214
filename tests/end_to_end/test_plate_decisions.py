"""What people decide about plates and what follows for the numbers: signatures, second reads, masks, lots, ratios, controls."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import open_lab
from biomarkers.simulation.truth import read_truth
from biomarkers.timepoints.alignment import TimepointRow

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab

pytestmark = pytest.mark.slow


def asked(root: Path, question: str, *given: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(root / "lab.db")
    rows = connection.execute(question, given).fetchall()
    connection.close()
    return rows


def rows_of(lab: Lab, measurand: str) -> list[TimepointRow]:
    with open_lab(lab.root) as laboratory:
        return [row for row in laboratory.rows(as_of=date(2026, 6, 30)) if row.measurand == measurand]


def values_of(lab: Lab, measurand: str) -> dict[str | None, float]:
    return {row.accession_id: row.value for row in rows_of(lab, measurand) if row.value is not None}


def plate_files(study: Dropped, stem: str) -> tuple[Path, Path]:
    """Export and map of a plate."""
    export = next(path for path in sorted((study.inbox / "elisa").glob(f"{stem}.*")) if ".map." not in path.name)
    return export, export.parent / f"{stem}.map.csv"


def nudged(export: Path) -> bytes:
    """The same plate read a second time: other bytes, all but equal numbers."""
    text = export.read_bytes().decode("latin-1")
    place = next(index for index in range(len(text) // 2, len(text)) if text[index] in "12345678" and text[index - 1] in "0.,")
    return (text[:place] + str(int(text[place]) + 1) + text[place + 1 :]).encode("latin-1")


def states(files: Sequence[dict[str, str]]) -> dict[str, str]:
    return {file["name"]: file["state"] for file in files}


@pytest.fixture
def with_plates(new_lab: Callable[..., Lab], small_study: Dropped) -> Callable[..., Lab]:
    """Make laboratories with the study's lists and some of its plates."""

    def make(*plates: str, without: Sequence[str] = ()) -> Lab:
        lab = new_lab()
        lab.drop("study", *(path for path in sorted((small_study.inbox / "study").iterdir()) if path.name not in without))
        for plate in plates:
            lab.drop("elisa", *plate_files(small_study, plate))
        assert set(states(lab.ingest()).values()) == {"recorded"}
        return lab

    return make


def test_a_corrected_map_waits_until_somebody_signs_for_it_and_then_supersedes(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates("IL8-P01")
    before = values_of(lab, "IL8")
    _, plate_map = plate_files(small_study, "IL8-P01")
    header, *lines = list(csv.reader(io.StringIO(plate_map.read_text())))
    for line in lines:
        line[header.index("dilution_factor")] = "20"
    corrected = "\n".join(",".join(line) for line in (header, *lines)) + "\n"
    lab.write("elisa", plate_map.name, corrected)
    (waiting,) = lab.ingest()
    assert waiting["state"] == "waiting"
    assert "nobody has signed" in waiting["what"]
    assert values_of(lab, "IL8") == before
    lab.write("elisa", "IL8-P01.toml", 'by = "M. Curie"\nreason = "The dilution was 20."\n')
    assert states(lab.ingest()) == {"IL8-P01.map.csv": "recorded", "IL8-P01.toml": "recorded"}
    after = values_of(lab, "IL8")
    assert after.keys() == before.keys()
    assert after != before
    ((reason,),) = asked(lab.root, "SELECT reason FROM supersession")
    assert reason == "The corrected plate map 'IL8-P01.map.csv' was dropped. M. Curie: The dilution was 20."
    lab.write("elisa", plate_map.name, corrected)
    assert states(lab.ingest()) == {"IL8-P01.map.csv": "seen"}


def test_a_sidecar_without_a_reason_is_quarantined_and_what_it_stands_beside_waits(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates("IL8-P01")
    export, _ = plate_files(small_study, "IL8-P01")
    lab.write("elisa", export.name, nudged(export))
    lab.write("elisa", "IL8-P01.toml", 'by = "M. Curie"\n')
    assert states(lab.ingest(status=1)) == {export.name: "waiting", "IL8-P01.toml": "quarantined"}
    note = (lab.root / "quarantine" / "elisa" / "IL8-P01.toml.reason.txt").read_text()
    assert "reason" in note


@pytest.mark.parametrize("replaces", [False, True])
def test_a_second_read_of_a_plate_waits_for_a_person_who_says_which_one_counts(
    with_plates: Callable[..., Lab], small_study: Dropped, *, replaces: bool
) -> None:
    lab = with_plates("IL8-P01")
    before = rows_of(lab, "IL8")
    export, plate_map = plate_files(small_study, "IL8-P01")
    again = lab.write("elisa", f"again{export.suffix}", nudged(export))
    lab.write("elisa", "again.map.csv", plate_map.read_text())
    waiting = lab.ingest()
    assert states(waiting) == {again.name: "waiting", "again.map.csv": "waiting"}
    assert "Plate 'IL8-P01' is on record already" in waiting[0]["what"]
    assert "biomarkers plates accept" in waiting[0]["remedy"]
    assert states(lab.ingest()) == states(waiting), "it waits as long as it takes"
    words = ["--replaces"] if replaces else []
    lab.run("plates accept", str(again), "--reason", "The lamp had failed.", *words)
    assert len(asked(lab.root, "SELECT DISTINCT run_id FROM analysis WHERE step = ''")) == 2
    assert asked(lab.root, "SELECT count(*) FROM supersession") == [(0,)]
    after = rows_of(lab, "IL8")
    changed = {row.run_id for row in after if row.run_id} != {row.run_id for row in before if row.run_id}
    assert changed is replaces
    decisions = asked(lab.root, "SELECT DISTINCT decision, reason FROM disposition")
    assert decisions == ([("repeated", "The lamp had failed.")] if replaces else [])
    assert {path.name for path in (lab.root / "inbox" / "elisa").iterdir()} == set()


def test_an_export_read_again_under_its_own_name_is_a_second_read_too(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates("IL8-P01")
    export, _ = plate_files(small_study, "IL8-P01")
    again = lab.write("elisa", export.name, nudged(export))
    (waiting,) = lab.ingest()
    assert waiting["state"] == "waiting"
    assert "is on record already" in waiting["what"]
    lab.run("plates accept", str(again), "--reason", "Read again an hour later.")
    assert len(asked(lab.root, "SELECT DISTINCT run_id FROM analysis WHERE step = ''")) == 2, "with the map on record"


def test_a_masked_well_is_left_out_with_its_reason_stays_out_and_comes_back(with_plates: Callable[..., Lab]) -> None:
    lab = with_plates("KYN-P01", "TRP-P01")
    before, ratios = values_of(lab, "KYN"), values_of(lab, "KYN_TRP_RATIO")
    ((well, accession_id),) = asked(
        lab.root,
        "SELECT well.position, well.accession_id FROM well JOIN analysis USING (analysis_id)"
        " WHERE analysis.name = 'KYN-P01' AND well.role = 'SAMPLE' AND well.comparator = '' AND well.concentration IS NOT NULL"
        " AND well.accession_id <> '' ORDER BY well.position LIMIT 1",
    )
    lab.run("mask", "KYN-P01", str(well), "--reason", "A bubble.")
    masked = values_of(lab, "KYN")
    assert {accession for accession in before if masked[accession] != before[accession]} == {accession_id}
    masked_ratios = values_of(lab, "KYN_TRP_RATIO")
    assert {accession for accession in ratios if masked_ratios[accession] != ratios[accession]} == {accession_id}
    ((flag, reason),) = asked(
        lab.root,
        "SELECT well.flag, well.mask_reason FROM well JOIN analysis USING (analysis_id) WHERE analysis.name = 'KYN-P01'"
        " AND well.position = ? AND analysis_id NOT IN (SELECT old_analysis_id FROM supersession)",
        well,
    )
    assert flag == "masked"
    assert str(reason).startswith("A bubble.")
    report = json.loads(lab.run("recompute", "--reason", "To see that the mask stays.", "--json").stdout)
    assert (report["changed"], report["derived"]) == (0, 0)
    assert values_of(lab, "KYN") == masked
    lab.run("mask", "KYN-P01", str(well), "--reason", "Again.", status=1)
    lab.run("mask", "KYN-P01", "Z99", "--reason", "No such well.", status=1)
    lab.run("mask", "KYN-P01", str(well), "--unmask", "--reason", "It was a scratch of the foil.")
    assert values_of(lab, "KYN") == before
    assert values_of(lab, "KYN_TRP_RATIO") == ratios
    actions = [
        action for (action,) in asked(lab.root, "SELECT action FROM audit_event WHERE action LIKE 'wells.%' ORDER BY id")
    ]
    assert actions == ["wells.masked", "wells.unmasked"]
    assert "whole" in lab.run("audit verify").stdout


def test_plates_analysed_before_their_lot_was_known_are_stale_until_they_are_recomputed(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates("KYN-P01", without=["lots.csv"])
    truth = {one.accession_id: one.value for one in read_truth(small_study.truth / "truth.csv") if one.measurand == "KYN"}

    def bias() -> float:
        found = values_of(lab, "KYN")
        return sum(math.log(found[one] / truth[str(one)]) for one in found) / len(found)

    without = bias()
    assert json.loads(lab.run("status", "--json").stdout)["stale"] == []
    lab.drop("study", small_study.inbox / "study" / "lots.csv")
    assert states(lab.ingest()) == {"lots.csv": "recorded"}
    (stale,) = json.loads(lab.run("status", "--json").stdout)["stale"]
    assert stale["name"] == "KYN-P01"
    assert "kit lot 'KYN KYN-" in stale["why"]
    lab.run("recompute", "--reason", "The certificate came.")
    assert json.loads(lab.run("status", "--json").stdout)["stale"] == []
    assert asked(lab.root, "SELECT reason FROM supersession") == [("The certificate came.",)]
    (lot,) = {one.kit_lot for one in small_study.study.lots if one.analyte == "KYN"}
    kit = next(one for one in small_study.study.lots if one.kit_lot == lot)
    layout = next(plate.layout for plate in small_study.study.plates if plate.analyte.code == "KYN")
    nominal = next(well.concentration for well in layout.wells if well.slot == "STD1")
    assert nominal is not None
    # The leaflet's calibrators were off by the lot's own factor, and so were all concentrations.
    assert bias() - without == pytest.approx(math.log(kit.calibrators["STD1"] / nominal), abs=0.01)


def test_a_lot_list_with_vanished_or_wrong_lines_goes_to_quarantine(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates()
    lines = (small_study.inbox / "study" / "lots.csv").read_text().splitlines()
    lab.write("study", "lots.csv", "\n".join(lines[:-1]))
    lab.write("study", "lots-2.csv", "\n".join([*lines, "IL6,IL6-99Z,,CTRL1,,30,20"]))
    assert set(states(lab.ingest(status=1)).values()) == {"quarantined"}
    notes = lab.root / "quarantine" / "study"
    assert "1 rows of the list on record are not in this one" in (notes / "lots.csv.reason.txt").read_text()
    assert "column 'lower'" in (notes / "lots-2.csv.reason.txt").read_text()


def test_the_ratio_follows_its_parts_and_names_every_file_it_comes_from(
    with_plates: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = with_plates("KYN-P01")
    assert values_of(lab, "KYN_TRP_RATIO") == {}
    lab.drop("elisa", *plate_files(small_study, "TRP-P01"))
    lab.ingest()
    kynurenine = {row.accession_id: row for row in rows_of(lab, "KYN") if row.value is not None}
    tryptophan = {row.accession_id: row for row in rows_of(lab, "TRP") if row.value is not None}
    ratios = {row.accession_id: row for row in rows_of(lab, "KYN_TRP_RATIO") if row.value is not None}
    assert ratios.keys() == kynurenine.keys() & tryptophan.keys()
    for accession_id, row in ratios.items():
        above, below = kynurenine[accession_id], tryptophan[accession_id]
        assert row.value is not None
        assert above.value is not None
        assert below.value is not None
        # ng/mL over 208.21 g/mol are nmol/mL; ug/mL over 204.23 g/mol are umol/mL.
        assert row.value == pytest.approx((above.value / 208.21) / (1000.0 * below.value / 204.23), rel=1e-9)
        assert row.unit == "uM/uM"
        assert row.source_sha256 == f"{above.source_sha256};{below.source_sha256}"
        if above.lower is not None and below.lower is not None:
            assert row.lower is not None
            assert row.upper is not None
            assert row.lower < row.value < row.upper
    parents = asked(
        lab.root,
        "SELECT DISTINCT result.measurand FROM derived_from JOIN result"
        " ON result.analysis_id = source_analysis_id AND result.result_id = source_result_id ORDER BY 1",
    )
    assert parents == [("KYN",), ("TRP",)]
    assert lab.ingest() == []
    assert asked(lab.root, "SELECT count(*) FROM supersession") == [(0,)], "a second sweep derives nothing anew"
    chosen = next(iter(ratios))
    lab.run("dispose", str(kynurenine[chosen].result_id), "--as", "excluded", "--reason", "Haemolysed.")
    lab.ingest()
    left = {row.accession_id: row.status for row in rows_of(lab, "KYN_TRP_RATIO")}
    assert left[chosen] == "pending"
    assert values_of(lab, "KYN_TRP_RATIO").keys() == ratios.keys() - {chosen}
    assert asked(lab.root, "SELECT reason FROM supersession") == [("What it was derived from is gone.",)]
    lab.run("dispose", str(kynurenine[chosen].result_id), "--as", "reportable", "--reason", "It was another tube.")
    lab.ingest()
    assert values_of(lab, "KYN_TRP_RATIO")[chosen] == ratios[chosen].value


def test_controls_are_charted_by_analyte_level_and_lot_and_stand_on_the_quality_page(ingested: Lab) -> None:
    series = json.loads(ingested.run("controls", "--json").stdout)["series"]
    assert {(one["analyte"], one["level"]) for one in series} >= {("IL6", "CTRL1"), ("IL6", "CTRL2"), ("KYN", "CTRL1")}
    for one in series:
        assert not one["is_established"], "a handful of runs sets no limits"
        assert all(point["accepted"] for point in one["points"])
    text = ingested.run("controls", "--analyte", "IL6").stdout
    assert "no limits yet" in text
    run_id = series[0]["points"][0]["run_id"]
    page = (ingested.root / "evidence" / run_id / "quality.html").read_text(encoding="utf-8")
    assert "Westgard" in page or "control" in page.lower()
