"""Every recorded refusal and what it must be taken for."""

from types import SimpleNamespace

import orjson
import pytest

from kiroproxy.errors import (
    AccessDenied,
    BadFrame,
    ConnectionLost,
    EmptyAnswer,
    ModelRefused,
    Overloaded,
    PromptTooLong,
    ProtocolViolation,
    QuotaExhausted,
    Refused,
    Retry,
    ServerFault,
    SignatureRefused,
    Suspended,
    Throttled,
    TokenRejected,
    WrongDoor,
    WrongProfile,
)
from kiroproxy.upstream.faults import classify, classify_failure, with_numbers


def body(message: str = "", reason: str | None = None, kind: str = "", **more) -> bytes:
    fields = {"message": message, "reason": reason, **more}
    if kind:
        fields["__type"] = f"com.amazon.aws.codewhisperer#{kind}"
    return orjson.dumps(fields)


def told(status: int, *args, headers=None, **more):
    return classify(status, headers or {}, body(*args, **more))


BEARER = "The bearer token included in the request is invalid"
RATE = "Too many requests, please wait before trying again."
# fmt: off
RECORDED = [
    (400, "Improperly formed request.", None, Refused),
    (400, "Input is too long.", "CONTENT_LENGTH_EXCEEDS_THRESHOLD", PromptTooLong),
    (400, "Input is too long.", None, PromptTooLong),
    (400, "Context window is full. Reduce it.", None, PromptTooLong),
    (400, "x", "PROMPT_TOO_LONG", PromptTooLong),
    (400, "x", "THINKING_SIGNATURE_INVALID", SignatureRefused),
    (400, "messages.1.content.0: Invalid `signature` in `thinking` block", None, SignatureRefused),
    (400, "Invalid model ID. Please select a different model.", "INVALID_MODEL_ID", ModelRefused),
    (400, "x", "TOOL_USE_RESULT_MISMATCH", Refused),
    (400, "Invalid tool use format.", None, Refused),
    (400, "profileArn is required for this request.", None, WrongProfile),
    (400, "Invalid profileArn.", None, WrongProfile),
    (400, "Invalid ARN abc-client-id", None, WrongProfile),
    (401, BEARER, None, TokenRejected),
    (403, BEARER, None, TokenRejected),
    (403, "Token expired", None, TokenRejected),
    (401, "", None, TokenRejected),
    (402, "You have reached the limit.", "MONTHLY_REQUEST_COUNT", QuotaExhausted),
    (402, "You have reached the limit for overages.", "OVERAGE_REQUEST_LIMIT_EXCEEDED", QuotaExhausted),  # noqa: E501
    (402, "You have reached the limit.", None, QuotaExhausted),
    (402, "x", "CONVERSATION_LIMIT_EXCEEDED", Refused),
    (403, "User is not authorized to make this call.", None, WrongProfile),
    (403, "Your subscription does not support this application", None, WrongDoor),
    (403, "x", "FEATURE_NOT_SUPPORTED", WrongDoor),
    (403, "x", "TEMPORARILY_SUSPENDED", Suspended),
    (403, "Your User ID (d-1.2) temporarily is suspended. We detected unusual activity", None, Suspended),  # noqa: E501
    (423, "We locked your account as a precaution", None, Suspended),
    (423, "x", None, AccessDenied),
    (404, "x", None, ServerFault),
    (429, RATE, "USER_REQUEST_RATE_EXCEEDED", Throttled),
    (429, RATE, "CREDIT_CONSUMPTION_RATE_EXCEEDED", Throttled),
    (429, "x", "HOURLY_REQUEST_COUNT", Throttled),
    (429, "x", "DAILY_REQUEST_COUNT", Throttled),
    (429, "x", "MONTHLY_REQUEST_COUNT", QuotaExhausted),
    (429, "x", "SERVICE_REQUEST_RATE_EXCEEDED", Overloaded),
    (429, "I am experiencing high traffic, please try again shortly.", None, Overloaded),
    (429, "x", "INSUFFICIENT_MODEL_CAPACITY", Overloaded),
    (500, "Encountered unexpectedly high load when processing the request, please try again.", None, Overloaded),  # noqa: E501
    (500, "x", "MODEL_TEMPORARILY_UNAVAILABLE", Overloaded),
    (500, "Internal error", None, ServerFault),
    (500, "tool blocks do not match", "TOOL_USE_RESULT_MISMATCH", Refused),
    (500, "Input is too long.", None, PromptTooLong),
    (503, "", None, ServerFault),
    (301, "", None, ServerFault),
]
# fmt: on


