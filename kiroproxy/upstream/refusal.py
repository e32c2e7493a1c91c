"""A refusal as Kiro worded it: the many shapes of an error answer read into one.

Rules of this file: it reads, it does not judge; `faults` does that. No shape is a fault here:
HTML, half a body and nothing at all are read as far as they go.

Source: restJson1 and awsJson1 error shapes (`__type`, `x-amzn-errortype`, namespace prefixes),
`reason` at the top or under `error`, as seen from Kiro's hosts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

_DETAIL_CHARS = 500  # enough for every message on record, too little for an echoed prompt
_WORDS_CHARS = 4000  # what is searched for wordings; they stand at the front


@dataclass(frozen=True, slots=True)
class Told:
    """One refusal, as far as it could be read."""

    status: int  # of the HTTP answer; for a 200 or a stream, the one its exception stands for
    name: str  # exception without namespace, "" if none
    reason: str
    words: str  # lower case, to be searched
    detail: str  # for the log
    retry_after_s: float | None
    is_kiro: bool  # JSON or empty; False = something in between answered, with a page

    def says(self, *phrases: str) -> bool:
        return any(phrase in self.words for phrase in phrases)


# What an exception's status would have been, where it comes without one.
STATUSES = {
    "ValidationException": 400,
    "SerializationException": 400,
    "ContentLengthExceededException": 400,
    "UnrecognizedClientException": 401,
    "ExpiredTokenException": 401,
    "InvalidTokenException": 401,
    "ServiceQuotaExceededException": 402,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "ConflictException": 409,
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Told:
    """Read an answer that is not an event stream. Shape: header names in lower case."""
    text = body.decode("utf-8", "replace")
    fields = _fields_of(body)
    name = _text(fields.get("__type")) or headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    # "com.amazon.kiro.runtimeservice#ThrottlingException:http://…" holds what counts in the middle
    name = name.rpartition("#")[2].partition(":")[0].strip()
    if name.endswith("Error") and name.removesuffix("Error") + "Exception" in STATUSES:
        name = name.removesuffix("Error") + "Exception"  # how the JSON 1.0 generation ended them
    inner = fields.get("error")
    nested = inner if isinstance(inner, dict) else {}
    reason = _text(fields.get("reason")) or _text(nested.get("reason"))
    message = (
        _text(fields.get("message"))
        or _text(fields.get("Message"))
        or _text(nested.get("message"))
        or text
    )
    request_id = headers.get(b"x-amzn-requestid", b"-").decode("latin-1")
    if status == 200:
        status = STATUSES.get(name, 500 if name else 200)
    return Told(
        status,
        name,
        reason,
        message[:_WORDS_CHARS].lower(),
        short(f"HTTP {status} {name} {reason} (request {request_id}): {message}"),
        _retry_after(headers, fields),
        is_kiro=bool(fields) or not body.strip(),
    )


def _fields_of(body: bytes) -> dict[str, Any]:
    """Return the members of an error body, {} if it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(value, dict):
        return {}
    wrapped = value.get("Output")  # how the RPC front door wraps its own exceptions
    return wrapped if isinstance(wrapped, dict) and "__type" in wrapped else value


def _retry_after(headers: Mapping[bytes, bytes], fields: Mapping[str, Any]) -> float | None:
    """Return the longest wait that was asked for. Units: seconds."""
    waits = [
        _number(fields.get("retryAfterMilliseconds"), 1000),
        _number(headers.get(b"x-amz-retry-after"), 1000),
        _number(headers.get(b"retry-after"), 1),
        _until(headers),
    ]
    known = [wait for wait in waits if wait is not None]
    return max(known) if known else None


def _number(value: object, per_second: int) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, bytes)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number / per_second if math.isfinite(number) and number >= 0 else None


def _until(headers: Mapping[bytes, bytes]) -> float | None:
    """Read a Retry-After that is a date, against the answer's own clock."""
    try:
        then = parsedate_to_datetime(headers[b"retry-after"].decode("latin-1"))
        now = parsedate_to_datetime(headers[b"date"].decode("latin-1"))
        return max((then - now).total_seconds(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def short(text: str) -> str:
    """Cut a text to what a log line needs."""
    return text if len(text) <= _DETAIL_CHARS else text[:_DETAIL_CHARS] + "…"
