"""Credential files on a real disk, and processes that read and write them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kiroproxy.accounts.store import Store
from kiroproxy.config import Config

TOKEN = "r" * 200

# On a busy machine a slow example is no finding.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def entry(**fields: Any) -> dict[str, Any]:
    """Return a usable social credential."""
    return {"refreshToken": TOKEN, "expiresAt": "2026-01-01T00:00:00Z", **fields}


@pytest.fixture
def make_entry() -> Callable[..., dict[str, Any]]:
    return entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


@pytest.fixture
def make_store(path: Path) -> Iterator[Callable[..., Store]]:
    """Write a value as the file and open a store on it."""

    def make(value: object = None, *, text: str = "", config: Config | None = None) -> Store:
        if value is not None:
            path.touch(0o600)
            path.write_text(json.dumps(value, indent=2))
        if text:
            path.touch(0o600)
            path.write_text(text)
        return Store(path, config or Config())

    yield make
    path.parent.chmod(0o700)
