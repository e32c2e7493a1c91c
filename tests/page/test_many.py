"""Five thousand credentials: a bounded document, and every one of them within reach."""

import pytest
from page.conftest import ADMIN_KEY, Open
from playwright.async_api import Browser, expect
from support.browser import DESK, PHONE, look

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 5_000
# What a window shows, with some above and below it: far from 5,000, whatever the screen.
MOST_ROWS = 60


def keys() -> list[dict[str, object]]:
    return [
        {"id": n, "authMethod": "api_key", "kiroApiKey": f"ksk_{n:060}", "priority": n}
        for n in range(1, MANY + 1)
    ]


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desktop", "phone"])
async def test_five_thousand_credentials_are_a_screenful_of_rows(
    browser: Browser, start: Open, viewport: dict[str, int]
) -> None:
    place = await start(keys(), balanceInterval=0)
    async with look(browser, place.url, viewport=viewport) as sight:
        await sight.sign_in(ADMIN_KEY)
        await sight.go("/credentials")
        page = sight.page
        rows = page.locator("[data-credential]")
        await expect(page.locator("h1 + span")).to_have_text("5,000")
        assert 0 < await rows.count() <= MOST_ROWS
        await page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        await expect(page.locator("[data-credential='5000']")).to_be_visible()
        assert await rows.count() <= MOST_ROWS
        await page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight / 2)")
        await expect(page.locator("[data-credential='2500']")).to_be_attached()
        await page.evaluate("window.scrollTo(0, 0)")
        await page.get_by_label("Search").fill("#4321")
        await expect(rows).to_have_count(1)


async def test_a_choice_and_an_order_span_all_of_them(browser: Browser, start: Open) -> None:
    place = await start(keys(), balanceInterval=0)
    async with look(browser, place.url) as sight:
        await sight.sign_in(ADMIN_KEY)
        await sight.go("/credentials?dialog=order")
        page = sight.page
        listed = page.locator("[data-slot=dialog] [role=listitem]")
        await expect(listed.first).to_be_visible()
        assert await listed.count() <= MOST_ROWS
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_label("Select all that match").click()
        await expect(page.get_by_text("5000 selected")).to_be_visible()
        await page.get_by_role("button", name="Disable").click()
        panel = page.get_by_role("region", name="Disabling")
        await expect(panel).to_contain_text("Finished", timeout=20_000)
        await expect(panel).to_contain_text("5,000 / 5,000")
    assert all(entry["disabled"] for entry in place.gateway.credentials)
