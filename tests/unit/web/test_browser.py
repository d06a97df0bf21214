"""The pages in a real browser: Debian's Chromium, headless; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Served
    from playwright.sync_api import Browser, Page

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests
SIZES = {"desktop": (1366, 850), "phone": (390, 800)}
PAGES = {
    "technician": ("/", "/board", "/waiting", "/runs", "/runs/PLATE", "/runs/TUBE", "/charts", "/completeness", "/nights"),
    "reviewer": ("/", "/runs/PLATE"),
    "scientist": ("/", "/timepoints", "/timepoints?measurand=MEASURAND&visit=C2D1", "/results/RESULT"),
    "unblinded_scientist": ("/", "/timepoints?measurand=MEASURAND&visit=C2D1&arm=true"),
    "auditor": ("/", "/audit?verify=true"),
    "operator": ("/", "/people", "/controls", "/api", "/account"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine (looked for chromium and chromium-browser on the path)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


class Watched:
    """A page whose console and requests are watched."""

    def __init__(self, browser: Browser, served: Served, size: tuple[int, int] = (1366, 850)) -> None:
        self.served = served
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", lambda told: self.said.append(f"{told.type}: {told.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", self._asked)

    def _asked(self, request: object) -> None:
        address = request.url  # type: ignore[attr-defined]
        if not address.startswith((self.served.url, "data:", "blob:")):
            self.strangers.append(address)

    def log_in(self, name: str) -> None:
        self.page.goto(f"{self.served.url}/login")
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("text=Log out")

    def close(self) -> None:
        self.context.close()
        assert self.said == []
        assert self.strangers == []


@pytest.fixture(scope="session")
def shots(project_root: Path) -> Path:
    """Where this run keeps its pictures, to be looked at; not kept under version control."""
    place = project_root / "tmp" / "screenshots"
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.mark.parametrize("size", SIZES)
def test_every_page_shows_without_a_word_on_the_console_or_a_request_elsewhere(
    browser: Browser, people_served: Served, shots: Path, size: str
) -> None:
    names = _names(people_served)
    wide = []
    for role, paths in PAGES.items():
        watched = Watched(browser, people_served, SIZES[size])
        watched.log_in(role)
        for at, path in enumerate(paths):
            for word, name in names.items():
                path = path.replace(word, name)  # noqa: PLW2901  - the same path, made whole
            watched.page.goto(people_served.url + path)
            watched.page.wait_for_load_state("load")
            beyond = watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if beyond > 0:
                wide.append((role, path, beyond))
            watched.page.screenshot(path=str(shots / f"{role}-{at}-{size}.png"), full_page=True)
        watched.close()
    assert wide == []


def _names(served: Served) -> dict[str, str]:
    client = served.logged_in("scientist")
    runs = client.get("/api/v1/runs").json()
    plate = next(run["run_id"] for run in runs if run["assay"] == "elisa")
    return {
        "MEASURAND": client.get(f"/api/v1/runs/{plate}/results").json()[0]["measurand"],
        "PLATE": plate,
        "TUBE": next(run["run_id"] for run in runs if run["assay"] == "cytometry"),
        "RESULT": client.get(f"/api/v1/runs/{plate}/results").json()[0]["result_id"],
    }


def test_the_pages_of_an_empty_laboratory_show_as_quietly(browser: Browser, bare_served: Served, shots: Path) -> None:
    watched = Watched(browser, bare_served)
    for path in ("/", "/board", "/waiting", "/runs", "/charts", "/completeness", "/nights", "/controls", "/api", "/login"):
        watched.page.goto(bare_served.url + path)
        watched.page.wait_for_load_state("load")
    watched.page.goto(bare_served.url)
    watched.page.screenshot(path=str(shots / "empty.png"))
    assert watched.page.locator("text=Nothing needs you.").is_visible()
    watched.close()


def test_a_file_chosen_in_the_browser_lies_in_the_inbox_and_shows_on_the_board(
    browser: Browser, own_served: Served, tmp_path: Path
) -> None:
    chosen = tmp_path / "P0777.txt"
    chosen.write_bytes(b"plate\n" * 1000)
    watched = Watched(browser, own_served)
    watched.log_in("technician")
    watched.page.goto(f"{own_served.url}/board")
    watched.page.select_option("#upload-kind", "elisa")
    watched.page.set_input_files("#upload-files", str(chosen))
    watched.page.click("text=Drop into the inbox")
    watched.page.wait_for_selector("text=P0777.txt lies in elisa.")
    assert (own_served.laboratory.folder.inbox("elisa") / "P0777.txt").read_bytes() == chosen.read_bytes()
    watched.page.wait_for_selector("#live >> text=P0777.txt", timeout=15_000)
    watched.close()


def test_a_well_is_masked_and_the_plate_signed_by_keyboard_alone_and_the_signature_breaks(
    browser: Browser, own_served: Served, shots: Path
) -> None:
    watched = Watched(browser, own_served)
    watched.log_in("reviewer")
    page = watched.page
    page.goto(f"{own_served.url}/runs/{_names(own_served)['PLATE']}")
    page.focus("#signatures [name=password]")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Signed.")
    assert page.locator(".standing.reviewed").is_visible()
    page.focus(".plate-grid [name=well] >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.focus("#mask-form [name=reason]")
    page.keyboard.type("a bubble")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The decision is on record.")
    assert page.locator(".standing.changed").is_visible()
    assert page.locator("text=broken: what was signed has changed").is_visible()
    assert page.locator("text=B02 left out").is_visible()
    page.screenshot(path=str(shots / "signature-broken.png"), full_page=True)
    watched.close()


def test_the_first_tab_leads_past_the_navigation_and_every_focus_can_be_seen(browser: Browser, people_served: Served) -> None:
    watched = Watched(browser, people_served)
    watched.log_in("technician")
    page = watched.page
    page.goto(f"{people_served.url}/board")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(4):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "[document.activeElement.outerHTML.slice(0, 80), getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert found[1] != "none", found
    watched.close()


def test_a_quality_page_opens_sandboxed_with_its_own_style(browser: Browser, people_served: Served) -> None:
    watched = Watched(browser, people_served)
    watched.log_in("scientist")
    page = watched.page
    page.goto(f"{people_served.url}/evidence/{_names(people_served)['PLATE']}/quality.html")
    assert page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(0, 128, 128)"
    assert page.evaluate("self.origin") == "null"
    watched.close()
