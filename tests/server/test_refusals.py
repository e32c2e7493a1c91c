"""Every way in which Kiro says no, and what exactly the client is told: one table, real sockets.

The messages are those clients match on, so they are written out, not taken from the code.
"""

import json
from typing import Any

import pytest

from kiroproxy.simulator.script import Error, Event, Plain, Refuse, Script, Start, Throw

PROMPT = "prompt is too long: 200001 tokens > 200000 maximum"
PAIRING = (
    "messages: `tool_use` ids were found without `tool_result` blocks immediately after. "
    "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
)
NO_MODEL = (
    "model: claude-sonnet-4.5: Kiro does not offer it to the account: the id is unknown, the "
    "plan does not include it, or it is hidden in this region"
)
IMPROPER = "Kiro refused the request as improperly formed; the log names its reason"
CREDIT = "Your credit balance is too low: the Kiro plan is used up"
SLOW = "Kiro limits the rate of this account"
SUSPENDED = "Kiro has suspended the account"
ROOM = (
    "input length and `max_tokens` exceed context limit: 198977 + 1024 > 200000, decrease input "
    "length or `max_tokens` and try again"
)
INVALID, LIMIT, OVER, API = (
    "invalid_request_error", "rate_limit_error", "overloaded_error", "api_error",
)  # fmt: skip
VALIDATION, QUOTA, THROTTLE = (
    "ValidationException", "ServiceQuotaExceededException", "ThrottlingException",
)  # fmt: skip
DENIED, INTERNAL = "AccessDeniedException", "InternalServerException"
ANY = "retry-after: any"
STOP = "x-should-retry: false"


def invalid(reason: str | None, message: str, said: str = "x") -> tuple[Any, ...]:
    return (400, VALIDATION, said, reason), (400, INVALID, message, "")


