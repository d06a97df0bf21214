"""A changed layout, lot and panel under signed results, to their end in the browser: proposed, accepted, refused, on record.

Everything is real: the commands of the manual ingest and recompute, and the pages are served by their own command. Pictures
lie in ``tmp/screenshots/proposals``.
"""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from watched_browser import Watched, chromium_launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.end_to_end.conftest import Dropped, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in this test
PEOPLE = {"hanna": ("reviewer", "Hanna Head"), "anna": ("auditor", "Anna Auditor"), "sara": ("scientist", "Sara Scientist")}
REASON = "Layout, lot and panel were corrected."


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Where a laboratory's pages are served."""

    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium_launched() as launched:
        yield launched


@pytest.fixture
def pictures(project_root: Path) -> Path:
    place = project_root / "tmp" / "screenshots" / "proposals"
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def serving(lab: Lab, command: Path) -> Iterator[Pages]:
    """Serve the pages as the manual says, on a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([command, "serve", lab.root, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            try:
                httpx.get(f"{address}/login", timeout=30)
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.1)
            else:
                break
        yield Pages(url=address)
    finally:
        server.terminate()
        server.wait(60)


def add_people(lab: Lab, command: Path) -> None:
    for name, (role, full_name) in PEOPLE.items():
        line = [command, "users", "add", lab.root, name, "--role", role, "--full-name", full_name, "--password-stdin"]
        subprocess.run(line, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True, timeout=120)


class Person:
    """Somebody at the pages."""

    def __init__(self, browser: Browser, pages: Pages, name: str, pictures: Path) -> None:
        self.watched = Watched(browser, pages)
        self.page, self.url, self.pictures = self.watched.page, pages.url, pictures
        self.watched.log_in(name, PASSWORD)

    def go(self, path: str, picture: str = "") -> str:
        self.page.goto(self.url + path)
        self.page.wait_for_load_state("networkidle")
        if picture:
            self.page.screenshot(path=str(self.pictures / f"{picture}.png"), full_page=True)
        return self.page.locator("main").inner_text()

    def sign(self, run_id: str, meaning: str) -> None:
        self.go(f"/runs/{run_id}")
        self.page.fill("#signatures [name=password]", PASSWORD)
        self.page.click(f"text=Sign as {meaning}")
        self.page.wait_for_selector("text=Signed.")

    def answer(self, proposal: int, word: str, *, reason: str, password: str = "") -> None:
        card = self.page.locator(f"#proposal-{proposal}")
        card.locator(f"summary >> text={word}").click()
        form = card.locator("details[open] form")
        form.locator("[name=reason]").fill(reason)
        if password:
            form.locator("[name=password]").fill(password)
        form.locator("button").click()
        self.page.wait_for_load_state("networkidle")


def run_of(lab: Lab, measurand: str) -> str:
    """Return the run that counts for a measurand with a number."""
    rows = csv.DictReader(io.StringIO(lab.table("--measurand", measurand)))
    return next(row["run_id"] for row in rows if row["value"])


def change_what_they_were_made_from(lab: Lab, small_study: Dropped) -> None:
    """Give the IL-6 layout another dilution, the kynurenine lot other calibrators, and the panel a narrower gate."""
    layout = lab.root / "plate_layouts" / "il6-96.csv"
    layout.write_text(layout.read_text().replace("2,2,2,2,2,2,2,2", "4,4,4,4,4,4,4,4"))
    panel = lab.root / "panels" / "pbmc-lineage.toml"
    panel.write_text(panel.read_text().replace("widths = 6.0", "widths = 3.0"))
    lots = list(csv.DictReader((small_study.inbox / "study" / "lots.csv").read_text().splitlines()))
    for lot in lots:
        if lot["analyte"] == "KYN" and lot["slot"].startswith("STD"):
            lot["value"] = str(1.1 * float(lot["value"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, lots[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lots)
    lab.write("study", "lots.csv", text.getvalue())


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A proposal as the command lists it."""

    id: int
    before: dict[str, float]
    after: dict[str, float]


def proposed(lab: Lab, run_id: str, measurand: str) -> Waiting:
    """Return what waits for a decision about a run, with its numbers of a measurand by accession."""
    told = json.loads(lab.run("proposals list", "--json").stdout)["proposals"]
    (one,) = [one for one in told if one["run_id"] == run_id]
    changes = [change for change in one["changes"] if change["measurand"] == measurand]
    return Waiting(
        id=one["id"],
        before={change["accession_id"]: change["before"]["value"] for change in changes},
        after={change["accession_id"]: change["after"]["value"] for change in changes},
    )


def shown(lab: Lab, measurand: str) -> dict[str, float]:
    rows = csv.DictReader(io.StringIO(lab.table("--measurand", measurand)))
    return {row["accession_id"]: float(row["value"]) for row in rows if row["value"]}


