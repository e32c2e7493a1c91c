"""What several test files need."""

import logging
from collections.abc import Callable, Iterator

import pytest
from support.sse import Reading, read


@pytest.fixture(scope="session")
def read_stream() -> Callable[[bytes], Reading]:
    """A strict reading of one whole Anthropic stream: `read_stream(sse).content`."""
    return read


@pytest.fixture(autouse=True)
def the_log_level_of_before() -> Iterator[None]:
    """Undo what a gateway in this process set: its level is that of the whole process."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
