"""The first hour of a technician and of a scientist, as the manual tells it, walked through in the browser.

Every step leaves a picture in ``tmp/screenshots/first-hour``, to be looked at and for the manual; none is kept under version
control.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.simulation.study import simulate_study
from biomarkers.simulation.writing import write_study

if TYPE_CHECKING:
    from conftest import Served, Watch, Watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DESKTOP, PHONE = (1366, 850), (390, 800)


@dataclass(kw_only=True)
class Hour:
    """One person's hour: a watched page, and a picture of each step."""

    watched: Watched
    place: Path
    who: str
    steps: int = 0
    wide: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.watched.page.goto(self.watched.served.url + path)
        self.watched.page.wait_for_load_state("networkidle")

    def see(self, name: str) -> None:
        """Take a picture of the whole page, and note where it is wider than the screen."""
        page = self.watched.page
        self.steps += 1
        page.screenshot(path=str(self.place / f"{self.who}-{self.steps:02d}-{name}.png"), full_page=True)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            self.wide.append(name)


@pytest.fixture(scope="module")
def pictures(shots: Path) -> Path:
    place = shots / "first-hour"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    """What instruments and the clinic give: a folder for each inbox."""
    place = tmp_path_factory.mktemp("dropped")
    with create_laboratory(place / "unused") as laboratory:
        layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
        study = simulate_study(laboratory.definition, layouts=layouts, subjects=3, seed=1, events=10_000, slide_px=1536)
    write_study(study, place / "inbox", place / "truth")
    return place / "inbox"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with create_laboratory(tmp_path_factory.mktemp("hour") / "mylab") as laboratory:
        settings = laboratory.folder.settings_file
        settings.write_text(settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
        yield laboratory


@pytest.fixture
def served(lab: Laboratory, serve: Callable[[Laboratory], Served], add_everyone: Callable[[Laboratory], None]) -> Served:
    add_everyone(lab)
    return serve(lab)


def ingest(laboratory: Laboratory) -> None:
    command = [sys.executable, "-m", "biomarkers.cli", "ingest", str(laboratory.folder.root)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=900)
    assert done.returncode in {0, 1}, done.stderr.decode()[-2000:]


def drop(hour: Hour, kind: str, *files: Path) -> None:
    page = hour.watched.page
    page.select_option("#upload-kind", kind)
    page.set_input_files("#upload-files", [str(one) for one in files])
    page.click("text=Drop into the inbox")
    for one in files:
        page.wait_for_selector(f"#upload-list >> text={one.name} lies in {kind}.", timeout=60_000)


def test_the_first_hour_of_a_technician_and_then_of_a_scientist(
    watch: Watch,
    lab: Laboratory,
    dropped: Path,
    pictures: Path,
    served: Served,
) -> None:
    technician = Hour(watched=watch(served, DESKTOP), place=pictures, who="technician")
    _technician(technician, lab, dropped)
    for size, who in ((DESKTOP, "scientist"), (PHONE, "scientist-phone")):
        _scientist(Hour(watched=watch(served, size), place=pictures, who=who))
    _reviewer(Hour(watched=watch(served, DESKTOP), place=pictures, who="reviewer"))
    _on_the_bench_tablet(Hour(watched=watch(served, PHONE), place=pictures, who="technician-phone"))


def _technician(hour: Hour, lab: Laboratory, dropped: Path) -> None:
    page = hour.watched.page
    page.goto(f"{hour.watched.served.url}/login")
    hour.see("login")
    hour.watched.log_in("technician")
    page.wait_for_selector("text=Nothing needs you.")
    hour.see("nothing-yet")
    page.click("nav >> text=Board")
    drop(hour, "study", *sorted((dropped / "study").iterdir()))
    export = min(path for path in (dropped / "elisa").glob("IL6-*") if ".map." not in path.name)
    plate_map = next((dropped / "elisa").glob("IL6-*.map.csv"))
    drop(hour, "elisa", export)
    hour.see("dropped")
    ingest(lab)
    hour.go("/")
    page.wait_for_selector(f"text={export.name}")
    assert page.locator("text=waits for its plate map").first.is_visible()
    hour.see("what-needs-me")
    hour.go("/board")
    drop(hour, "elisa", plate_map)
    drop(hour, "cytometry", *sorted((dropped / "cytometry").iterdir()))
    drop(hour, "ihc", *sorted((dropped / "ihc").iterdir()))
    # An export without a byte is refused at once, and never lies anywhere.
    rest = [path for path in sorted((dropped / "elisa").iterdir()) if path not in {export, plate_map} and path.stat().st_size]
    drop(hour, "elisa", *rest)
    ingest(lab)
    hour.go("/board")
    hour.see("board")
    hour.go("/waiting")
    assert page.locator(".finding.reject").count() >= 1
    hour.see("waiting")
    hour.go("/")
    hour.see("what-needs-me-now")
    _at_the_bench(hour)


def _at_the_bench(hour: Hour) -> None:
    page = hour.watched.page
    hour.go("/runs?assay=elisa")
    page.click("tbody >> text=IL6")
    hour.see("plate")
    page.locator(".plate-grid .well-cell.calibrator").first.click()
    page.fill("#mask-form [name=reason]", "a bubble")
    page.click("text=Leave marked wells out")
    page.wait_for_selector("text=The decision is on record.")
    hour.see("masked")
    hour.go("/runs?assay=cytometry")
    hour.see("runs")
    page.locator("tbody th a").first.click()
    hour.see("acquisition")
    hour.go("/runs?assay=ihc")
    page.locator("tbody th a").first.click()
    page.wait_for_selector("#slide[data-ready=yes][data-missing='0']")
    hour.watched.until("Number(document.querySelector('#slide').dataset.cells) > 0")
    hour.see("slide")
    for path in ("/charts?analyte=IL6", "/completeness", "/pathology", "/nights", "/controls"):
        hour.go(path)
        hour.see(path.strip("/").partition("?")[0])
    assert hour.wide == []
    hour.watched.close()


def _scientist(hour: Hour) -> None:
    page = hour.watched.page
    hour.watched.log_in("scientist")
    hour.see("courses")
    hour.go("/timepoints?measurand=IL6&visit=C2D1")
    hour.see("timepoints")
    page.locator("table.timepoints a.number").first.click()
    page.wait_for_selector("text=Calibrators")
    hour.see("evidence")
    hour.go("/timepoints?measurand=CD8_PCT_T")
    hour.see("course-of-a-frequency")
    page.locator("table.timepoints a.number").first.click()
    hour.see("gates")
    hour.go("/timepoints?measurand=CD8_DENSITY_TISSUE")
    page.locator("table.timepoints a.number").first.click()
    hour.see("scores")
    hour.go("/timepoints")
    with page.expect_download() as awaited:
        page.click("text=CSV")
    assert awaited.value.path().read_text().startswith("study_id,subject_id,visit")
    hour.see("table")
    hour.go("/statistics?measurand=IL6")
    hour.see("attrition")
    hour.go("/completeness")
    hour.see("completeness")
    assert hour.wide == []
    hour.watched.close()


def _reviewer(hour: Hour) -> None:
    page = hour.watched.page
    hour.watched.log_in("reviewer")
    hour.see("to-review")
    page.locator("tbody th a").first.click()
    page.fill("#signatures [name=password]", "a quiet afternoon in the lab")
    page.click("text=Sign as reviewed")
    page.wait_for_selector("text=Signed.")
    hour.see("signed")
    hour.go("/pathology")
    hour.see("pathology")
    assert hour.wide == []
    hour.watched.close()


def _on_the_bench_tablet(hour: Hour) -> None:
    page = hour.watched.page
    hour.watched.log_in("technician")
    hour.see("what-needs-me")
    for path in ("/board", "/waiting", "/runs", "/pathology"):
        hour.go(path)
        hour.see(path.strip("/"))
    hour.go("/runs?assay=elisa")
    page.click("tbody >> text=IL6")
    hour.see("plate")
    assert hour.wide == []
    hour.watched.close()