# (status, exception, message, reason) of Kiro → (status, type, message, header) of ours
# fmt: off
TABLE: list[tuple[Any, ...]] = [
    # the conversation and the answer it has room for
    invalid("CONTENT_LENGTH_EXCEEDS_THRESHOLD", PROMPT, "Input is too long."),
    invalid("PROMPT_TOO_LONG", PROMPT),
    invalid(None, PROMPT, "Input is too long."),
    invalid(None, PROMPT, "Context window is full. Reduce the conversation."),
    ((413, VALIDATION, "x", None), (400, INVALID, PROMPT, "")),
    invalid(None, ROOM, "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
    # fields of the request
    invalid("THINKING_SIGNATURE_INVALID", "Invalid `signature` in `thinking` block"),
    invalid("REQUEST_BODY_INVALID", "output_config.effort: Extra inputs are not permitted",
            "output_config.effort: 'xhigh' is not one of the allowed values"),
    invalid("REQUEST_BODY_INVALID", "adaptive thinking is not supported on this model",
            "thinking.type: adaptive is not allowed"),
    invalid("REQUEST_BODY_INVALID",
            '"thinking.type.disabled" is not supported for this model.',
            "thinking.type: disabled is not allowed"),
    invalid("REQUEST_BODY_INVALID",
            "thinking.adaptive.display: Input should be 'summarized'",
            "thinking.display is not allowed"),
    invalid("REQUEST_BODY_INVALID", "Kiro could not read the request"),
    invalid("REQUEST_BODY_INVALID_JSON", "Kiro could not read the request"),
    invalid(None, IMPROPER, "Improperly formed request."),
    invalid("INVALID_CONVERSATION_ID", "Kiro does not know the conversation"),
    ((400, VALIDATION, "Invalid model ID.", "INVALID_MODEL_ID"),
     (404, "not_found_error", NO_MODEL, "")),
    # tools
    invalid("TOOL_USE_RESULT_MISMATCH", PAIRING),
    ((500, INTERNAL, "x", "TOOL_USE_RESULT_MISMATCH"), (400, INVALID, PAIRING, "")),
    invalid("TOOL_CONFIG_MISSING", "tools: the conversation uses tools, and none is defined"),
    invalid("TOOL_DUPLICATE", "tools: Tool names must be unique."),
    invalid("TOOL_SCHEMA_INVALID", "tools: JSON schema is invalid: Kiro does not accept the "
            "input_schema of one of the tools"),
    ((400, VALIDATION, "Invalid tool use format.", None),
     (400, INVALID, IMPROPER, "x-should-retry: true")),
    # images and documents
    invalid("IMAGE_COUNT_EXCEEDED", "Too much media: the request holds more images than Kiro takes"),  # noqa: E501
    invalid("IMAGE_SIZE_EXCEEDED", "image exceeds 5 MB maximum"),
    invalid("IMAGE_DIMENSION_EXCEEDED", "At least one of the image dimensions exceed max allowed "
            "size for many-image requests: 2000 pixels"),
    invalid("IMAGE_FORMAT_UNSUPPORTED", "Could not process image: the format is not supported"),
    invalid("IMAGE_MIME_MISMATCH", "Could not process image: it is not of the type it claims"),
    invalid("DOCUMENT_COUNT_EXCEEDED", "Too much media: the request holds more documents than Kiro takes"),  # noqa: E501
    invalid("DOCUMENT_DUPLICATE_NAME", "two documents have the same name"),
    invalid("DOCUMENT_MAXIMUM_PAGES_EXCEEDED", "A maximum of 100 PDF pages may be provided."),
    invalid("DOCUMENT_MODEL_NOT_SUPPORTED", "the model cannot read documents"),
    invalid("DOCUMENT_PASSWORD_PROTECTED", "a document is password protected"),
    invalid("DOCUMENT_SIZE_EXCEEDED", "a document exceeds Kiro's maximum size"),
    # the plan
    ((402, QUOTA, "You have reached the limit.", "MONTHLY_REQUEST_COUNT"),
     (402, "billing_error", CREDIT, ANY)),
    ((402, QUOTA, "x", "OVERAGE_REQUEST_LIMIT_EXCEEDED"), (402, "billing_error", CREDIT, ANY)),
    ((402, QUOTA, "x", "CONVERSATION_LIMIT_EXCEEDED"),
     (400, INVALID, "the conversation has too many turns for Kiro; start a new one", "")),
    ((429, THROTTLE, "x", "MONTHLY_REQUEST_COUNT"), (402, "billing_error", CREDIT, ANY)),
    ((429, THROTTLE, "x", "USAGE_LIMIT_REACHED"), (402, "billing_error", CREDIT, ANY)),
    # rates
    ((429, THROTTLE, "Too many requests", "USER_REQUEST_RATE_EXCEEDED"),
     (429, LIMIT, SLOW, "retry-after: 8")),
    ((429, THROTTLE, "x", "CREDIT_CONSUMPTION_RATE_EXCEEDED"), (429, LIMIT, SLOW, ANY)),
    ((429, THROTTLE, "x", "DAILY_REQUEST_COUNT"), (429, LIMIT, SLOW, "retry-after: 3600")),
    ((429, THROTTLE, "x", "WEEKLY_REQUEST_COUNT"), (429, LIMIT, SLOW, "retry-after: 3600")),
    ((429, THROTTLE, "x", "HOURLY_REQUEST_COUNT"), (429, LIMIT, SLOW, ANY)),
    # capacity
    ((429, THROTTLE, "I am experiencing high traffic", "INSUFFICIENT_MODEL_CAPACITY"),
     (529, OVER, "Kiro has no capacity for the model right now", "")),
    ((500, INTERNAL, "Encountered unexpectedly high load", "MODEL_TEMPORARILY_UNAVAILABLE"),
     (529, OVER, "Kiro has no capacity for the model right now", "")),
    ((503, "ServiceUnavailableException", "x", None),
     (529, OVER, "Kiro has no capacity right now", "")),
    ((500, INTERNAL, "x", None), (502, API, "Kiro failed to answer", "")),
    # the account
    ((403, DENIED, "x", "TEMPORARILY_SUSPENDED"), (502, API, SUSPENDED, STOP)),
    ((423, DENIED, "We locked your account", None), (502, API, SUSPENDED, STOP)),
    ((403, DENIED, "x", "FEATURE_NOT_SUPPORTED"),
     (502, API, "Kiro does not serve this account here", STOP)),
    ((403, DENIED, "Your subscription does not support this application", None),
     (502, API, "Kiro does not serve this account here", STOP)),
    ((409, "ConflictException", "x", "CUSTOMER_KMS_KEY_DISABLED"),
     (502, API, "Kiro does not allow this account to do that", STOP)),
    ((403, DENIED, "The bearer token included in the request is invalid", None),
     (502, API, "Kiro does not accept the account's token", STOP)),
    ((403, DENIED, "User is not authorized to make this call.", None),
     (502, API, "Kiro does not accept the account's profile", STOP)),
    ((404, "ResourceNotFoundException", "x", None), (502, API, "Kiro failed to answer", "")),
]
# fmt: on


@pytest.fixture
async def refused(run_gateway: Any, monkeypatch: Any) -> Any:
    """Ask a gateway whose Kiro answers only so; return the answer. Retries wait for nothing."""
    monkeypatch.setattr("kiroproxy.upstream.dispatch._BACKOFF_CAP_S", 0.001)

    async def asked(script: Script, **changes: Any) -> Any:
        gateway = await run_gateway(*[script] * 9)
        return await gateway.ask(**changes)

    return asked


def check(answer: Any, expected: tuple[Any, ...]) -> None:
    status, kind, message, header = expected
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, {"type": kind, "message": message})
    assert body["type"] == "error" and body["request_id"] == answer.headers["request-id"]
    name, _, value = header.partition(": ")
    known = {key: answer.headers.get(key) for key in ("retry-after", "x-should-retry")}
    if value == "any":
        assert int(known.pop(name)) >= 1
        value = ""
    assert {key: found for key, found in known.items() if found} == ({name: value} if value else {})


