"""Documentation that can be checked: the settings, the clients, the links."""

import json
import re
from pathlib import Path

import pytest
from support.clients import versions

from kiroproxy import __version__
from kiroproxy.config import Config
from kiroproxy.settings import SETTINGS

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md"))
# Settings whose default is not a constant: the page says so in words.
IN_WORDS = {"apiKey", "authRegion", "apiRegion", "machineId", "modelAliases"}
IN_WORDS |= {"systemVersion", "upstream", "modelOverrides", "timeouts"}


def settings_rows(page: Path) -> dict[str, str]:
    table = page.read_text().split("<!-- settings:begin -->")[1].split("<!-- settings:end -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", table, re.MULTILINE)
    return dict(rows)


def shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_settings_table_lists_every_setting_with_its_default(name: str) -> None:
    rows = settings_rows(ROOT / name)
    assert list(rows) == [setting.key for setting in SETTINGS]
    default = Config()
    for setting in SETTINGS:
        if setting.key in IN_WORDS:
            continue
        assert rows[setting.key].strip("`") == shown(getattr(default, setting.field)), setting.key


# Clients by the names their recordings carry, and as the pages call them.
CLIENTS = {
    "Claude Code": "Claude Code",
    "anthropic": "Anthropic Python SDK",
    "@anthropic-ai/sdk": "Anthropic TypeScript SDK",
    "pydantic-ai-slim": "pydantic-ai",
    "@ai-sdk/anthropic": "AI SDK",
    "aider-chat": "aider",
    "langchain-anthropic": "LangChain",
    "litellm": "LiteLLM",
    "llm": "llm",
    "opencode-ai": "opencode",
}


def recorded() -> dict[str, set[str]]:
    """Return which versions of which clients the replayed recordings come from."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / "tests" / "data" / "captures").glob("*.json"):
        capture = json.loads(file.read_text())
        if isinstance(capture, dict) and capture["path"].startswith("/v1/messages"):
            told = re.match(r"(\S+(?: Code)?) ([\d.]+)", capture["_meta"]["client"])
            assert told
            found.setdefault(CLIENTS[told[1]], set()).add(told[2])
    return found


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_clients_table_lists_what_the_tests_prove(name: str) -> None:
    page = (ROOT / name).read_text()
    table = page.split("<!-- clients:begin -->")[1].split("<!-- clients:end -->")[0]
    rows = re.findall(r"^\| (.+?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE)[1:]
    driven = {client: shown for client, shown, _ in rows if shown != "–"}
    replayed = {client: set(shown.split(", ")) for client, _, shown in rows}
    assert (driven, replayed) == (versions(), recorded())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_of_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_both_readmes_have_the_same_sections() -> None:
    def headings(name: str) -> int:
        return len(re.findall(r"^## ", (ROOT / name).read_text(), re.MULTILINE))

    assert headings("README.md") == headings("README.zh-CN.md")


def test_the_changelog_names_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
