"""Answers to the client in Anthropic's shape: JSON bodies, errors, their headers.

Rules of this file: every answer carries `request-id`; an error body holds only what
`GatewayError` allows to be published.

Source: Anthropic's error format, `{"type":"error","error":{...},"request_id"}`.
"""

import math
from typing import Any

import orjson

from kiroproxy.errors import (
    GatewayError,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
)
from kiroproxy.server.request import Request, Send

Headers = list[tuple[bytes, bytes]]


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON of a refusal."""
    inner: dict[str, Any] = {"type": error.kind, "message": error.message}
    if error.error_code:
        inner["details"] = {"error_code": error.error_code}
    return orjson.dumps({"type": "error", "error": inner, "request_id": request_id})


def error_headers(error: GatewayError) -> Headers:
    """Return the headers only some refusals have."""
    headers: Headers = []
    if error.retry_after_s is not None:
        # Whole seconds, rounded up: half the clients parse an int, and early is too early.
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    return headers


async def send_json(send: Send, request: Request, payload: Any, status: int = 200) -> None:
    """Answer with one JSON document."""
    await send_bytes(send, request, status, orjson.dumps(payload))


async def send_bytes(
    send: Send,
    request: Request,
    status: int,
    body: bytes,
    extra: Headers | None = None,
    kind: bytes = b"application/json",
) -> None:
    """Answer with finished bytes, as a rule JSON."""
    headers = _headers(request, body, kind) + (extra or [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_empty(send: Send, request: Request, extra: Headers | None = None) -> None:
    """Answer 204: understood, nothing to say."""
    headers = [(b"request-id", request.id.encode("ascii")), *(extra or [])]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def send_error(send: Send, request: Request, error: GatewayError) -> None:
    """Answer with a refusal; a client that is still uploading gets to read it."""
    body = error_body(error, request.id)
    headers = _headers(request, body) + error_headers(error)
    unread = isinstance(error, PayloadTooLarge | RequestTimeout)
    # After "expect: 100-continue" a refused client may or may not send its body: only a
    # closed connection leaves no doubt where the next request starts.
    if unread or b"expect" in request.headers:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    if isinstance(error, PayloadTooLarge):
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await request.discard()
        body = b""
    await send({"type": "http.response.body", "body": body})


def _headers(request: Request, body: bytes, kind: bytes = b"application/json") -> Headers:
    return [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"request-id", request.id.encode("ascii")),
    ]
