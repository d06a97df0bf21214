"""What keeps somebody from reading or reaching something on a page: looked for in the browser, on the page as it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

FAINT = """() => {
  const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest(".hidden, .skip, option, script, style, title")) continue;
    const style = getComputedStyle(element);
    const ink = light(numbers(element.closest("svg") ? style.fill : style.color).slice(0, 3));
    const paper = light(behind(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) found.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""
"""Words whose contrast is below 4.5 to 1, which WCAG 2.2 (1.4.3) asks of text."""

NAMELESS = """() => [...document.querySelectorAll("input:not([type=hidden]), select, button, a[href]")]
  .filter((one) => one.checkVisibility() && !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()
    && !one.querySelector("[aria-label], title"))
  .map((one) => one.outerHTML.slice(0, 100))"""
"""What can be operated and has no name that is read out."""

CRUSHED = """() => [...document.querySelectorAll("td, th")]
  .filter((one) => one.checkVisibility() && one.textContent.trim().length > 5 && !one.querySelector("svg")
    && getComputedStyle(one.firstElementChild ?? one).writingMode === "horizontal-tb"
    && one.clientWidth < 40 && one.clientHeight > 120)
  .map((one) => one.textContent.trim().slice(0, 40))"""
"""Cells so narrow that their words stand letter below letter."""

STUCK = """() => [...document.querySelectorAll(".scroll")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0 && !one.querySelector("a, button, input"))
  .map((one) => one.textContent.trim().slice(0, 60))"""
"""What scrolls and cannot be scrolled by keyboard."""

TWICE = """() => { const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return ids.filter((one, at) => ids.indexOf(one) !== at); }"""

FAULTS = {"faint": FAINT, "nameless": NAMELESS, "crushed": CRUSHED, "stuck": STUCK, "twice": TWICE}


def faults(page: Page) -> list[str]:
    """Name what cannot be read or reached on a page; nothing where all can."""
    return [f"{kind}: {told}" for kind, script in FAULTS.items() for told in page.evaluate(script)[:6]]
