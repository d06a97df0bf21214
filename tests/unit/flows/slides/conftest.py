"""Slides on record in a laboratory's store, without orchestration or pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.scoring import garwood_density, wilson_percent
from biomarkers.ihc.section import study_result
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, bytes_digest
from biomarkers.readers.stain_protocols import packaged_protocol
from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay, DerivedAnalysis, Finding, Interval, Run, Severity, run_identity
from biomarkers.store import sources
from biomarkers.store.database import Database, sqlite_url
from biomarkers.store.results import StoredResult, current_results, record_analysis
from biomarkers.store.schema import remark
from flows.whole_set import WholeSet

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)

Step = Callable[[WholeSet], Awaitable[Sequence[DerivedAnalysis]]]


def score_record(*, positive: int, cells: int, area_mm2: float, findings: tuple[Finding, ...] = ()) -> ScoreRecord:
    """Make the scores of a slide whose positive cells are all 2+; without numbers where a finding refuses them."""
    given = not any(finding.severity is Severity.REJECT for finding in findings)
    h_score = 200.0 * positive / cells
    limits = {
        "positive_percent": wilson_percent(positive, cells, 1.0),
        "density_per_mm2": garwood_density(positive, area_mm2, 1.0),
        "h_score": Interval(lower=h_score - 5.0, upper=h_score + 5.0),
    }
    return ScoreRecord(
        region="tissue",
        stain="CD8",
        area_mm2=area_mm2,
        cells=cells,
        positive=positive,
        class_counts={"0": cells - positive, "1+": 0, "2+": positive, "3+": 0},
        positive_percent=100.0 * positive / cells if given else None,
        density_per_mm2=positive / area_mm2 if given else None,
        h_score=h_score if given else None,
        intervals=limits if given else {},
        findings=findings,
        inflations=dict.fromkeys(limits, 1.0) if given else {},
        standard_errors={"h_score": 2.5} if given else {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideStore:
    """A store and what is asked of it."""

    whole: WholeSet

    @staticmethod
    def refusal(code: str) -> Finding:
        return Finding(code=code, severity=Severity.REJECT, where="Slide.", message="Not scored.", remedy="Look at it.")

    def slide(
        self,
        name: str,
        *,
        positive: int = 50,
        cells: int = 1000,
        area_mm2: float = 0.5,
        accession_id: str = "ATR-000001",
        section: str = "",
        batch: str = "",
        scanner: str = "",
        role: str = "SPECIMEN",
        dab: tuple[float, float, float] = (0.27, 0.57, 0.78),
        findings: tuple[Finding, ...] = (),
    ) -> SlideAnalysis:
        """Put a slide on record."""
        protocol = packaged_protocol("cd8")
        source = Source(role="instrument", name=name, sha256=bytes_digest(name.encode()))
        made_from = Provenance(
            sources=(source,),
            inputs=(Input(kind="stain_protocol", name="CD8", sha256=protocol.digest()),),
            software="biomarkers 0.1.0",
            parameters="{}",
            computed_at=NOW,
        )
        run_id = run_identity(Assay.IHC, source.sha256)
        record = score_record(positive=positive, cells=cells, area_mm2=area_mm2, findings=findings)
        stain = self.whole.definition.stain("CD8")
        assert stain is not None
        results = tuple(
            study_result(score, (record,), protocol, accession_id=accession_id, run_id=run_id, provenance=made_from)
            for score in stain.scores
        )
        analysis = SlideAnalysis(
            run=Run(
                run_id=run_id,
                assay=Assay.IHC,
                name=name,
                acquired_at="",
                findings=findings,
                results=results if role == "SPECIMEN" else (),
                provenance=made_from,
            ),
            stain="CD8",
            pixel_size_um=0.25,
            stain_vectors={"haematoxylin": (0.65, 0.70, 0.29), "dab": dab, "residual": (0.0, 0.0, 1.0)},
            white_point=(240.0, 240.0, 240.0),
            scores=(record,),
            stain_angles_deg={"haematoxylin": 1.0, "dab": 1.0},
            role=role,
            accession_id=accession_id if role == "SPECIMEN" else "",
            section=section,
            batch=batch,
            scanner=scanner,
        )
        with self.whole.database.write() as transaction:
            sources.register(
                transaction, sha256=source.sha256, size=10, assay="ihc", kind="instrument", name=name, received_at=NOW
            )
            record_analysis(transaction, analysis, reason="", recorded_at=NOW)
        return analysis

    def run(self, step: Step) -> tuple[DerivedAnalysis, ...]:
        """Run a second step and put what it derives on record; return what is new."""
        derived = asyncio.run(_ran(step, self.whole))
        with self.whole.database.write() as transaction:
            return tuple(
                made
                for made in derived
                if record_analysis(transaction, made, reason="The set has changed.", recorded_at=NOW).changed
            )

    def standing(self, measurand: str) -> tuple[StoredResult, ...]:
        """Return the results that stand, those whose place is taken left out."""
        with self.whole.database.read() as reading:
            return current_results(reading, measurand=measurand)

    def remarks(self) -> set[tuple[str, str]]:
        """Return what is remarked: run and code."""
        with self.whole.database.read() as reading:
            return {(row.run_id, row.code) for row in reading.connection.execute(remark.select())}


async def _ran(step: Step, whole: WholeSet) -> Sequence[DerivedAnalysis]:
    return await step(whole)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "lab.db"
    Database.create(sqlite_url(path)).close()
    return path.read_bytes()


@pytest.fixture
def new_slide_store(empty_store: bytes, tmp_path: Path) -> Callable[[], SlideStore]:
    """Make stores that hold nothing yet."""
    made: list[Path] = []

    def make() -> SlideStore:
        root = tmp_path / f"lab{len(made)}"
        root.mkdir()
        made.append(root)
        (root / "lab.db").write_bytes(empty_store)
        return SlideStore(
            whole=WholeSet(
                database=Database.open(sqlite_url(root / "lab.db")),
                definition=packaged_study(),
                folder=LabFolder(root=root),
                computed_at=NOW,
            )
        )

    return make


@pytest.fixture
def slide_store(new_slide_store: Callable[[], SlideStore]) -> SlideStore:
    return new_slide_store()
