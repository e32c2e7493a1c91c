"""Every place and dialog of the page, in both languages and themes: axe finds nothing, nothing is
logged as an error, and the Content-Security-Policy refuses nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from page.conftest import ADMIN_KEY, Place
from playwright.async_api import Browser, BrowserContext, Page, expect
from support.browser import DESK, PHONE, Sight, look, profile, window

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Both languages, both themes, both sizes for each place; the sign-in comes in all four.
VIEWS: dict[str, Any] = {
    "english, light, desktop": {"language": "en", "theme": "light", "viewport": DESK},
    "chinese, dark, phone": {"language": "zh-CN", "theme": "dark", "viewport": PHONE},
}
OTHERS: dict[str, Any] = {
    "english, dark, phone": {"language": "en", "theme": "dark", "viewport": PHONE},
    "chinese, light, desktop": {"language": "zh-CN", "theme": "light", "viewport": DESK},
}
IMPORT = '[{"refreshToken": "aorNew", "email": "new@example.com"}, {"authMethod": "social"}]'
Step = Callable[[Page], Awaitable[None]]


async def edit(page: Page) -> None:
    await page.locator("[data-slot=sheet] button:has(svg.lucide-pencil)").click()
    await expect(page.locator("[data-slot=dialog]")).to_be_visible()
    closed = page.locator("[data-slot=dialog] details:not([open]) summary")
    while await closed.count():
        await closed.first.click()


async def confirm_deletion(page: Page) -> None:
    await page.locator("[data-slot=sheet] button:has(svg.lucide-trash-2)").click()
    await expect(page.locator("[data-slot=dialog]")).to_be_visible()


async def choose_all(page: Page) -> None:
    for box in await page.locator("[data-credential] [role=checkbox]").all():
        await box.click()
    await page.locator("[role=region] button[aria-haspopup=menu]").click()
    await expect(page.get_by_role("menu")).to_be_visible()


async def show_models(page: Page) -> None:
    await page.locator("[data-slot=sheet] section").last.get_by_role("button").click()
    await expect(page.locator("[data-slot=sheet] form select")).to_be_visible()


async def open_menu(page: Page) -> None:
    await page.locator("header button[aria-haspopup=menu]:visible").first.click()
    await expect(page.get_by_role("menu")).to_be_visible()


async def preview_import(page: Page) -> None:
    await page.locator("[data-slot=dialog] textarea").fill(IMPORT)
    await page.locator("[data-slot=dialog] footer button").last.click()
    await expect(page.locator("[data-slot=dialog] li")).to_have_count(2)


async def begin_login(page: Page) -> None:
    await page.locator("[data-slot=dialog] footer button[type=submit]").click()
    await expect(page.locator("[data-slot=dialog] a[target=_blank]")).to_be_visible()


async def open_request(page: Page) -> None:
    await page.locator("[data-request]").first.get_by_role("button").click()
    await expect(page.locator("[data-slot=sheet] ol, [data-slot=sheet] dl").first).to_be_visible()


async def create_key(page: Page) -> None:
    await page.locator("h1 ~ div button").click()
    await expect(page.locator("[data-slot=dialog] form")).to_be_visible()


async def rotate_key(page: Page) -> None:
    await page.locator("[data-key] button[aria-haspopup=menu]").first.click()
    await page.get_by_role("menuitem").nth(2).click()
    await expect(page.locator("[data-slot=dialog]")).to_be_visible()


async def spoil_a_setting(page: Page) -> None:
    await page.locator("[data-setting=rpm] input").fill("-1")
    await expect(page.locator("[data-setting=rpm] [aria-invalid=true]")).to_be_visible()


async def nothing(page: Page) -> None:
    pass


PLACES: dict[str, tuple[str, Step]] = {
    "overview": ("/", nothing),
    "menu": ("/", open_menu),
    "credentials": ("/credentials", nothing),
    "cards": ("/credentials?view=cards", nothing),
    "no match": ("/credentials?q=nobody", nothing),
    "selection": ("/credentials", choose_all),
    "cooling credential": ("/credentials/1", nothing),
    "incomplete credential": ("/credentials/5", nothing),
    "models": ("/credentials/3", show_models),
    "edit": ("/credentials/3", edit),
    "delete": ("/credentials/3", confirm_deletion),
    "add": ("/credentials?dialog=add", nothing),
    "import": ("/credentials?dialog=import", preview_import),
    "log in": ("/credentials?dialog=login", begin_login),
    "order": ("/credentials?dialog=order", nothing),
    "export": ("/credentials?dialog=export", nothing),
    "requests": ("/requests", nothing),
    "request": ("/requests", open_request),
    "keys": ("/keys", nothing),
    "new key": ("/keys", create_key),
    "replace key": ("/keys", rotate_key),
    "settings": ("/settings", spoil_a_setting),
    "audit log": ("/settings/audit", nothing),
    "unknown place": ("/nowhere", nothing),
}


Profiles = Callable[[str], Awaitable[BrowserContext]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def profiles(browser: Browser, furnished: Place) -> AsyncIterator[Profiles]:
    """Profiles that are signed in, one a view: files are loaded once and not for each place."""
    made: dict[str, BrowserContext] = {}

    async def of(view: str) -> BrowserContext:
        if view not in made:
            made[view] = await profile(browser, **VIEWS[view])
            async with window(made[view], furnished.url) as sight:
                await sight.sign_in(ADMIN_KEY)
        return made[view]

    yield of
    for context in made.values():
        await context.close()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_place_has_no_fault(
    profiles: Profiles, furnished: Place, place: str, view: str
) -> None:
    path, step = PLACES[place]
    async with window(await profiles(view), furnished.url) as sight:
        await sight.go(path)
        await step(sight.page)
        await sight.assert_accessible()
        await assert_fits(sight)


async def assert_fits(sight: Sight) -> None:
    """Nothing sticks out of the window to the side."""
    wide = await sight.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0


@pytest.mark.parametrize("view", VIEWS | OTHERS)
async def test_the_sign_in_has_no_fault(browser: Browser, furnished: Place, view: str) -> None:
    async with look(browser, furnished.url, **(VIEWS | OTHERS)[view]) as sight:
        await sight.go("/")
        await sight.assert_accessible()
        await assert_fits(sight)


async def test_the_watch_notices_what_the_policy_refuses(
    browser: Browser, furnished: Place
) -> None:
    with pytest.raises(AssertionError, match="style-src"):
        async with look(browser, furnished.url) as sight:
            await sight.go("/")
            await sight.page.evaluate("document.body.setAttribute('style', 'color: red')")
            await sight.page.evaluate("document.body.innerHTML += '<p style=\"color: red\">'")


async def test_axe_notices_a_field_without_a_name(browser: Browser, furnished: Place) -> None:
    async with look(browser, furnished.url) as sight:
        await sight.go("/")
        await sight.page.evaluate(
            "document.querySelector('main').append(document.createElement('select'))"
        )
        with pytest.raises(AssertionError, match="select-name"):
            await sight.assert_accessible()
