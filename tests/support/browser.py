"""A page in Debian's Chromium that is watched: errors it logs, and what its policy refuses.

Rules of this file: nothing is skipped; without the browser the tests fail and say how to get it.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

ROOT = Path(__file__).parent.parent.parent
AXE = ROOT / "admin-ui" / "node_modules" / "axe-core" / "axe.min.js"
BUILT = ROOT / "kiroproxy" / "server" / "static" / "index.html"

DESK = {"width": 1360, "height": 900}
PHONE = {"width": 390, "height": 844}

_WATCH = """
window.refusedByPolicy = []
document.addEventListener("securitypolicyviolation", (event) => {
  refusedByPolicy.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`)
})
"""
_AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] })
  return found.violations.map((rule) =>
    `${rule.id}: ${rule.help}: ` + rule.nodes.map((node) => node.html).slice(0, 3).join(" | "))
}"""
# Nothing that still loads, and the font that decides how wide every word is.
_SETTLED = """() => !document.querySelector("[data-slot=skeleton], [aria-busy=true]")
  && document.fonts.status === "loaded" && document.querySelector("h1")"""


def executable() -> str:
    """Return the browser, or say how to get it."""
    assert BUILT.exists(), "The admin page is not built: make ui"
    assert AXE.exists(), "axe-core is missing: make ui"
    found = shutil.which("chromium")
    assert found, "Chromium is missing: make browser, or sudo apt-get install chromium"
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the browser. Its sandbox needs rights that root and containers do not have."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        await browser.close()


class Sight:
    """One page that is watched. Order: `async with look(…) as sight`, then `sight.page`."""

    def __init__(self, url: str, context: BrowserContext, page: Page) -> None:
        self.url, self.context, self.page = url, context, page
        self.errors: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(f"threw: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        address = message.location.get("url", "")
        # A browser logs each refusal; who is not signed in yet is refused once.
        if address.endswith("/api/admin/session") and "401" in message.text:
            return
        if not any(word in message.text for word in self.expected):
            self.errors.append(f"{message.type}: {message.text} ({address})")

    async def sign_in(self, key: str) -> None:
        answer = await self.context.request.post(
            f"{self.url}/api/admin/session", data={"key": key}, headers={"origin": self.url}
        )
        assert answer.ok, await answer.text()

    async def go(self, path: str) -> None:
        """Load a place of the page and wait until it stands."""
        await self.page.goto(f"{self.url}/admin{path}")
        await self.settle()

    async def settle(self) -> None:
        await self.page.wait_for_function(_SETTLED, timeout=15_000)

    async def assert_accessible(self) -> None:
        """Let axe find no violation in what is on the page now."""
        await self.page.evaluate(AXE.read_text())
        found: list[str] = await self.page.evaluate(_AXE)
        assert not found, "\n".join(found)

    async def assert_clean(self) -> None:
        """Nothing was logged as an error, thrown, or refused by the policy."""
        refused: list[str] = await self.page.evaluate("window.refusedByPolicy")
        assert not refused, "\n".join(refused)
        assert not self.errors, "\n".join(self.errors)


@asynccontextmanager
async def look(
    browser: Browser,
    url: str,
    *,
    language: str = "en",
    theme: Any = "light",
    viewport: Any = DESK,
) -> AsyncIterator[Sight]:
    """Open a fresh profile, as a reader with this language, theme and size has it."""
    context = await profile(browser, language=language, theme=theme, viewport=viewport)
    try:
        async with window(context, url) as sight:
            yield sight
    finally:
        await context.close()


async def profile(browser: Browser, *, language: str, theme: Any, viewport: Any) -> BrowserContext:
    """Make what windows share: cookies, storage, and the cache of files."""
    context = await browser.new_context(
        locale=language,
        color_scheme=theme,
        viewport=viewport,
        has_touch=viewport is PHONE,
        is_mobile=viewport is PHONE,
        reduced_motion="reduce",
        accept_downloads=True,
    )
    await context.add_init_script(_WATCH)
    return context


@asynccontextmanager
async def window(context: BrowserContext, url: str) -> AsyncIterator[Sight]:
    """Open one window of a profile."""
    page = await context.new_page()
    page.set_default_timeout(10_000)
    sight = Sight(url, context, page)
    try:
        yield sight
        await sight.assert_clean()
    finally:
        await page.close()
