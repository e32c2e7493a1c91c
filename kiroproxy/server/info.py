"""What is not a conversation: the model list, token counts, health.

Rules of this file: no answer here waits for Kiro; the external token counter has a short
timeout and the local count stands in for it.

Source: Anthropic's Models and Token Counting endpoints.
"""

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from kiroproxy import __version__
from kiroproxy.config import Config
from kiroproxy.errors import RequestError
from kiroproxy.protocol.models import entry
from kiroproxy.protocol.tokens import count_request
from kiroproxy.server.attachments import aside, is_heavy, read
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.reply import send_json
from kiroproxy.server.request import Request, Send
from kiroproxy.upstream.tls import client_context

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger(__name__)

DEFAULT_PAGE, LARGEST_PAGE = 20, 1000  # Anthropic's own
DIGITS_MAX = 10
COUNTER_TIMEOUT_S = 5.0  # Claude Code asks 20 times in parallel and shows the sum


class Info:
    """The small endpoints of one worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._counter: httpx.AsyncClient | None = None  # made when it is first asked

    async def aclose(self) -> None:
        """Close the external counter's connections."""
        if self._counter is not None:
            await self._counter.aclose()

    async def models(self, request: Request, send: Send) -> None:
        """List the models, one page of them."""
        await send_json(send, request, page(self._gateway.offer().entries(), request.query))

    async def model(self, request: Request, send: Send, model_id: str) -> None:
        """Describe one model, under any name it can be asked by."""
        model = self._gateway.catalogue.resolve(model_id).model  # raises NotFound
        await send_json(send, request, entry(model, requested=model_id))

    async def count_tokens(self, request: Request, send: Send) -> None:
        """Count a request's input tokens."""
        config = self._gateway.config
        raw = await request.body(config.max_body_bytes, config.receive_timeout_s)
        body = await read(raw)
        check_countable(body)
        request.record.model = str(body.get("model", ""))
        count = await self._counted_elsewhere(raw, config)
        if count is None:
            estimate = await aside(is_heavy(raw, body), lambda: count_request(body))
            count = self._gateway.corrections.correct(self._kiro_model(body), estimate)
        request.record.input_tokens = count
        await send_json(send, request, {"input_tokens": count})

    async def health(self, request: Request, send: Send) -> None:
        """Say that this process serves; credentials are counted, never named."""
        total, available = self._gateway.credential_counts()
        credentials = {"total": total, "available": available}
        payload = {"status": "ok", "version": __version__, "credentials": credentials}
        payload["token_factors"] = self._gateway.corrections.factors()
        await send_json(send, request, payload)

    def _kiro_model(self, body: dict[str, Any]) -> str:
        """Return Kiro's name of a request's model, "" for one that nobody knows."""
        try:
            return self._gateway.catalogue.resolve(str(body["model"])).model.id
        except RequestError:
            return ""

    async def _counted_elsewhere(self, raw: bytes | bytearray, config: Config) -> int | None:
        """Ask the operator's counter. None: there is none, or it failed."""
        if not config.count_tokens_api_url:
            return None
        import httpx

        # With the context all share: one of its own would be 40 ms of reading certificates here.
        self._counter = self._counter or httpx.AsyncClient(
            verify=client_context(config.tls_backend), timeout=COUNTER_TIMEOUT_S
        )
        key = config.count_tokens_api_key
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if key and config.count_tokens_auth_type == "bearer":
            headers["authorization"] = f"Bearer {key}"
        elif key:
            headers["x-api-key"] = key
        try:
            answer = await self._counter.post(
                config.count_tokens_api_url, content=bytes(raw), headers=headers
            )
            answer.raise_for_status()
            count = orjson.loads(answer.content)["input_tokens"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            _log.warning("the external token counter failed: %s", error)
            return None
        return count if type(count) is int and count >= 0 else None


def check_countable(body: dict[str, Any]) -> None:
    """Refuse what has nothing to count, in Anthropic's words."""
    for field in ("model", "messages"):
        if field not in body:
            raise RequestError(f"{field}: Field required")
    if not isinstance(body["messages"], list):
        raise RequestError("messages: Input should be a valid list")


def page(entries: list[dict[str, Any]], query: bytes) -> dict[str, Any]:
    """Cut one page out of the list.

    Shape: the iterators of both SDKs follow `after_id=last_id` while `has_more` is true, so
    an unknown cursor ends the list instead of starting it again.
    """
    asked = parse_qs(query.decode("latin-1"))
    limit = _limit(asked.get("limit", [str(DEFAULT_PAGE)])[-1])
    after, before = asked.get("after_id", [""])[-1], asked.get("before_id", [""])[-1]
    ids = [entry["id"] for entry in entries]
    if before:
        end = ids.index(before) if before in ids else 0
        start = max(0, end - limit)
        more = start > 0
    else:
        start = 0
        if after:
            start = ids.index(after) + 1 if after in ids else len(ids)
        end = min(len(ids), start + limit)
        more = end < len(ids)
    found = entries[start:end]
    return {
        "data": found,
        "has_more": more,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
    }


def _limit(text: str) -> int:
    # Of more digits, or others than 0-9, int() makes an error of its own.
    digits = text if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else "0"
    if not 1 <= int(digits) <= LARGEST_PAGE:
        raise RequestError(f"limit: Input should be from 1 to {LARGEST_PAGE}")
    return int(digits)
