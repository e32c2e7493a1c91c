"""What several test files need."""

import os
from collections.abc import Callable

import pytest
from support.sse import Reading, read

# Clients that pip cannot install: `make test-claude-code` fetches them and sets this.
collect_ignore = [] if "CLAUDE_CODE" in os.environ else ["real_clients"]


def pytest_report_header() -> str:
    if collect_ignore:
        return "not in this run: tests/real_clients (make test-claude-code; needs Node and npm)"
    return "with tests/real_clients"


@pytest.fixture(scope="session")
def read_stream() -> Callable[[bytes], Reading]:
    """A strict reading of one whole Anthropic stream: `read_stream(sse).content`."""
    return read
