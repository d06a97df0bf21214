"""A table written piece by piece is the table written in one go."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.laboratory.insights import Choice
from biomarkers.reports.streams import stream_table
from biomarkers.reports.tables import write_table
from biomarkers.store import study_lists
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Specimen, Subject
from biomarkers.timepoints.table import timepoint_frame


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """Thirty subjects, some with specimens, one of which is named like a formula."""
    now = datetime.now(UTC)
    start = now.date() - timedelta(days=60)
    with create_laboratory(tmp_path_factory.mktemp("streamed") / "lab") as lab:
        ids = [*(f"S{number:03d}" for number in range(29)), "=S029"]
        subjects = [Subject(subject_id=one, site="LONDON", treatment_start=Moment(day=start)) for one in ids]
        specimens = [
            Specimen(
                accession_id=f"ATR-{number:06d}",
                subject_id=one,
                material=Material.PLASMA,
                collected_at=Moment(day=start + timedelta(days=21)),
                nominal_visit=("C2D1", "UNSCHEDULED")[number % 2],
            )
            for number, one in enumerate(ids)
            if number % 3
        ]
        with lab.database.write() as transaction:
            study_lists.record_roster(transaction, subjects=subjects, sha256="1", recorded_at=now)
            study_lists.record_specimens(transaction, specimens=specimens, sha256="2", recorded_at=now)
            lab.realign(transaction)
        yield lab


def streamed(pieces: Iterator[pd.DataFrame], table_format: str) -> bytes:
    target = io.BytesIO()
    stream_table(pieces, table_format, target)
    return target.getvalue()


@pytest.mark.parametrize("choice", [{}, {"visit": "C2D1"}, {"subject": ["S001", "S004", "S999"], "measurand": "IL6"}])
@pytest.mark.parametrize("later", [0, 400])
def test_pieces_make_the_same_table_in_the_same_order(laboratory: Laboratory, choice: dict[str, str], later: int) -> None:
    day = datetime.now(UTC).date() + timedelta(days=later)
    computed = timepoint_frame(laboratory.columns(as_of=day))
    whole = Choice.of(**choice).of_frame(computed)  # type: ignore[arg-type]  # names of columns and their choice
    pd.testing.assert_frame_equal(laboratory.timepoints(as_of=day, **choice), whole)  # type: ignore[arg-type]  # as above
    pieces = list(laboratory.timepoint_batches(as_of=day, rows=300, **choice))  # type: ignore[arg-type]
    assert len(pieces) > 5 or "subject" in choice
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)
    assert streamed(iter(pieces), "csv") == write_table(whole, "csv")
    again = pd.read_parquet(io.BytesIO(streamed(iter(pieces), "parquet")))
    pd.testing.assert_frame_equal(again.astype(whole.dtypes.to_dict()), whole)


def test_a_day_gone_by_is_computed(laboratory: Laboratory) -> None:
    before = datetime.now(UTC).date() - timedelta(days=50)
    whole = laboratory.timepoints(as_of=before)
    assert not whole["accession_id"].notna().any()
    pd.testing.assert_frame_equal(pd.concat(laboratory.timepoint_batches(as_of=before), ignore_index=True), whole)


@pytest.mark.parametrize("table_format", ["csv", "parquet"])
def test_nothing_asked_for_gives_the_columns(laboratory: Laboratory, table_format: str) -> None:
    content = io.BytesIO(streamed(laboratory.timepoint_batches(subject="S999"), table_format))
    table = pd.read_csv(content) if table_format == "csv" else pd.read_parquet(content)
    assert list(table.columns) == list(laboratory.timepoints().columns)
    assert table.empty
