"""What Kiro's refusals mean: status, exception name, reason and wording → the error tree.

Rules of this file: the only place that matches Kiro's words. What a client may read is ours;
Kiro's text goes to `detail`, cut short. A failed try is first understood, then retried: who is
to blame (request, credential, token, capacity, network) decides everything that follows.

Theory of operation. An HTTP answer and an in-stream exception become the same `Told`; the rows
of `_RULES` are asked in order, the first that applies decides. Reasons come before words, words
before statuses: a bad request also arrives as a 500, an exhausted plan also as a 429, a stale
token also as a 400, and a failure also as a 200 whose body is JSON.

Source: the exception and reason enumerations of AWS's published CodeWhisperer streaming model;
wordings and odd statuses as recorded by gateways' users.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from kiroproxy.errors import (
    AccessDenied,
    BadFrame,
    ConnectionLost,
    EmptyAnswer,
    ModelRefused,
    OutputTooLong,
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
    UpstreamError,
    WrongDoor,
    WrongProfile,
)
from kiroproxy.upstream.refusal import STATUSES, Told, read, short


class StreamFailure(Protocol):
    """Why a stream cannot go on; `_sse.Failure` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def retry_after_s(self) -> float | None: ...
    @property
    def expected(self) -> int: ...
    @property
    def actual(self) -> int: ...
    @property
    def offset(self) -> int: ...


def classify(status: int, headers: Mapping[bytes, bytes], body: bytes) -> UpstreamError:
    """Turn an answer that is not an event stream into the error it stands for.

    Shape: header names in lower case; `body` may be cut or empty.
    """
    return _judge(read(status, headers, body))


def classify_failure(failure: StreamFailure) -> UpstreamError:
    """Turn what ended a stream into the error it stands for."""
    if failure.kind == "frame":
        return BadFrame(
            failure.name, expected=failure.expected, actual=failure.actual, offset=failure.offset
        )
    detail = short(f"{failure.kind} {failure.name} {failure.reason}: {failure.message}")
    if failure.kind == "empty":
        return EmptyAnswer("Kiro's answer was empty", detail=detail)
    if failure.kind == "truncated":
        return ConnectionLost("Kiro's answer was cut off", detail=detail)
    if failure.kind == "protocol":
        return ProtocolViolation("Kiro sent a stream that makes no sense", detail=detail)
    return _judge(
        Told(
            STATUSES.get(failure.name, 500),
            failure.name,
            failure.reason,
            failure.message.lower(),
            detail,
            failure.retry_after_s,
            is_kiro=True,
        )
    )


def with_room(error: OutputTooLong, tokens: int, wanted: int, maximum: int) -> OutputTooLong:
    """Return the error in the wording on which Claude Code asks again for a shorter answer.

    Shape: as `with_numbers`; `wanted` is the request's max_tokens.
    """
    counted = max(tokens, maximum - wanted + 1)
    return OutputTooLong(
        f"input length and `max_tokens` exceed context limit: {counted} + {wanted} > {maximum}, "
        "decrease input length or `max_tokens` and try again",
        detail=error.detail,
    )


def with_numbers(error: PromptTooLong, tokens: int, maximum: int) -> PromptTooLong:
    """Return the error in the wording that makes Claude Code compact its conversation.

    Shape: both numbers are estimates; the first is raised where it would contradict Kiro.
    """
    counted = max(tokens, maximum + 1)
    return PromptTooLong(
        f"prompt is too long: {counted} tokens > {maximum} maximum", detail=error.detail
    )


# -- judging -------------------------------------------------------------------------------

Verdict = Callable[[Told], UpstreamError]

