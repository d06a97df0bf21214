"""What people answer: proposed recomputations, files that wait for a word, and what changed since a release."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import Laboratory, open_lab
from biomarkers.provenance import utc_now
from biomarkers.reports.release_files import make_release
from biomarkers.results import Quantity
from biomarkers.store import jobs, lookups, signatures
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.jobs import Reason
from biomarkers.store.proposals import record_or_propose
from biomarkers.store.results import read_analysis
from biomarkers.store.signatures import Meaning
from biomarkers.timepoints.attrition import Stage

if TYPE_CHECKING:
    import httpx
    from conftest import Served


def csrf(client: httpx.Client) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]*)"', client.get("/account").text)
    assert found is not None
    return found.group(1)


PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests


def propose(served: Served) -> tuple[str, str, float]:
    """Sign a plate and let a recomputation come to one other number; return run, measurand and that number."""
    now = utc_now()
    with served.laboratory.database.write() as transaction:
        entry, analysis, first = next(
            (entry, analysis, one)
            for entry in lookups.current_analyses(transaction)
            if entry.assay == "elisa" and not entry.step
            for analysis in [read_analysis(transaction, analysis_id=entry.analysis_id)]
            for one in analysis.run.results
            if one.quantity is not None and not one.quantity.comparator
        )
        signatures.sign(
            transaction,
            run_id=entry.run_id,
            meaning=Meaning.REVIEWED,
            digest=signatures.signed_digest(transaction, run_id=entry.run_id),
            signed_by="reviewer",
            full_name="Dr. Reviewer",
            signed_at=now,
            reason="",
        )
        assert first.quantity is not None
        other = Quantity(value=first.quantity.value * 2, unit=first.quantity.unit, comparator="")
        results = tuple(replace(one, quantity=other) if one is first else one for one in analysis.run.results)
        provenance = replace(analysis.run.provenance, software="biomarkers 99")
        run = replace(
            analysis.run, results=tuple(replace(one, provenance=provenance) for one in results), provenance=provenance
        )
        record_or_propose(
            transaction,
            [replace(analysis, run=run)],  # type: ignore[type-var]  # whichever kind it is
            reason="A better fit.",
            recorded_at=now,
        )
    return entry.run_id, first.measurand, other.value


def test_a_proposal_is_listed_and_decided_by_a_reviewer_with_a_reason_in_their_name(own_served: Served) -> None:
    run_id, measurand, value = propose(own_served)
    reviewer = own_served.logged_in("reviewer")
    for path in ("/", "/proposals"):
        page = reviewer.get(path).text
        assert "A better fit." in page
        assert f"<td>{measurand}</td>" in page
        assert f'<data value="{value!r}">' in page
        assert "+100.0 %" in page
        assert "reviewed by Dr. Reviewer" in page
    assert "A recomputation proposes other results" in own_served.logged_in("scientist").get(f"/runs/{run_id}").text
    (listed,) = reviewer.get("/api/v1/proposals").json()
    assert (listed["run_id"], listed["reason"], listed["outcome"]) == (run_id, "A better fit.", "waits for a decision")
    assert [(one["measurand"], one["after"]["value"]) for one in listed["changes"]] == [(measurand, value)]
    number = re.search(r'action="/proposals/(\d+)/decisions"', page)
    assert number is not None
    address, given = (
        f"/proposals/{number.group(1)}/decisions",
        {"csrf": csrf(reviewer), "answer": "accepted", "reason": "sound", "password": PASSWORD},
    )
    assert reviewer.post(address, data={**given, "reason": " "}).status_code == 400
    assert reviewer.post(address, data={**given, "answer": "outdated"}).status_code == 400
    assert reviewer.post(address, data={**given, "password": "wrong"}).status_code == 403
    with own_served.client(headers=own_served.token("reviewer")) as script:
        assert script.post(address, data=given).status_code == 403
    assert own_served.renewed == []
    answer = reviewer.post(address, data=given, follow_redirects=True)
    assert "Accepted." in answer.text
    assert "Nothing waits for a decision." in answer.text
    assert "not computed yet" in answer.text
    assert "recomputation accepted</b> by reviewer: sound" in own_served.logged_in("scientist").get(f"/runs/{run_id}").text
    assert own_served.renewed == [(run_id, "reviewer accepted what a recomputation proposed: sound")]
    assert reviewer.post(address, data=given).status_code == 409
    (listed,) = reviewer.get("/api/v1/proposals").json()
    assert (listed["answer"], listed["decided_by"], listed["decision_reason"]) == ("accepted", "reviewer", "sound")
    event = own_served.logged_in("auditor").get("/api/v1/audit?action=proposal.").json()[0]
    assert (event["actor"], event["action"], event["reason"]) == ("reviewer", "proposal.accepted", "sound")


def test_a_refused_proposal_starts_nothing_and_what_was_signed_stands(own_served: Served) -> None:
    run_id, _, _ = propose(own_served)
    reviewer = own_served.logged_in("reviewer")
    number = re.search(r'action="/proposals/(\d+)/decisions"', reviewer.get("/proposals").text)
    assert number is not None
    given = {"csrf": csrf(reviewer), "answer": "refused", "reason": "the old fit holds"}
    reviewer.post(f"/proposals/{number.group(1)}/decisions", data=given)
    assert own_served.renewed == []
    assert "what was signed stands" in reviewer.get("/proposals").text
    runs = reviewer.get("/api/v1/runs").json()
    assert next(run["standing"] for run in runs if run["run_id"] == run_id) == "reviewed"


def waiting_second_read(served: Served) -> int:
    inbox = served.laboratory.folder.inbox("elisa")
    (inbox / "P0042-again.txt").write_text("read again")
    with served.laboratory.database.write() as transaction:
        job = jobs.enqueue(transaction, assay="elisa", name="P0042-again.txt", size=10, mtime_ns=7, received_at=utc_now())
        jobs.claim(transaction, job_id=job.id, owner="tests", now=utc_now(), lease=timedelta(minutes=5))
        remedy = "If the plate was read again, run 'biomarkers plates accept', or drop 'P0042-again.toml'."
        jobs.wait(
            transaction, job_id=job.id, owner="tests", reason=Reason(what="It is on record already.", where="", remedy=remedy)
        )
    return job.id


def test_a_second_read_is_taken_in_on_the_word_of_who_is_logged_in(own_served: Served) -> None:
    job = waiting_second_read(own_served)
    technician = own_served.logged_in("technician")
    page = technician.get("/waiting").text
    assert page.count("Take it in, in my name") == 1  # the export without a map waits for a file, not for a word
    address = f"/waiting/{job}/answer"
    given = {"csrf": csrf(technician), "reason": "the lid was on", "replaces": "true"}
    assert technician.post(address, data={**given, "reason": ""}).status_code == 400
    assert "Your word lies beside the file." in technician.post(address, data=given, follow_redirects=True).text
    word = own_served.laboratory.folder.inbox("elisa") / "P0042-again.toml"
    assert word.read_text() == 'by = "Dr. Technician (technician)"\nreason = "the lid was on"\nreplaces = true\n'
    assert technician.post(address, data=given).status_code == 409
    event = own_served.logged_in("auditor").get("/api/v1/audit?action=file.answered").json()
    assert [(one["actor"], one["entity"], one["reason"]) for one in event] == [
        ("technician", "elisa/P0042-again.txt", "the lid was on")
    ]


def test_no_word_is_written_for_a_file_that_waits_for_something_else(own_served: Served) -> None:
    technician = own_served.logged_in("technician")
    with own_served.laboratory.database.read() as reading:
        other = next(one.id for one in jobs.all_jobs(reading) if one.name == "P0999.txt")
    given = {"csrf": csrf(technician), "reason": "x"}
    assert technician.post(f"/waiting/{other}/answer", data=given).status_code == 409
    assert technician.post(f"/waiting/{10**30}/answer", data=given).status_code == 422
    assert list(own_served.laboratory.folder.inbox("elisa").iterdir()) == []


@pytest.mark.parametrize("role", ["scientist", "unblinded_scientist"])
def test_what_changed_since_a_release_is_told_row_by_row_beside_its_head(own_served: Served, role: str) -> None:
    release = make_release(own_served.laboratory, "interim")
    statistician = own_served.logged_in(role)
    page = statistician.get("/statistics").text
    assert f"{release.head.number}:{release.head.hash}" in page
    assert "as locked" in page
    assert re.search(r'all <span class="quiet">0</span>', page)
    row = next(one for one in own_served.laboratory.rows() if one.assay == "elisa" and one.value is not None)
    with own_served.laboratory.database.write() as transaction:
        dispose(
            transaction,
            result_id=row.result_id or "",
            decision=Decision.EXCLUDED,
            reason="clotted",
            decided_by="reviewer",
            decided_at=utc_now(),
        )
    page = statistician.get("/statistics", params={"measurand": row.measurand, "visit": row.visit}).text
    line = re.search(rf'<th scope="row">{row.subject_id}</th><td>{row.visit}</td><td>{row.measurand}</td>(.*?)</tr>', page)
    assert line is not None
    assert "another number" in line.group(1)
    assert f'<data value="{row.value!r}">' in line.group(1)
    assert f"/results/{row.result_id}" in line.group(1)


def test_a_release_that_was_touched_says_so(own_served: Served) -> None:
    release = make_release(own_served.laboratory, "interim")
    manifest = release.folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace('"locked_by": "', '"locked_by": "not '))
    assert "its files have changed" in own_served.logged_in("scientist").get("/statistics").text


def test_attrition_counts_who_is_where_and_tells_arms_to_one_role_alone(people_served: Served) -> None:
    scientist = people_served.logged_in("scientist")
    page = scientist.get("/statistics?measurand=IL6").text
    rows = [one for one in people_served.laboratory.rows() if one.measurand == "IL6" and one.visit == "BASELINE"]
    found = re.search(r'<th scope="row">BASELINE</th><td>IL6</td>(.*?)</tr>', page)
    assert found is not None
    counts = re.findall(r'<td class="n[^"]*">(?:<a [^>]*>)?(\d+)', found.group(1))
    assert len(counts) == len(Stage)
    assert counts[0] == str(len({one.subject_id for one in rows}))
    assert scientist.get("/statistics?arm=true").status_code == 403
    assert '<th scope="col">arm</th>' in people_served.logged_in("unblinded_scientist").get("/statistics?arm=true").text
    assert scientist.get("/statistics?release=none").status_code == 404


def test_nobody_without_an_account_decides_anything_although_they_see_the_technicians_pages(
    ingested_folder: Path, tmp_path: Path, serve: Callable[[Laboratory], Served]
) -> None:
    shutil.copytree(ingested_folder, tmp_path / "lab", symlinks=True)
    served = serve(open_lab(tmp_path / "lab"))
    with served.client() as client:
        page = client.get("/runs").text
        run_id = re.search(r'href="/runs/(elisa-[0-9a-f]+)"', page)
        assert run_id is not None
        address = f"/runs/{run_id.group(1)}"
        word = re.search(r'name="csrf" content="([0-9a-f]*)"', client.get(address).text)
        assert word is not None
        answer = client.post(f"{address}/masks", data={"csrf": word.group(1), "well": "A03", "reason": "x", "action": "mask"})
    assert answer.status_code == 403
    assert "Log in: this is put on record in a person&#39;s name." in answer.text
    assert served.renewed == []
