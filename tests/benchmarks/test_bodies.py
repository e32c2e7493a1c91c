"""The request bodies of the benchmarks."""

import pytest

from benchmarks.compare import bodies
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import convert, parse_body


@pytest.mark.parametrize("size", bodies.SIZES.values())
def test_a_grown_session_is_a_request_that_is_accepted(size: int) -> None:
    raw = bodies.for_load(size, "mode=answer events=1")
    assert size * 0.95 < len(raw) < size + 10_000  # a turn has 6 kB
    plan = convert(parse_body(raw), catalogue=Catalogue.BUILT_IN, ids=lambda: "id")
    assert plan.stream
    assert b"[[load mode=answer events=1]]" in plan.body(None)