_DAY_OR_WEEK = ("DAILY_REQUEST_COUNT", "WEEKLY_REQUEST_COUNT")
_QUOTAS = ("MONTHLY_REQUEST_COUNT", "OVERAGE_REQUEST_LIMIT_EXCEEDED", "USAGE_LIMIT_REACHED")
_CAPACITY = (
    "INSUFFICIENT_MODEL_CAPACITY",
    "MODEL_TEMPORARILY_UNAVAILABLE",
    "SERVICE_REQUEST_RATE_EXCEEDED",
)
_TOO_LONG = ("CONTENT_LENGTH_EXCEEDS_THRESHOLD", "PROMPT_TOO_LONG")
_TOKEN_NAMES = ("ExpiredTokenException", "InvalidTokenException", "UnrecognizedClientException")
# Anthropic's words where it has some, for clients match on them; ours where it has none. Its
# numbers are Kiro's too as far as is known.
_REFUSALS = {
    "INVALID_MODEL_ID": "Kiro does not offer it to the account: the id is unknown, the plan does "
    "not include it, or it is hidden in this region",
    "TOOL_USE_RESULT_MISMATCH": "messages: `tool_use` ids were found without `tool_result` blocks "
    "immediately after. Each `tool_use` block must have a corresponding `tool_result` block in the "
    "next message.",
    "TOOL_SCHEMA_INVALID": "tools: JSON schema is invalid: Kiro does not accept the input_schema "
    "of one of the tools",
    "TOOL_CONFIG_MISSING": "tools: the conversation uses tools, and none is defined",
    "TOOL_DUPLICATE": "tools: Tool names must be unique.",
    "INVALID_CONVERSATION_ID": "Kiro does not know the conversation",
    "REQUEST_BODY_INVALID": "Kiro could not read the request",
    "REQUEST_BODY_INVALID_JSON": "Kiro could not read the request",
    "CONVERSATION_LIMIT_EXCEEDED": "the conversation has too many turns for Kiro; start a new one",
    "IMAGE_COUNT_EXCEEDED": "Too much media: the request holds more images than Kiro takes",
    "IMAGE_DIMENSION_EXCEEDED": "At least one of the image dimensions exceed max allowed size for "
    "many-image requests: 2000 pixels",
    "IMAGE_SIZE_EXCEEDED": "image exceeds 5 MB maximum",
    "IMAGE_FORMAT_UNSUPPORTED": "Could not process image: the format is not supported",
    "IMAGE_MIME_MISMATCH": "Could not process image: it is not of the type it claims",
    "DOCUMENT_COUNT_EXCEEDED": "Too much media: the request holds more documents than Kiro takes",
    "DOCUMENT_DUPLICATE_NAME": "two documents have the same name",
    # Claude Code looks for these very words; 100 is Claude's own limit, Kiro does not tell its.
    "DOCUMENT_MAXIMUM_PAGES_EXCEEDED": "A maximum of 100 PDF pages may be provided.",
    "DOCUMENT_MODEL_NOT_SUPPORTED": "the model cannot read documents",
    "DOCUMENT_PASSWORD_PROTECTED": "a document is password protected",
    "DOCUMENT_SIZE_EXCEEDED": "a document exceeds Kiro's maximum size",
}


def _judge(told: Told) -> UpstreamError:
    for applies, verdict in _RULES:
        if applies(told):
            return verdict(told)
    return _by_status(told)


def _as(kind: type[UpstreamError], message: str) -> Verdict:
    return lambda told: kind(message, detail=told.detail, retry_after_s=told.retry_after_s)


def _refused(told: Told) -> UpstreamError:
    message = _REFUSALS.get(
        told.reason,
        "Kiro refused the request as improperly formed; the log names its reason",
    )
    return Refused(message, detail=told.detail)


# What of a request's own fields a refused body names → words on which clients leave it out.
_FIELDS = (
    (("effort",), "output_config.effort: Extra inputs are not permitted"),
    (("thinking", "display"), "thinking.adaptive.display: Input should be 'summarized'"),
    (("thinking", "disabled"), '"thinking.type.disabled" is not supported for this model.'),
    (("adaptive",), "adaptive thinking is not supported on this model"),
)


def _body_refused(told: Told) -> UpstreamError:
    for words, message in _FIELDS:
        if all(word in told.words for word in words):
            return Refused(message, detail=told.detail)
    return _refused(told)


def _refused_for_now(told: Told) -> UpstreamError:
    """Refuse, and say that one more try is worth it."""
    fault = _refused(told)
    fault.retry = Retry.SAME
    return fault


def _perhaps_refused(told: Told) -> UpstreamError:
    """Refuse what Kiro was seen to accept the next time, letter for letter."""
    fault = _refused_for_now(told)
    fault.should_retry = True
    return fault


def _limited(told: Told) -> UpstreamError:
    # The day or week may have hours to run; without a word about it, one look an hour.
    wait_s = told.retry_after_s if told.retry_after_s is not None else 3600.0
    return Throttled(_SLOW_DOWN, detail=told.detail, retry_after_s=wait_s)


def _by_status(told: Told) -> UpstreamError:
    if not told.is_kiro and told.status not in (400, 413, 429):
        # A page of some CDN, proxy or load balancer: no credential is to blame for it.
        return _as(ServerFault, "something between the gateway and Kiro failed")(told)
    verdict = _BY_STATUS.get(told.status)
    if verdict is not None:
        return verdict(told)
    if told.status == 200:
        return _as(ProtocolViolation, "Kiro's answer is not a stream")(told)
    if told.name == "ValidationException":
        # Kiro passes its model provider's 400 on as a 5xx. Some of these are not the request's
        # fault after all, so they get one more try, not nine.
        return _refused_for_now(told)
    return _as(ServerFault, "Kiro failed to answer")(told)


