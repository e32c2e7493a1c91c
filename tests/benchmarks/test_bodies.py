"""The request bodies of the benchmarks."""

import pytest

from benchmarks.compare import bodies
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.pictures import edge_limit, is_fit
from kiroproxy.protocol.request import convert, parse_body
from kiroproxy.protocol.sources import media


@pytest.mark.parametrize("size", bodies.SIZES.values())
def test_a_grown_session_is_a_request_that_is_accepted(size: int) -> None:
    raw = bodies.for_load(size, "mode=answer events=1")
    assert size * 0.95 < len(raw) < size + 10_000  # a turn has 6 kB
    plan = convert(parse_body(raw), catalogue=Catalogue.BUILT_IN, ids=lambda: "id")
    assert plan.stream
    assert b"[[load mode=answer events=1]]" in plan.body(None)


def test_a_body_with_images_is_a_request_that_needs_no_scaling() -> None:
    body = parse_body(bodies.with_images("mode=answer events=1", count=1))
    (medium,) = media(body)
    assert is_fit(medium.source["data"], edge_limit(1))
    plan = convert(body, catalogue=Catalogue.BUILT_IN, ids=lambda: "id")
    assert b"[[load mode=answer events=1]]" in plan.body(None)
