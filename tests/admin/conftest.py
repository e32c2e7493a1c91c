"""A gateway with its admin API, in this process, and one that logs every answer for secrets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.console import Console, console


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Console]:
    """A gateway with a social credential, a Builder ID one and an API key, in that order."""
    async with console(tmp_path) as made:
        yield made
