"""A request as it arrives, and what is told of it at its end."""

import re
import time
from random import Random

import pytest

from kiroproxy._plain import fresh_id
from kiroproxy._pump import Outlet
from kiroproxy._request import Arrived, Record
from kiroproxy.errors import Throttled
from kiroproxy.server.request import Request


def arrived(target: bytes = b"/v1/messages?beta=true", **headers: bytes) -> Request:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Request.whole(target, named, Outlet(lambda data: None), ("127.0.0.1", 4))


def test_a_request_that_came_whole_has_what_was_sent() -> None:
    before = time.monotonic()
    request = arrived(x_api_key=b" schl\xfcssel ")
    assert type(request) is Request and isinstance(request, Arrived)
    assert (request.method, request.path, request.query) == ("POST", "/v1/messages", b"beta=true")
    assert request.text(b"x-api-key") == "schl\u00fcssel" and request.text(b"absent") == ""
    assert request.outlet is not None and request.client == ("127.0.0.1", 4)
    assert request.work is None and request.grant is None
    assert before <= request.started_s <= time.monotonic()


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [(b"/a", "/a", b""), (b"/a?", "/a", b""), (b"?b", "", b"b"), (b"/a?b?c", "/a", b"b?c")],
)
def test_a_target_is_cut_at_its_first_question_mark(target: bytes, path: str, query: bytes) -> None:
    request = arrived(target)
    assert (request.path, request.query) == (path, query)


def test_a_target_beyond_ascii_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        arrived(b"/\xff")


def test_ids_are_of_their_shape_and_no_two_are_the_same() -> None:
    ids = {arrived().id for _ in range(2000)} | {fresh_id("req_") for _ in range(2000)}
    assert len(ids) == 4000
    assert all(re.fullmatch("req_[0-9a-f]{24}", id) for id in ids)
    assert {digit for id in ids for digit in id[4:]} == set("0123456789abcdef")
    with pytest.raises(ValueError, match="\u00fc"):
        fresh_id("\u00fc")


def test_a_record_begins_empty_and_makes_its_list_of_attempts_when_asked() -> None:
    record, other = Record(), Record()
    assert (record.model, record.error, record.credential_id, record.key_id) == ("", "", None, None)
    assert (record.tries, record.credits, record.stream, record.cut) == (0, 0.0, False, False)
    assert record.attempts == [] and record.attempts is record.attempts
    assert record.attempts is not other.attempts


def test_credits_add_up_to_millionths_as_python_rounds() -> None:
    random, record, expected = Random(5), Record(), 0.0
    for _ in range(1000):
        cost = random.choice((0.01, 0.07, round(random.random(), 6)))
        record.charge(cost)
        expected = round(expected + cost, 6)
        assert record.credits == expected
    record.charge(1e300)
    assert record.credits == 1e300


def test_an_error_is_noted_with_what_the_client_was_told() -> None:
    record = Record()
    record.detail = "before"
    record.note(Throttled("wait"))
    assert (record.error, record.error_message, record.detail) == ("Throttled", "wait", "before")


@pytest.mark.parametrize(
    ("error", "status", "cut", "outcome"),
    [
        ("", 200, False, "ok"),
        ("", 200, True, "truncated"),
        ("search:unavailable", 200, False, "ok"),
        ("search:unavailable", 500, False, "error"),
        ("Throttled", 200, True, "error"),
        ("", 0, False, "error"),
        ("", 400, False, "error"),
        ("client_closed", 0, False, "cancelled"),
        ("cancelled", 200, True, "cancelled"),
    ],
)
def test_an_end_has_a_name(error: str, status: int, cut: bool, outcome: str) -> None:
    record = Record()
    record.error, record.cut = error, cut
    assert record.outcome(status) == outcome


def test_an_answer_is_known_by_its_first_token_or_its_end() -> None:
    record = Record()
    assert not record.is_answered
    record.stop_reason = "end_turn"
    assert record.is_answered
    record.stop_reason, record.first_token_s = "", 0.1
    assert record.is_answered


def test_the_log_line_of_a_request_tells_what_there_is_to_tell() -> None:
    request = arrived(b"/" + b"x" * 300)
    assert list(request.told(404)) == ["method", "path", "status", "ms"]
    record = request.record
    record.credential_id, record.model, record.stream, record.tries = 0, "claude", True, 2
    record.input_tokens, record.output_tokens, record.credits, record.searches = 3, 4, 0.07, 1
    record.stop_reason, record.error, record.detail = "end_turn", "Throttled", "later"
    told = request.told(200)
    took_ms = told.pop("ms")
    assert isinstance(took_ms, float) and 0 <= took_ms == round(took_ms, 1)
    assert list(told.items()) == [
        *(("method", "POST"), ("path", "/" + "x" * 199), ("status", 200), ("credential_id", 0)),
        *(("model", "claude"), ("stream", True), ("tries", 2), ("input_tokens", 3)),
        *(("output_tokens", 4), ("credits", 0.07), ("searches", 1), ("stop_reason", "end_turn")),
        *(("error", "Throttled"), ("detail", "later")),
    ]