_SLOW_DOWN = "Kiro limits the rate of this account"
# Both halves are phrases that clients know; `with_numbers` has the form they know best.
_TOO_LONG_WORDS = "prompt is too long: it exceeds the context window of the model"

_RULES: tuple[tuple[Callable[[Told], bool], Verdict], ...] = (
    (
        lambda told: (
            told.reason == "TEMPORARILY_SUSPENDED"
            or told.says("temporarily suspended", "temporarily is suspended")
            or told.says("locked your account", "locked it as a", "account is suspended")
        ),
        _as(Suspended, "Kiro has suspended the account"),
    ),
    (
        lambda told: (
            told.reason in _CAPACITY
            or told.says("experiencing high traffic", "unexpectedly high load")
        ),
        _as(Overloaded, "Kiro has no capacity for the model right now"),
    ),
    (lambda told: told.reason in _DAY_OR_WEEK, _limited),
    (
        lambda told: (
            told.reason in _QUOTAS
            or (told.status == 402 and told.reason not in _REFUSALS)
            or told.says("monthly request limit", "limit for overages")
        ),
        _as(QuotaExhausted, "Your credit balance is too low: the Kiro plan is used up"),
    ),
    (
        lambda told: (
            told.reason in _TOO_LONG
            or told.name == "ContentLengthExceededException"
            or told.says("input is too long", "prompt is too long", "context window is full")
        ),
        _as(PromptTooLong, _TOO_LONG_WORDS),
    ),
    (
        lambda told: (
            told.reason == "THINKING_SIGNATURE_INVALID"
            or (told.status == 400 and "signature" in told.words and "thinking" in told.words)
        ),
        _as(SignatureRefused, "Invalid `signature` in `thinking` block"),
    ),
    (
        lambda told: (
            told.says("exceed context limit")
            or (told.says("max_tokens") and told.says("context window", "context limit"))
        ),
        _as(OutputTooLong, "input length and `max_tokens` exceed context limit"),
    ),
    (lambda told: told.says("invalid tool use format"), _perhaps_refused),
    (lambda told: told.reason == "REQUEST_BODY_INVALID", _body_refused),
    (
        lambda told: told.reason == "INVALID_MODEL_ID" or told.says("invalid model id"),
        _as(ModelRefused, _REFUSALS["INVALID_MODEL_ID"]),
    ),
    (lambda told: told.reason in _REFUSALS, _refused),
    (
        lambda told: (
            told.status in (400, 401, 403)
            and (
                told.name in _TOKEN_NAMES
                or told.says("bearer token included in the request is invalid", "token expired")
                or told.says("token has expired", "token is expired")
            )
        ),
        _as(TokenRejected, "Kiro does not accept the account's token"),
    ),
    (
        lambda told: (
            told.status in (400, 403)
            and (
                told.says("profilearn is required", "invalid profilearn", "invalid arn")
                or told.says("user is not authorized to make this call")
            )
        ),
        _as(WrongProfile, "Kiro does not accept the account's profile"),
    ),
    (
        # The management host's way of refusing a bearer.
        lambda told: told.status == 400 and told.name == "AccessDeniedException",
        _as(TokenRejected, "Kiro does not accept the account's token"),
    ),
    (
        lambda told: (
            told.name == "UnknownOperationException"
            or told.reason == "FEATURE_NOT_SUPPORTED"
            or told.says("subscription does not support this application")
        ),
        _as(WrongDoor, "Kiro does not serve this account here"),
    ),
    (lambda told: told.name == "ThrottlingException", _as(Throttled, _SLOW_DOWN)),
    (
        lambda told: told.name == "ServiceUnavailableException",
        _as(Overloaded, "Kiro has no capacity right now"),
    ),
)

_BY_STATUS: Mapping[int, Verdict] = {
    400: _refused,
    401: _as(TokenRejected, "Kiro does not accept the account's token"),
    403: _as(AccessDenied, "Kiro does not allow this account to do that"),
    409: _as(AccessDenied, "Kiro does not allow this account to do that"),  # its KMS key is off
    413: _as(PromptTooLong, _TOO_LONG_WORDS),
    422: _refused,
    423: _as(AccessDenied, "Kiro does not allow this account to do that"),
    429: _as(Throttled, _SLOW_DOWN),
}
