"""The example files: they load as they are, and hold nothing anybody could mistake for real."""

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config
from kiroproxy.jsonc import without_comments
from kiroproxy.loading import examine
from kiroproxy.settings import SETTINGS

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(ROOT.glob("credentials.example.*.json"))
KEYS = {setting.key for setting in SETTINGS}


def loaded(example: Path, directory: Path) -> tuple[Store, list[Credential]]:
    """Load a copy: loading writes ids and machine ids down."""
    copy = directory / "credentials.json"
    shutil.copy(example, copy)
    copy.chmod(0o600)  # an operator's copy may be wider: then the store says so and narrows it
    store = Store(copy, Config(api_key="k"))
    return store, store.load()


def test_there_is_an_example_of_every_kind() -> None:
    kinds = [path.name.split(".")[2] for path in EXAMPLES]
    assert kinds == ["api-key", "idc", "multiple", "social"]


def test_config_example_loads_and_only_asks_for_a_key_of_ones_own() -> None:
    found = examine(ROOT / "config.example.json", {}, {})
    assert found.faults == ()
    (warning,) = found.warnings
    assert "apiKey: is the example's" in warning


def test_config_example_changes_no_default_but_the_key() -> None:
    config, default = examine(ROOT / "config.example.json", {}, {}).config, Config()
    told = {
        "api_key",
        "path",
        "sources",
        "system_version",
    }  # the last is picked for each installation
    for field in fields(Config):
        if field.name not in told:
            assert getattr(config, field.name) == getattr(default, field.name), field.name


def test_settings_shown_in_comments_load_too(tmp_path: Path) -> None:
    lines = []
    for line in (ROOT / "config.example.json").read_text().splitlines():
        shown = line.strip().removeprefix("// ")
        lines.append(shown if re.match(r'"\w+": ', shown) else line)
    path = tmp_path / "config.json"
    path.write_text("\n".join(lines))
    found = examine(path, {}, {})
    assert found.faults == ()
    assert len(found.warnings) == 1  # the key
    assert found.config.proxy_url == "socks5h://127.0.0.1:1080"
    assert set(json.loads(without_comments(path.read_text()))) <= KEYS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_credentials_example_loads_and_only_asks_for_ones_own(
    example: Path, tmp_path: Path
) -> None:
    store, credentials = loaded(example, tmp_path)
    assert store.faults == []
    assert store.warnings
    assert all("is the example's" in warning for warning in store.warnings)
    assert credentials


@pytest.mark.parametrize(
    ("kind", "methods"),
    [
        ("social", ["social"]),
        ("idc", ["idc"]),
        ("api-key", ["api_key"]),
        ("multiple", ["social", "idc", "api_key"]),
    ],
)
def test_example_holds_the_kinds_its_name_says(
    kind: str, methods: list[str], tmp_path: Path
) -> None:
    _, credentials = loaded(ROOT / f"credentials.example.{kind}.json", tmp_path)
    assert [credential.auth_method for credential in credentials] == methods


def test_example_of_several_shows_order_region_and_proxy(tmp_path: Path) -> None:
    _, credentials = loaded(ROOT / "credentials.example.multiple.json", tmp_path)
    assert [credential.priority for credential in credentials] == [0, 1, 2]
    assert credentials[1].auth_region == "eu-central-1"
    assert credentials[1].proxy is not None
    assert credentials[2].proxy is None
    assert [credential.disabled for credential in credentials] == [False, False, True]


def strings(value: object) -> Iterable[tuple[str, str]]:
    for item in value if isinstance(value, list) else [value]:
        assert isinstance(item, dict)
        for key, member in item.items():
            if isinstance(member, str):
                yield key, member


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_secret_of_an_example_says_that_it_is_one(example: Path) -> None:
    for key, value in strings(json.loads(example.read_text())):
        if any(word in key.lower() for word in ("token", "secret", "clientid", "apikey")):
            assert "EXAMPLE" in value, key
