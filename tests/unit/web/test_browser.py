"""The pages in a real browser: Debian's Chromium, headless; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from readable import faults

from biomarkers.store.slides import stored_slides

if TYPE_CHECKING:
    from conftest import Served, Watch

PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests
SIZES = {"desktop": (1366, 850), "phone": (390, 800)}
PAGES = {
    "technician": (
        "/",
        "/board",
        "/waiting",
        "/runs",
        "/runs/PLATE",
        "/runs/TUBE",
        "/runs/SLIDE",
        "/charts",
        "/completeness",
        "/nights",
    ),
    "reviewer": ("/", "/runs/PLATE", "/pathology", "/proposals"),
    "scientist": ("/", "/statistics", "/timepoints", "/timepoints?measurand=MEASURAND&visit=C2D1", "/results/RESULT"),
    "unblinded_scientist": ("/", "/timepoints?measurand=MEASURAND&visit=C2D1&arm=true", "/statistics?arm=true"),
    "auditor": ("/", "/audit?verify=true"),
    "operator": ("/", "/people", "/controls", "/api", "/account"),
}


@pytest.mark.parametrize("size", SIZES)
def test_every_page_can_be_read_and_reached_without_a_word_on_the_console_or_a_request_elsewhere(
    watch: Watch, people_served: Served, shots: Path, size: str
) -> None:
    names = _names(people_served)
    wide, wrong = [], []
    for role, paths in PAGES.items():
        watched = watch(people_served, SIZES[size])
        watched.log_in(role)
        for at, path in enumerate(paths):
            for word, name in names.items():
                path = path.replace(word, name)  # noqa: PLW2901  - the same path, made whole
            watched.page.goto(people_served.url + path)
            watched.page.wait_for_load_state("load")
            beyond = watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if beyond > 0:
                wide.append((role, path, beyond))
            wrong += [(role, path, fault) for fault in faults(watched.page)]
            watched.page.screenshot(path=str(shots / f"{role}-{at}-{size}.png"), full_page=True)
        watched.close()
    assert wide == []
    assert wrong == [], "\n".join(map(str, wrong))


def _names(served: Served) -> dict[str, str]:
    client = served.logged_in("scientist")
    runs = client.get("/api/v1/runs").json()
    plate = next(run["run_id"] for run in runs if run["assay"] == "elisa")
    return {
        "MEASURAND": client.get(f"/api/v1/runs/{plate}/results").json()[0]["measurand"],
        "PLATE": plate,
        "TUBE": next(run["run_id"] for run in runs if run["assay"] == "cytometry"),
        "SLIDE": next(run["run_id"] for run in runs if run["assay"] == "ihc"),
        "RESULT": client.get(f"/api/v1/runs/{plate}/results").json()[0]["result_id"],
    }


def test_the_pages_of_an_empty_laboratory_show_as_quietly(watch: Watch, bare_served: Served, shots: Path) -> None:
    watched = watch(bare_served)
    for path in ("/", "/board", "/waiting", "/runs", "/charts", "/completeness", "/nights", "/controls", "/api", "/login"):
        watched.page.goto(bare_served.url + path)
        watched.page.wait_for_load_state("load")
    watched.page.goto(bare_served.url)
    watched.page.screenshot(path=str(shots / "empty.png"))
    assert watched.page.locator("text=Nothing needs you.").is_visible()
    watched.close()


def test_a_file_chosen_in_the_browser_lies_in_the_inbox_and_shows_on_the_board(
    watch: Watch, own_served: Served, tmp_path: Path
) -> None:
    chosen = tmp_path / "P0777.txt"
    chosen.write_bytes(b"plate\n" * 1000)
    watched = watch(own_served)
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
    watch: Watch, own_served: Served, shots: Path
) -> None:
    watched = watch(own_served)
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


def test_the_first_tab_leads_past_the_navigation_and_every_focus_can_be_seen(watch: Watch, people_served: Served) -> None:
    watched = watch(people_served)
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


def test_a_quality_page_opens_sandboxed_with_its_own_style(watch: Watch, people_served: Served) -> None:
    watched = watch(people_served)
    watched.log_in("scientist")
    page = watched.page
    page.goto(f"{people_served.url}/evidence/{_names(people_served)['PLATE']}/quality.html")
    assert page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(0, 128, 128)"
    assert page.evaluate("self.origin") == "null"
    watched.close()


def test_a_slide_is_moved_and_zoomed_by_keyboard_down_to_its_own_pixels_with_its_cells(
    watch: Watch, people_served: Served, shots: Path
) -> None:
    watched = watch(people_served)
    watched.log_in("technician")
    page = watched.page
    with people_served.laboratory.database.read() as reading:
        slide = next(one for one in stored_slides(reading) if any(source.role == "annotation" for source in one.sources))
    page.goto(f"{people_served.url}/runs/{slide.run_id}")
    page.wait_for_selector("#slide[data-ready=yes][data-missing='0']")
    watched.until("Number(document.querySelector('#slide').dataset.cells) > 0")
    assert page.locator("#slide").get_attribute("data-level") == "1"  # 1024 px in a view of 640
    told = page.locator(".slide-told").inner_text()
    assert "cells in view" in told
    assert "1 region" in told
    page.screenshot(path=str(shots / "slide-whole.png"))
    page.focus(".slide-glass")
    for _ in range(5):
        page.keyboard.press("+")
    before = page.locator("#slide").get_attribute("data-centre")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    watched.until(f"document.querySelector('#slide').dataset.centre !== '{before}'")
    page.wait_for_selector("#slide[data-missing='0'][data-level='1']")
    assert float(page.locator("#slide").get_attribute("data-scale") or 0) > 2
    page.screenshot(path=str(shots / "slide-close.png"))
    page.uncheck("[data-layer=cells]")
    page.wait_for_selector("text=cells hidden")
    page.focus(".slide-glass")
    page.keyboard.press("0")
    page.wait_for_selector("#slide[data-centre='512,512']")
    watched.until("location.hash.startsWith('#x=512&y=512')")
    page.reload()
    page.wait_for_selector("#slide[data-ready=yes][data-missing='0'][data-centre='512,512']")  # the address keeps the place
    drawn = page.evaluate(
        """() => { const canvas = document.querySelector('#slide canvas'), pen = canvas.getContext('2d');
        const seen = pen.getImageData(canvas.width / 2 - 50, canvas.height / 2 - 50, 100, 100).data;
        return new Set(seen).size; }"""
    )
    assert drawn > 20  # a picture, not a blank
    watched.close()


def test_a_slide_is_pinched_on_a_phone_and_a_reader_hears_what_is_seen(
    watch: Watch, people_served: Served, shots: Path
) -> None:
    watched = watch(people_served, SIZES["phone"])
    watched.log_in("technician")
    page = watched.page
    page.goto(f"{people_served.url}/runs/{_names(people_served)['SLIDE']}")
    page.wait_for_selector("#slide[data-ready=yes][data-missing='0']")
    page.evaluate(
        """() => { const glass = document.querySelector('.slide-glass');
        glass.setPointerCapture = () => {};
        const { left, top } = glass.getBoundingClientRect();
        const send = (kind, id, x) => glass.dispatchEvent(
          new PointerEvent(kind, { pointerId: id, clientX: left + x, clientY: top + 200 }));
        send('pointerdown', 1, 140); send('pointerdown', 2, 200);
        send('pointermove', 2, 320); send('pointerup', 1, 140); send('pointerup', 2, 320); }"""
    )
    watched.until("Number(document.querySelector('#slide').dataset.scale) > 0.6")
    page.click("[data-do=whole]")
    watched.until("Number(document.querySelector('#slide').dataset.scale) < 0.4")
    assert page.locator(".slide-told").get_attribute("aria-live") == "polite"
    page.screenshot(path=str(shots / "slide-phone.png"))
    watched.close()


def test_a_pathologist_decides_by_keyboard_and_uploads_redrawn_regions(
    watch: Watch, own_served: Served, tmp_path: Path, shots: Path
) -> None:
    watched = watch(own_served)
    watched.log_in("reviewer")
    page = watched.page
    page.goto(f"{own_served.url}/pathology")
    card = page.locator(".section-card").first
    with page.expect_download() as awaited:
        card.locator("summary", has_text="Redraw").click()
        card.locator("text=Download the regions").click()
    regions = tmp_path / "redrawn.geojson"
    regions.write_text(awaited.value.path().read_text().replace("470", "420"))
    card.locator("summary", has_text="Decide").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.type("a fold lies inside")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=to be redrawn")
    card = page.locator(".section-card").first
    card.locator("input[type=file]").set_input_files(str(regions))
    card.locator(".redraw [name=reason]").fill("without the fold")
    card.locator("text=Upload in my name").click()
    page.wait_for_selector("text=lies in the inbox with your signature")
    page.screenshot(path=str(shots / "pathology-redrawn.png"), full_page=True)
    assert len(list(own_served.laboratory.folder.inbox("ihc").iterdir())) == 2
    watched.close()