@pytest.mark.parametrize(("status", "message", "reason", "expected"), RECORDED)
def test_recorded_refusal_is_understood(status, message, reason, expected):
    fault = told(status, message, reason)
    assert type(fault) is expected
    if message not in ("", "x"):
        assert message.split(",")[0] in fault.detail


@pytest.mark.parametrize(("status", "message", "reason", "expected"), RECORDED)
def test_no_client_reads_what_kiro_wrote(status, message, reason, expected):
    fault = told(status, f"{message} [account d-9067.secret]", reason)
    assert "secret" not in fault.message
    assert "secret" in fault.detail
    assert str(fault) == fault.message


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "ThrottlingException", Throttled),
        (400, "AccessDeniedException", TokenRejected),  # the management host's bearer refusal
        (403, "AccessDeniedException", AccessDenied),
        (403, "ExpiredTokenException", TokenRejected),
        (400, "ValidationException", Refused),
        (500, "ValidationException", Refused),
        (503, "ServiceUnavailableException", Overloaded),
        (500, "InternalServerException", ServerFault),
        (200, "ThrottlingException", Throttled),
        (200, "ThrottlingError", Throttled),
        (200, "InternalServerException", ServerFault),
        (200, "ValidationException", Refused),
        (200, "SomethingNewException", ServerFault),
    ],
)
@pytest.mark.parametrize("place", ["body", "header", "wrapped"])
def test_exception_name_decides_wherever_it_stands(status, kind, expected, place):
    name = f"com.amazon.kiro.runtimeservice#{kind}:http://internal.amazon.com/coral/"
    fields = {"message": "x"} if place == "header" else {"message": "x", "__type": name}
    raw = orjson.dumps({"Output": fields, "Version": "1.0"} if place == "wrapped" else fields)
    headers = {b"x-amzn-errortype": name.encode()} if place == "header" else {}
    assert type(classify(status, headers, raw)) is expected


def test_reason_is_found_under_error():
    raw = b'{"error":{"reason":"MONTHLY_REQUEST_COUNT","message":"m"}}'
    assert type(classify(429, {}, raw)) is QuotaExhausted


PAGE = b"<html><head><title>403 Forbidden</title></head><body>CloudFront</body></html>"


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (403, PAGE, ServerFault),  # blocked on the way: the credential is not to blame
        (401, PAGE, ServerFault),
        (502, PAGE, ServerFault),
        (429, PAGE, Throttled),
        (413, PAGE, PromptTooLong),
        (400, PAGE, Refused),
        (403, b"", AccessDenied),
        (429, b"", Throttled),
        (500, b"", ServerFault),
        (400, b"", Refused),
        (500, b"\xff\xfe\x00", ServerFault),
        (400, b"[1]", Refused),
        (400, b'{"message": 5, "reason": {}, "__type": []}', Refused),
        (500, b'{"message": "cut of', ServerFault),
    ],
)
def test_bodies_that_are_not_kiros_are_survived(status, raw, expected):
    assert type(classify(status, {}, raw)) is expected


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"conversationId":"x"}', b"<html>"])
def test_success_that_is_no_stream_and_no_exception_is_a_violation_or_a_page(raw):
    fault = classify(200, {b"content-type": b"application/json"}, raw)
    assert isinstance(fault, (ProtocolViolation, ServerFault))