def test_a_lab_head_accepts_and_refuses_what_changed_under_signed_results_and_all_of_it_stays_on_record(
    ingested: Lab, small_study: Dropped, command: Path, browser: Browser, pictures: Path
) -> None:
    lab = ingested
    add_people(lab, command)
    il6, kyn, cd4 = (run_of(lab, measurand) for measurand in ("IL6", "KYN", "CD4_PCT_T"))
    with serving(lab, command) as pages:
        hanna = Person(browser, pages, "hanna", pictures)
        for run_id in (il6, kyn, cd4):
            hanna.sign(run_id, "reviewed")
        hanna.sign(il6, "released")
        before = {measurand: shown(lab, measurand) for measurand in ("IL6", "KYN")}

        change_what_they_were_made_from(lab, small_study)
        lab.ingest(status=1)  # the file that was bad before still is
        assert lab.states()["lots.csv"] == "recorded"
        stale = {one["run_id"]: one["why"] for one in json.loads(lab.run("status", "--json").stdout)["stale"]}
        assert {il6, kyn, cd4} <= stale.keys()
        told = json.loads(lab.run("recompute", "--reason", REASON, "--json").stdout)
        assert told["proposed"] == 3
        assert {measurand: shown(lab, measurand) for measurand in before} == before

        il6_waits, kyn_waits, cd4_waits = proposed(lab, il6, "IL6"), proposed(lab, kyn, "KYN"), proposed(lab, cd4, "CD4_PCT_T")
        assert cd4_waits.before.items() <= shown(lab, "CD4_PCT_T").items()  # of tubes nobody has signed the new ones count
        _everything_is_shown(hanna, (il6_waits, kyn_waits, cd4_waits))
        hanna.answer(il6_waits.id, "Accept", reason="The bench book says 4.", password="not hers")  # noqa: S106  - it is wrong
        assert "The password does not fit, so nothing was accepted." in hanna.page.inner_text("main")
        assert ["403" in one for one in hanna.watched.said] == [True]  # the browser's own word for what was refused
        hanna.watched.said.clear()
        hanna.go("/proposals")
        hanna.answer(il6_waits.id, "Accept", reason="The bench book says 4.", password=PASSWORD)
        assert "The run is being computed again" in hanna.page.inner_text("main")
        hanna.answer(kyn_waits.id, "Refuse", reason="The certificate is another lot's.")
        assert "Refused: what was signed stands." in hanna.page.inner_text("main")
        hanna.answer(cd4_waits.id, "Accept", reason="Checked on the scatter plots.", password=PASSWORD)
        _until_computed(hanna, 2)

        assert shown(lab, "IL6") == {**before["IL6"], **il6_waits.after}
        assert shown(lab, "KYN") == before["KYN"]
        assert cd4_waits.after.items() <= shown(lab, "CD4_PCT_T").items()
        _the_past_is_shown(hanna, il6, il6_waits, "IL6")
        assert "holds" in hanna.go(f"/runs/{kyn}#signatures", "refused-run")
        hanna.watched.close()
        _the_auditor_sees(Person(browser, pages, "anna", pictures), il6, cd4)

        again = json.loads(lab.run("recompute", "--reason", "Once more.", "--json").stdout)
        assert again["proposed"] == 0
        assert again["changed"] == 0
        assert shown(lab, "KYN") == before["KYN"]
        still = {one["run_id"]: one["proposed"] for one in json.loads(lab.run("status", "--json").stdout)["stale"]}
        assert still[kyn].startswith("refused by hanna on ")
        assert still[kyn].endswith(": The certificate is another lot's.")
    assert "whole" in lab.run("audit verify").stdout


def _everything_is_shown(hanna: Person, waiting: tuple[Waiting, ...]) -> None:
    """Old value, new value and reason stand on the first page and on the page of proposals."""
    for path, picture in (("/", "to-review"), ("/proposals", "proposals")):
        text = hanna.go(path, picture)
        assert text.count(REASON) == len(waiting)
        for one in waiting:
            card = hanna.page.locator(f"#proposal-{one.id}")
            written = {float(value or "nan") for value in card.locator("data").evaluate_all("all => all.map(d => d.value)")}
            assert {*one.before.values(), *one.after.values()} <= written
            assert "by Hanna Head" in card.inner_text()
            assert one.before != one.after


def _until_computed(hanna: Person, wanted: int) -> None:
    for _ in range(240):
        if hanna.go("/proposals").count("took the place of what was signed") == wanted:
            break
        time.sleep(1)
    text = hanna.go("/proposals", "decided")
    assert text.count("took the place of what was signed") == wanted
    assert text.count("what was signed stands") == 1
    assert "Nothing waits for a decision." in text


def _the_past_is_shown(hanna: Person, run_id: str, one: Waiting, measurand: str) -> None:
    """The table, the number's history, its run and its signatures tell what happened."""
    accession = next(iter(one.after))
    hanna.go(f"/timepoints?measurand={measurand}", "timepoints")
    link = hanna.page.locator("a.number", has=hanna.page.locator(f"data[value='{one.after[accession]!r}']"))
    link.first.click()
    hanna.page.wait_for_selector("#history")
    hanna.page.screenshot(path=str(hanna.pictures / "history.png"), full_page=True)
    history = hanna.page.locator("#history")
    values = [float(value) for value in history.locator("data").evaluate_all("all => all.map(d => d.value)")]
    assert values[:2] == [one.after[accession], one.before[accession]]
    assert f"{REASON} Accepted by hanna: The bench book says 4." in history.inner_text()
    text = hanna.go(f"/runs/{run_id}", "accepted-run")
    assert hanna.page.locator("header .standing").inner_text() == "signature broken"
    assert text.count("no longer holds: newer results took the place of what was signed") == 2  # the review and the release
    assert "recomputation accepted by hanna: The bench book says 4." in " ".join(text.split())
    hanna.sign(run_id, "reviewed")
    assert hanna.page.locator("header .standing").inner_text() == "reviewed"


def _the_auditor_sees(anna: Person, *accepted: str) -> None:
    text = anna.go("/", "auditor")
    assert "holds." in text
    assert "The certificate is another lot's." in text
    broken = anna.page.locator("section", has_text="Signatures that no longer hold").inner_text()
    assert [run_id for run_id in accepted if run_id not in broken] == []
    trail = anna.go("/audit?action=proposal.", "audit")
    assert trail.count("proposal.accepted") == 2
    assert trail.count("proposal.refused") == 1
    assert "The bench book says 4." in trail
    assert "analysis.superseded" in anna.go("/audit?action=analysis.superseded")
    anna.watched.close()
