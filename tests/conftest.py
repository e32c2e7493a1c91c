"""What several test files need."""

from collections.abc import Callable

import pytest
from support.sse import Reading, read


@pytest.fixture(scope="session")
def read_stream() -> Callable[[bytes], Reading]:
    """A strict reading of one whole Anthropic stream: `read_stream(sse).content`."""
    return read