@pytest.mark.parametrize(
    ("headers", "fields", "seconds"),
    [
        ({b"retry-after": b"7"}, {}, 7),
        ({b"retry-after": b"0"}, {}, 0),
        ({b"x-amz-retry-after": b"1500"}, {}, 1.5),
        ({}, {"retryAfterMilliseconds": 300000}, 300),
        ({}, {"retryAfterMilliseconds": "2500"}, 2.5),
        ({b"retry-after": b"7"}, {"retryAfterMilliseconds": 9000}, 9),
        (
            {
                b"retry-after": b"Wed, 21 Oct 2026 07:28:30 GMT",
                b"date": b"Wed, 21 Oct 2026 07:28:00 GMT",
            },
            {},
            30,
        ),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:28:30 GMT"}, {}, None),
        ({b"retry-after": b"soon"}, {"retryAfterMilliseconds": True}, None),
        ({b"retry-after": b"-5"}, {"retryAfterMilliseconds": "inf"}, None),
        ({}, {}, None),
    ],
)
def test_wait_is_taken_from_wherever_it_stands(headers, fields, seconds):
    fault = told(429, RATE, headers=headers, **fields)
    assert fault.retry_after_s == seconds


def test_daily_limit_without_a_time_waits_longer_than_a_rate_limit():
    assert told(429, "x", "DAILY_REQUEST_COUNT").retry_after_s == 3600
    assert told(429, "x", "DAILY_REQUEST_COUNT", retryAfterMilliseconds=5000).retry_after_s == 5


def test_only_the_two_doubtful_refusals_are_worth_another_try():
    assert told(400, "Invalid tool use format.").retry is Retry.SAME
    assert told(500, "x", kind="ValidationException").retry is Retry.SAME
    assert told(500, "x", "TOOL_USE_RESULT_MISMATCH").retry is Retry.NEVER
    assert told(400, "Improperly formed request.").retry is Retry.NEVER
    assert Refused("another").retry is Retry.NEVER


def test_long_upstream_text_is_cut():
    assert len(told(400, "x" * 100_000).detail) < 600


@pytest.mark.parametrize(("tokens", "shown"), [(210_000, 210_000), (150_000, 200_001)])
def test_too_long_prompt_is_told_in_the_wording_that_triggers_compaction(tokens, shown):
    fault = with_numbers(told(400, "Input is too long."), tokens, 200_000)
    assert fault.message == f"prompt is too long: {shown} tokens > 200000 maximum"
    assert str(fault) == fault.message
    assert "Input is too long" in fault.detail


# -- inside a stream -------------------------------------------------------------------------


def failure(kind, name="", message="", reason="", retry_after_s=None):
    return SimpleNamespace(
        kind=kind, name=name, message=message, reason=reason, retry_after_s=retry_after_s,
        expected=1, actual=2, offset=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("frame", "message-crc"), BadFrame),
        (("truncated", "frame"), ConnectionLost),
        (("empty", "END_TURN"), EmptyAnswer),
        (("protocol", "tool-name", "x"), ProtocolViolation),
        (("exception", "ThrottlingException", "slow"), Throttled),
        (("exception", "InternalServerException", "x"), ServerFault),
        (
            ("exception", "InternalServerException", "x", "MODEL_TEMPORARILY_UNAVAILABLE"),
            Overloaded,
        ),
        (("exception", "ServiceUnavailableException", "x"), Overloaded),
        (("exception", "ValidationException", "Improperly formed request."), Refused),
        (("exception", "ContentLengthExceededException", "x"), PromptTooLong),
        (("exception", "AccessDeniedException", BEARER), TokenRejected),
        (("error", "SomethingNew", "x"), ServerFault),
        (("invalid-state", "", "x", "NEW_REASON"), ServerFault),
    ],
)
def test_failed_stream_is_understood_like_a_failed_call(args, expected):
    assert type(classify_failure(failure(*args))) is expected


def test_numbers_of_a_bad_frame_and_of_a_wait_are_kept():
    fault = classify_failure(failure("frame", "message-crc"))
    assert (fault.fault, fault.expected, fault.actual, fault.offset) == ("message-crc", 1, 2, 3)
    assert (
        classify_failure(failure("exception", "ThrottlingException", "", "", 4.5)).retry_after_s
        == 4.5
    )
