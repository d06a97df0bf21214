"""A laboratory into which stained tubes go straight to the record, so that second steps can be watched by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from drawn_visits import BLOOD, DRIFT

from biomarkers.lab.archive import admit
from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.results import DerivedAnalysis
from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube
from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.fcs_bytes import fcs_bytes, spillover_keyword
from biomarkers.store import signatures, sources
from biomarkers.store.results import StoredResult, current_results, read_analysis, record_analysis
from biomarkers.store.study_lists import record_roster, record_specimens
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Specimen, Subject
from flows.acquisition_work import AcquisitionWork, TubeFiles, analyse_fcs_file
from flows.batch_cut_step import cut_remarks
from flows.batch_step import batch_remarks
from flows.bench import at_bench
from flows.joint_gating_step import joint_gating
from flows.second_steps import record_derived
from flows.whole_set import WholeSet
from flows.work import Analysed, Specimens, WorkFile

VISITS = {"BASELINE": date(2025, 3, 3), "C2D1": date(2025, 3, 31), "C6D1": date(2025, 6, 23), "PROGRESSION": date(2025, 9, 1)}
NOW = datetime(2025, 10, 1, 12, tzinfo=UTC)


def accession(subject: int, visit: str) -> str:
    return f"ATR-{100 * subject + list(VISITS).index(visit) + 1:06d}"


@dataclass(slots=True, kw_only=True)
class StainedLab:
    """A laboratory of some subjects with four PBMC specimens each."""

    laboratory: Laboratory
    scratch: Path
    moment: datetime = NOW
    faults: list[str] = field(default_factory=list)

    def stain(
        self,
        subject: int,
        visit: str,
        *,
        sidecar: str = 'batch = "B1"\n',
        drift: Mapping[str, float] | None = None,
        events: int = 3000,
        seed: int | None = None,
        name: str = "",
        blood: BloodCells = BLOOD,
        gates: bytes = b"",
    ) -> str:
        """Record a tube as the flow does, with gates that a person corrected where they are given; return its run."""
        folder = self.laboratory.folder
        stem = name or accession(subject, visit)
        number = 100 * subject + list(VISITS).index(visit) if seed is None else seed
        tube = draw_tube(blood, events, cytometer_day(np.random.default_rng(1)), np.random.default_rng(number), drift or {})
        keywords = {"$FIL": f"{stem}.fcs", "$SPILLOVER": spillover_keyword(COLOURS, tube.spillover), "$TIMESTEP": "0.01"}
        files = {}
        dropped = {
            "instrument": (f"{stem}.fcs", fcs_bytes(tube.events, DETECTORS, keywords)),
            "sidecar": (f"{stem}.toml", sidecar.encode()),
        }
        if gates:
            dropped |= {
                "gates": (f"{stem}.xml", gates),
                "sign_off": ("signed.toml", b'by = "M. Weiss"\nreason = "dim cells"\n'),
            }
        for role, (file_name, content) in dropped.items():
            path = self.scratch / file_name
            path.write_bytes(content)
            admitted = admit(folder, path)
            with self.laboratory.database.write() as transaction:
                sources.register(
                    transaction,
                    sha256=admitted.sha256,
                    size=admitted.size,
                    assay="cytometry",
                    kind="acquisition",
                    name=path.name,
                    received_at=self._tick(),
                )
            files[role] = WorkFile(name=path.name, sha256=admitted.sha256)
        work = AcquisitionWork(
            folder=folder,
            files=TubeFiles(
                instrument=files["instrument"],
                sidecar=files["sidecar"],
                gates=files.get("gates"),
                sign_off=files.get("sign_off"),
            ),
            definition=self.laboratory.definition,
            specimens=Specimens(material_by_accession={stem: Material.PBMC}),
            computed_at=self._tick(),
        )
        outcome = analyse_fcs_file(work)
        assert isinstance(outcome, Analysed), outcome
        (analysis,) = outcome.analyses
        with self.laboratory.database.write() as transaction:
            reason = "by M. Weiss: dim cells" if gates else ""
            record_analysis(transaction, analysis, reason=reason, recorded_at=self._tick())
        return analysis.run.run_id

    def step(self) -> list[DerivedAnalysis]:
        """Run joint gating over what is on record and record what comes; return what was written."""
        whole = WholeSet(
            database=self.laboratory.database,
            definition=self.laboratory.definition,
            folder=self.laboratory.folder,
            computed_at=self._tick(),
        )
        with ThreadPoolExecutor(1) as one, at_bench(self.laboratory, lambda *_: None, executor=one) as made:
            derived = asyncio.run(joint_gating(whole))
            self.faults = made.faults
        recorded = record_derived(self.laboratory.database, "joint gating", derived, reason="", at=self._tick())
        written = [one.analysis_id for one in recorded if one.changed]
        with self.laboratory.database.read() as reading:
            analyses = [read_analysis(reading, analysis_id=one) for one in written]
        return [one for one in analyses if isinstance(one, DerivedAnalysis)]

    def remarks(self) -> set[tuple[str, str, str]]:
        """What the steps that only remark say of runs now: run, measurand and code."""
        whole = WholeSet(
            database=self.laboratory.database,
            definition=self.laboratory.definition,
            folder=self.laboratory.folder,
            computed_at=self._tick(),
        )
        derived = [one for step in (batch_remarks, cut_remarks) for one in asyncio.run(step(whole))]
        return {(remark.run_id, remark.measurand, remark.finding.code) for one in derived for remark in one.remarks}

    def values(self, measurand: str) -> dict[str, StoredResult]:
        """Results in force by accession."""
        with self.laboratory.database.read() as reading:
            return {one.accession_id: one for one in current_results(reading, measurand=measurand)}

    def table(self) -> dict[tuple[str, str], float | None]:
        """Every value in force."""
        with self.laboratory.database.read() as reading:
            return {(one.accession_id, one.measurand): one.value for one in current_results(reading)}

    def review(self, run_id: str) -> None:
        """Sign a run's results as reviewed."""
        with self.laboratory.database.write() as transaction:
            signatures.sign(
                transaction,
                run_id=run_id,
                meaning=signatures.Meaning.REVIEWED,
                digest=signatures.signed_digest(transaction, run_id=run_id),
                signed_by="maria",
                full_name="Maria Weiss",
                signed_at=self._tick(),
                reason="",
            )

    def _tick(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


@pytest.fixture
def stained_lab(tmp_path: Path) -> Iterator[Callable[..., StainedLab]]:
    """Make laboratories of some subjects."""
    opened: list[Laboratory] = []

    def make(subjects: Sequence[int] = (1,), name: str = "lab") -> StainedLab:
        laboratory = create_laboratory(tmp_path / name)
        opened.append(laboratory)
        start = Moment(day=date(2025, 3, 10), time=None)
        people = [Subject(subject_id=f"S{at:04d}", site="LONDON", treatment_start=start) for at in subjects]
        specimens = [
            Specimen(
                accession_id=accession(at, visit),
                subject_id=f"S{at:04d}",
                material=Material.PBMC,
                collected_at=Moment(day=day, time=None),
                nominal_visit=visit,
            )
            for at in subjects
            for visit, day in VISITS.items()
        ]
        with laboratory.database.write() as transaction:
            record_roster(transaction, subjects=people, sha256="a" * 64, recorded_at=NOW)
            record_specimens(transaction, specimens=specimens, sha256="b" * 64, recorded_at=NOW)
            laboratory.realign(transaction)
        scratch = tmp_path / f"{name}-scratch"
        scratch.mkdir()
        return StainedLab(laboratory=laboratory, scratch=scratch)

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def drift() -> Mapping[str, float]:
    return DRIFT


@pytest.fixture
def other_blood() -> BloodCells:
    """The same person's blood at another visit."""
    return replace(BLOOD, cd4_of_t=0.45, cd8_of_t=0.45, naive_of_cd4=0.30)
