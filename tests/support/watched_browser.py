"""Debian's Chromium, headless, whose console and requests are watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@contextmanager
def chromium_launched() -> Iterator[Browser]:
    """Start the browser; skip the test, visibly, where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine (looked for chromium and chromium-browser on the path)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


class At(Protocol):
    """Something that is served at an address."""

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""


class Watched:
    """A page whose console and requests are watched."""

    def __init__(self, browser: Browser, served: At, size: tuple[int, int] = (1366, 850)) -> None:
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

    def log_in(self, name: str, password: str) -> None:
        self.page.goto(f"{self.served.url}/login")
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("text=Log out")

    def close(self) -> None:
        self.context.close()
        assert self.said == []
        assert self.strangers == []

    def until(self, expression: str) -> None:
        """Wait until an expression holds; the browser's own way evaluates text, which the page's policy forbids."""
        for _ in range(600):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(expression)
