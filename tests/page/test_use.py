"""What people do on the page, against the real gateway: it ends in a file, an answer, a list."""

import asyncio
import json
import re
from typing import Any

import pytest
from page.conftest import ADMIN_KEY, SLOW_DOWN, Open, Place
from playwright.async_api import Browser, Dialog, Locator, Page, Route, expect
from support.browser import Sight, look

from kiroproxy.simulator.script import answer

pytestmark = pytest.mark.asyncio(loop_scope="session")


def entries(place: Place) -> dict[int, dict[str, Any]]:
    return {entry["id"]: entry for entry in place.gateway.credentials}


def row(page: Page, id: int) -> Locator:
    return page.locator(f"[data-credential='{id}']")


def dialog(page: Page) -> Locator:
    return page.locator("[data-slot=dialog]")


async def opened(sight: Sight, path: str) -> Page:
    await sight.sign_in(ADMIN_KEY)
    await sight.go(path)
    return sight.page


async def pick(page: Page, menu: str, item: str) -> None:
    await page.get_by_role("button", name=menu).click()
    await page.get_by_role("menuitem", name=item).click()


# -- the way in ---------------------------------------------------------------------------


async def test_signing_in_and_out_leaves_no_key_in_the_browser(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        sight.expected = ("401",)
        await sight.go("/keys")
        await sight.page.get_by_label("Admin key").fill("sk-wrong")
        await sight.page.get_by_role("button", name="Sign in").click()
        await expect(sight.page.get_by_role("alert")).to_contain_text("adminApiKey")
        await sight.page.get_by_label("Admin key").fill(ADMIN_KEY)
        await sight.page.get_by_role("button", name="Sign in").click()
        await expect(sight.page.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
        held = await sight.page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert ADMIN_KEY not in held and "session" not in held
        await sight.page.reload()
        await expect(sight.page.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
        await pick(sight.page, "Language, theme", "Sign out")
        await expect(sight.page.get_by_label("Admin key")).to_be_visible()
        await sight.page.reload()
        await expect(sight.page.get_by_label("Admin key")).to_be_visible()


async def test_an_ended_session_leads_back_to_the_sign_in(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        sight.expected = ("401",)
        page = await opened(sight, "/settings")
        await sight.context.clear_cookies()
        await page.get_by_role("link", name="Keys").click()
        await expect(page.get_by_label("Admin key")).to_be_visible()


async def test_the_language_is_the_readers_until_another_is_chosen(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url, language="zh-TW") as sight:
        page = await opened(sight, "/credentials")
        await expect(page.get_by_role("heading", name="凭据")).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == "zh-CN"
        await page.get_by_role("button", name="语言").click()
        await page.get_by_role("menuitemradio", name="English").click()
        await expect(page.get_by_role("heading", name="Credentials")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Credentials")).to_be_visible()


async def test_the_theme_is_the_systems_until_another_is_chosen(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url, theme="dark") as sight:
        page = await opened(sight, "/keys")
        dark = "document.documentElement.classList.contains('dark')"
        assert await page.evaluate(dark)
        await page.get_by_role("button", name="Language, theme").click()
        await page.get_by_role("menuitemradio", name="Light").click()
        await page.reload()
        await page.wait_for_selector("h1")
        assert not await page.evaluate(dark)


# -- credentials --------------------------------------------------------------------------


async def test_a_credential_is_added_with_its_own_limits(browser: Browser, start: Open) -> None:
    place = await start()
    key = place.sim.tokens.add_api_key().api_key
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials")
        await page.get_by_role("button", name="Add", exact=True).click()
        await dialog(page).get_by_role("radio", name="API key").click()
        await dialog(page).get_by_label("Kiro API key").fill(key)
        await dialog(page).get_by_text("Name, priority, limits").click()
        await dialog(page).get_by_label("Requests at once").fill("3")
        await dialog(page).get_by_role("button", name="Verify and add").click()
        await expect(row(page, 5)).to_be_visible()
    assert entries(place)[5] | {"kiroApiKey": key, "maxConcurrency": 3} == entries(place)[5]


async def test_a_refused_token_says_what_to_do_and_is_not_kept(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        sight.expected = ("400", "502")
        page = await opened(sight, "/credentials?dialog=add")
        await dialog(page).get_by_label("Refresh token").fill("aorNobodyKnowsThisOne" * 8)
        await dialog(page).get_by_role("button", name="Verify and add").click()
        await expect(dialog(page).get_by_role("alert")).to_contain_text(re.compile("og in"))
    assert set(entries(place)) == {1, 2, 3, 4}


async def test_any_field_can_be_edited_and_only_it_is_written(
    browser: Browser, start: Open
) -> None:
    place = await start()
    before = entries(place)[2]
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials/2")
        await page.get_by_role("button", name="Edit").click()
        await dialog(page).get_by_label("E-mail").fill("new@example.com")
        await dialog(page).get_by_text("Proxy", exact=True).first.click()
        await dialog(page).get_by_label("Proxy").first.select_option("direct")
        await dialog(page).get_by_role("button", name="Save").click()
        await expect(dialog(page)).to_have_count(0)
        await expect(page.get_by_role("heading", name="new@example.com")).to_be_visible()
    assert entries(place)[2] == before | {"email": "new@example.com", "proxyUrl": "direct"}


async def test_many_are_switched_off_with_progress_and_deleted(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials")
        await page.get_by_label("Search").fill("a@example.com")
        await page.get_by_label("Select all that match").click()
        await page.get_by_label("Search").fill("")
        await page.get_by_role("button", name="Select all 4").click()
        await row(page, 4).get_by_role("checkbox").click()
        await page.get_by_role("button", name="Disable").click()
        panel = page.get_by_role("region", name="Disabling")
        await expect(panel).to_contain_text("Finished")
        await expect(panel).to_contain_text("3 / 3")
        for id in (1, 2, 3):
            await expect(row(page, id)).to_contain_text("Switched off by hand")
        await pick(page, "More actions", "Delete")
        await dialog(page).get_by_role("button", name="Delete").click()
        await expect(row(page, 1)).to_have_count(0)
    assert set(entries(place)) == {4}


async def test_an_import_shows_what_it_found_and_keeps_what_works(
    browser: Browser, start: Open
) -> None:
    place = await start()
    fresh = place.sim.tokens.credential(place.sim.tokens.add_social())
    data = [fresh | {"email": "fresh@example.com"}, entries(place)[1], {"authMethod": "social"}]
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials?dialog=import")
        await dialog(page).get_by_label("Contents of the file").fill(json.dumps(data))
        await dialog(page).get_by_role("button", name="Continue").click()
        await expect(dialog(page)).to_contain_text("Already here as #1")
        await dialog(page).get_by_role("button", name="Import 1").click()
        await expect(page.get_by_role("region", name="Importing")).to_contain_text("Finished")
        await expect(
            page.get_by_role("button", name="fresh@example.com", exact=True)
        ).to_be_visible()
    assert len(entries(place)) == 5


async def test_a_login_in_the_browser_ends_in_a_credential(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials?dialog=login")
        await dialog(page).get_by_role("button", name="Continue").click()
        code = dialog(page).locator("p.font-mono")
        await expect(code).to_have_text(re.compile(r"\w{4}-?\w{4}"))
        assert place.sim.tokens.devices.decide(await code.inner_text())
        await expect(dialog(page)).to_contain_text("Logged in")
        await dialog(page).get_by_role("button", name="Show the credential").click()
        await expect(page.locator("[data-slot=sheet]")).to_contain_text("#5")
    assert entries(place)[5]["authMethod"] == "idc"


async def test_the_order_is_changed_by_keys_alone(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials?dialog=order")
        handle = dialog(page).get_by_role("button", name="Move mara@example.com", exact=True)
        await handle.focus()
        await page.keyboard.press("Space")
        said = page.locator("[id^=DndLiveRegion]")
        await expect(said).to_contain_text("place 1")
        await page.keyboard.press("ArrowDown")
        await expect(said).to_contain_text("over place 2")
        await page.keyboard.press("Space")
        await dialog(page).get_by_role("button", name="Save order").click()
        await expect(dialog(page)).to_have_count(0)
    assert sorted(entries(place), key=lambda id: entries(place)[id]["priority"]) == [2, 1, 3, 4]


async def test_an_export_asks_for_the_key_again(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        sight.expected = ("403",)
        page = await opened(sight, "/credentials?dialog=export")
        await dialog(page).get_by_label("Admin key").fill("sk-wrong")
        await dialog(page).get_by_role("button", name="Download").click()
        await expect(dialog(page).get_by_role("alert")).to_be_visible()
        await dialog(page).get_by_label("Admin key").fill(ADMIN_KEY)
        async with page.expect_download() as waiting:
            await dialog(page).get_by_role("button", name="Download").click()
        held = json.loads((await (await waiting.value).path()).read_text())
    assert [entry["id"] for entry in held] == [1, 2, 3, 4]


async def test_a_cooldown_appears_by_itself_and_counts_down(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials")
        await expect(row(page, 1)).to_contain_text("Ready")
        place.sim.enqueue(SLOW_DOWN, answer("Hello."))
        await place.ask()
        await expect(row(page, 1)).to_contain_text("Cooling down")
        await expect(row(page, 1).locator("time")).to_have_text(re.compile(r"^1[45]:\d\d$"))
        seen = await row(page, 1).locator("time").inner_text()
        await expect(row(page, 1).locator("time")).not_to_have_text(seen)


# -- requests, keys, settings -------------------------------------------------------------


async def test_a_request_appears_as_it_ends_with_its_attempts(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        await sight.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await opened(sight, "/requests")
        await expect(page.get_by_role("heading", name="No requests yet")).to_be_visible()
        place.sim.enqueue(SLOW_DOWN, answer("Hello."))
        await place.ask()
        await page.locator("[data-request]").get_by_role("button").click()
        sheet = page.locator("[data-slot=sheet]")
        await expect(sheet.locator("ol > li")).to_have_count(2)
        await expect(sheet.locator("ol > li").first).to_contain_text("429")
        await sheet.get_by_role("button", name="Copy as curl").click()
        await expect(sheet.get_by_role("button", name="Copied")).to_be_visible()
        copied = await page.evaluate("navigator.clipboard.readText()")
    assert f"{place.url}/v1/messages" in copied and "$KIROPROXY_API_KEY" in copied
    assert place.gateway.key not in copied


async def test_a_key_is_shown_once_and_works_until_it_is_deleted(
    browser: Browser, start: Open
) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/keys")
        await page.get_by_role("button", name="Create key").click()
        await dialog(page).get_by_label("Name").fill("Laptop")
        await dialog(page).get_by_label("Tokens a day").fill("100000")
        await dialog(page).get_by_role("button", name="Create key").click()
        secret = await page.locator("[data-secret]").inner_text()
        await dialog(page).get_by_role("button", name="I have copied it").click()
        assert secret not in await page.content()
        assert (await place.ask(key=secret)).status_code == 200
        await pick(page, "Actions for Laptop", "Delete")
        await dialog(page).get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("heading", name="No keys yet")).to_be_visible()
        assert (await place.ask(key=secret)).status_code == 401


async def test_settings_apply_and_are_written(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/settings")
        await page.get_by_label("Requests a minute, a credential").fill("999")
        await expect(page.get_by_role("button", name="Save")).to_be_disabled()
        await page.get_by_label("Requests a minute, a credential").fill("7")
        await page.get_by_label("Fetch attachments by URL").click()
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("region", name="unsaved")).to_have_count(0)
        await page.reload()
        await expect(page.get_by_label("Requests a minute, a credential")).to_have_value("7")
        await page.get_by_role("link", name="Audit log").click()
        await expect(page.get_by_text("Settings changed")).to_be_visible()
    assert place.config | {"rpm": 7, "allowUrlFetch": True} == place.config


# -- when it does not work ----------------------------------------------------------------


async def test_a_page_that_cannot_load_says_why_and_tries_again(
    browser: Browser, furnished: Place
) -> None:
    async with look(browser, furnished.url) as sight:
        sight.expected = ("503",)
        await sight.sign_in(ADMIN_KEY)
        told = {"type": "internal_error", "message": "Nothing is recorded", "code": "records_off"}
        body = json.dumps({"error": told | {"remedy": "Set recordsPath"}})

        async def refuse(route: Route) -> None:
            await route.fulfill(status=503, body=body, content_type="application/json")

        await sight.page.route("**/api/admin/keys", refuse)
        await sight.go("/keys")
        await expect(sight.page.get_by_role("alert")).to_contain_text("Set recordsPath")
        await sight.assert_accessible()
        await sight.page.unroute("**/api/admin/keys")
        await sight.page.get_by_role("button", name="Try again").click()
        await expect(sight.page.locator("[data-key]")).to_have_count(2)


async def test_what_is_loading_keeps_its_room_and_is_accessible(
    browser: Browser, furnished: Place
) -> None:
    async with look(browser, furnished.url) as sight:
        await sight.sign_in(ADMIN_KEY)
        released = asyncio.Event()

        async def hold(route: Route) -> None:
            await released.wait()
            await route.continue_()

        await sight.page.route("**/api/admin/overview**", hold)
        await sight.page.goto(f"{sight.url}/admin/")
        await expect(sight.page.get_by_role("heading", name="Overview")).to_be_visible()
        await expect(sight.page.locator("[data-slot=skeleton]").first).to_be_visible()
        await sight.assert_accessible()
        tall = "document.querySelectorAll('[data-slot=card]')[1].getBoundingClientRect().top"
        before = await sight.page.evaluate(tall)
        released.set()
        await sight.settle()
        assert await sight.page.evaluate(tall) == before


async def test_a_lost_gateway_is_noticed_and_found_again(browser: Browser, start: Open) -> None:
    place = await start()
    async with look(browser, place.url) as sight:
        sight.expected = ("ERR_", "Failed to load")
        page = await opened(sight, "/credentials")
        await expect(page.get_by_text("Live", exact=True).first).to_be_visible()
        await place.gateway.stop()
        await expect(page.get_by_text("Reconnecting").first).to_be_visible()
        await expect(row(page, 1)).to_be_visible()
        await place.gateway.start()
        await expect(page.get_by_text("Live", exact=True).first).to_be_visible(timeout=15_000)


async def test_nothing_asks_in_the_browsers_own_dialogs(browser: Browser, start: Open) -> None:
    place = await start()
    asked: list[Dialog] = []
    async with look(browser, place.url) as sight:
        page = await opened(sight, "/credentials/4")
        page.on("dialog", lambda shown: asked.append(shown))
        await page.get_by_role("button", name="Delete").click()
        await dialog(page).get_by_role("button", name="Delete").click()
        await expect(page.locator("[data-slot=sheet]")).to_have_count(0)
        await expect(row(page, 4)).to_have_count(0)
    assert not asked and 4 not in entries(place)
