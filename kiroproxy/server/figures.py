"""GET /metrics and GET /ready: how the gateway does, for machines that watch it.

Rules of this file: `/metrics` needs the `apiKey` or the `adminApiKey`, a client key will not do: it
tells how much everybody uses. No series names a mail address, a key or a token; a credential is its
number. `/ready` counts and names nobody, so it needs no key.

Source: Prometheus's exposition format; `metrics` for what is counted.
"""

import os
from collections import Counter

from kiroproxy import __version__
from kiroproxy._keys import KeyCheck
from kiroproxy.accounts.pool import View
from kiroproxy.errors import Unauthorized
from kiroproxy.metrics import CONTENT_TYPE, Gauge, Labels, render
from kiroproxy.server.gateway import Gateway, now_ms
from kiroproxy.server.reply import send_bytes, send_json
from kiroproxy.server.request import Request, Send

_MOST_NAMED = 1000  # credentials with a series of their own: more would drown who reads them
STATES = ("ready", "cooling", "quota", "invalid", "disabled")


class Figures:
    """The endpoints of one worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def metrics(self, request: Request, send: Send) -> None:
        """Tell every figure of all workers. Raises: Unauthorized."""
        config = self._gateway.config
        is_user = KeyCheck(config.api_key).admits(request.headers)
        is_admin = KeyCheck(config.admin_api_key).admits(request.headers)
        if not (is_user or is_admin):
            raise Unauthorized("invalid x-api-key")
        workers = set(self._gateway.workers()) | {os.getpid()}
        sums = self._gateway.metrics.totals(workers.__contains__)
        body = render(sums, [*await self._gauges(), _build(len(workers))])
        await send_bytes(send, request, 200, body, kind=CONTENT_TYPE)

    async def ready(self, request: Request, send: Send) -> None:
        """Say whether a request could be served now: 200, else 503."""
        total, available = self._gateway.credential_counts()
        payload = {
            "status": "ready" if available else "unavailable",
            "credentials": {"total": total, "available": available},
        }
        await send_json(send, request, payload, status=200 if available else 503)

    async def _gauges(self) -> list[Gauge]:
        now = now_ms()
        views = self._gateway.pool.snapshot(now)
        states = Counter(state_of(view, now) for view in views)
        named = views[:_MOST_NAMED]
        balances = await self._gateway.usage.known()
        left: dict[Labels, float] = {
            (("credential", str(view.credential.id)),): balance.remaining
            for view in named
            if (balance := balances.get(view.credential.id))
        }
        in_flight: dict[Labels, float] = {
            (("credential", str(v.credential.id)),): v.in_flight for v in named
        }
        by_state: dict[Labels, float] = {(("state", state),): states[state] for state in STATES}
        return [
            Gauge("kiroproxy_credentials", "Credentials, by whether they can be used.", by_state),
            Gauge(
                "kiroproxy_credential_requests_in_flight",
                "Requests under way, by credential.",
                in_flight,
            ),
            Gauge(
                "kiroproxy_credential_credits_remaining",
                "What is left of a credential's plan, as Kiro said last.",
                left,
            ),
        ]


def state_of(view: View, now_ms: int) -> str:
    """Return a credential's state as one of `STATES`."""
    if view.disabled_reason == "QuotaExceeded":
        return "quota"
    if view.disabled_reason:
        return "invalid" if view.disabled_reason.startswith("Invalid") else "disabled"
    return "cooling" if view.cooling_until_ms > now_ms else "ready"


def _build(workers: int) -> Gauge:
    labels = (("version", __version__),)
    return Gauge("kiroproxy_workers", "Workers that serve, by version.", {labels: workers})