# What leaves the account as it was can be asked of one gateway, row by row.
LASTING = [row for row in TABLE if row[1][0] != 400]


@pytest.mark.parametrize(("told", "expected"), LASTING, ids=lambda row: f"{row[0]}-{row[3]}")
async def test_each_refusal_has_its_status_its_type_and_its_words(
    refused: Any, told: tuple[Any, ...], expected: tuple[Any, ...]
) -> None:
    check(await refused(Script((Refuse(*told),)), stream=True), expected)


async def test_each_400_has_its_type_and_its_words(run_gateway: Any) -> None:
    gateway = await run_gateway()
    for told, expected in TABLE:
        if expected[0] == 400:
            gateway.sim.enqueue(*[Script((Refuse(*told),))] * 2)  # some are asked twice
            check(await gateway.ask(), expected)
            gateway.sim.queues["generate"].clear()


@pytest.mark.parametrize(
    ("row", "script"),
    [
        (0, lambda kind, said, reason: Script((Start(), Throw(kind, said, reason)))),
        (37, lambda kind, said, reason: Script((Start(), Throw(kind, said, reason)))),
        (43, lambda kind, said, reason: Script((Start(), Throw(kind, said, reason)))),
        (44, lambda kind, said, reason: Script((
            Start(), Event("error", {"message": said, "reason": reason})))),
        (0, lambda kind, said, reason: Script((Plain(200, json.dumps(
            {"__type": f"com.amazon.kiro.runtimeservice#{kind}", "message": said})),))),
        (33, lambda kind, said, reason: Script((Plain(200, json.dumps(
            {"Output": {"__type": kind, "message": said, "reason": reason}})),))),
        (39, lambda kind, said, reason: Script((Plain(200, json.dumps(
            {"__type": kind, "message": said, "error": {"reason": reason}})),))),
    ],
)  # fmt: skip
async def test_within_a_200_a_refusal_means_the_same(refused: Any, row: int, script: Any) -> None:
    (_, kind, said, reason), expected = TABLE[row]
    check(await refused(script(kind, said, reason)), expected)


async def test_an_error_frame_before_content_is_a_failure_of_kiros(refused: Any) -> None:
    answer = await refused(Script((Start(), Error())))
    check(answer, (502, API, "Kiro failed to answer", ""))


async def test_a_told_wait_is_passed_on_to_the_second(refused: Any) -> None:
    slow = Refuse(429, THROTTLE, "x", "CREDIT_CONSUMPTION_RATE_EXCEEDED",
                  extra={"retryAfterMilliseconds": 300_000})  # fmt: skip
    check(await refused(Script((slow,))), (429, LIMIT, SLOW, "retry-after: 300"))


async def test_a_stream_that_started_is_told_the_same_in_an_event(run_gateway: Any) -> None:
    script = Script((Start(), Throw(VALIDATION, "Input is too long.")))
    gateway = await run_gateway(script, early_start_s=0.0)
    answer = await gateway.ask(stream=True)
    event = json.loads(answer.text.rpartition("data: ")[2])
    assert event["error"] == {"type": INVALID, "message": PROMPT}
