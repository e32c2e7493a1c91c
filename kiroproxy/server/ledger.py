"""What clients may do and what they did: client keys, their limits, and the request log.

Rules of this file: what is on the path of a request takes microseconds and waits for nothing:
keys are looked up in memory, limits are kept in the page that all workers share, and a finished
request is one tuple in a queue. Without an admin key and without a file of records there is no
ledger at all. No prompt, answer or key goes into it.

Theory of operation. Config's `apiKey` is checked by `_keys.KeyCheck` and has no limits. Any other
key is looked up by its digest; `admit` counts the request in and `Grant.settle` counts it out,
with what it used. Quotas are sums of a day and of a month (UTC), begun with what the records
hold. A key that is changed is read again by every worker, which look every 50 ms.

Source: BEHAVIOUR.md, "Client keys"; Anthropic's error types for how each refusal is worded.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kiroproxy._meter import Meter, MeterFull
from kiroproxy._request import Record
from kiroproxy.accounts.page import open_meter, private_meter
from kiroproxy.config import Config
from kiroproxy.errors import Forbidden, GatewayError, RequestError, Unauthorized
from kiroproxy.records import clientkeys, reading
from kiroproxy.records.clientkeys import ClientKey
from kiroproxy.records.database import Database
from kiroproxy.records.recorder import DAY_MS, Attempt, Done, Recorder
from kiroproxy.server.request import Request

_log = logging.getLogger(__name__)

FOLLOW_S = 0.05
AGAIN_S = 1.0  # between two tries to read a file that cannot be read
MICRO = 1_000_000  # credits are counted in millionths
DAILY_TOKENS, DAILY_CREDITS, MONTHLY_TOKENS, MONTHLY_CREDITS = range(4)
# Topics whose changes the workers tell each other.
KEYS_CHANGED: Final = 0
_BUSY_S = 1.0  # when another request of the key will end nobody can know


class KeyThrottled(RequestError):
    """A client key is at a limit that passes by itself."""

    status = 429
    kind = "rate_limit_error"


class KeyExhausted(RequestError):
    """A client key's month is used up; SDKs and Claude Code stop for good at a 402."""

    status = 402
    kind = "billing_error"


class Grant:
    """One request's right to be served. Order: `settle()` once, at its end."""

    __slots__ = ("_ledger", "_record", "_slot", "key")

    def __init__(self, ledger: "Ledger", key: ClientKey, slot: int | None, record: Record) -> None:
        self._ledger, self.key, self._slot, self._record = ledger, key, slot, record

    def check_model(self, *names: str) -> None:
        """Refuse a model the key may not use. Raises: Forbidden."""
        if not self.key.allows(*names):
            raise Forbidden(f"This API key may not use the model {names[0][:100]}")

    def settle(self) -> None:
        """Count the request out, with what it used."""
        if self._slot is not None:
            record = self._record
            tokens = record.input_tokens + record.output_tokens if record.is_answered else 0
            self._ledger.spend(self._slot, tokens, record.credits)
            self._ledger.meter.release(self._slot)


class Ledger:
    """One worker's. Order: start() → admit(), note() → aclose()."""

    def __init__(self, config: Config, page: str = "") -> None:
        self.config = config
        self._page = page
        # Without an admin key nobody can read the log, but keys made earlier go on to work.
        file = config.records_file
        self.file = file if file and (config.admin_api_key or file.exists()) else None
        self.has_meter = bool(self.file or config.admin_api_key)
        self.database: Database | None = None
        self.keys: Mapping[bytes, ClientKey] = {}
        self.names: Mapping[int, str] = {}
        self.recorder: Recorder | None = None
        self._follower: asyncio.Task[None] | None = None
        self._edition = 0
        self._periods = (-1, 0)

    async def start(self) -> None:
        """Open page and file; a file that cannot be used costs the log, not the service."""
        if not self.has_meter:
            return
        config = self.config
        self.meter: Meter = (
            open_meter(self._page, config.workers) if self._page else private_meter()
        )
        if self.file is None:
            return
        self.database = Database(self.file)
        self._edition = self.meter.edition(KEYS_CHANGED)
        try:
            await self._read_keys()
        except (sqlite3.Error, OSError) as fault:
            _log.error("%s: client keys and request log are not available: %s",
                       self.file, fault)  # fmt: skip
            self._edition = -1  # nobody has announced it: read again until it can be
        self.recorder = Recorder(
            Database(self.file),
            keep_days=config.records_days,
            keep_rows=config.records_rows,
            made=_done,
            counted=self.meter.count,
        )
        self.recorder.start()
        self._follower = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """Write what is queued."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.close)
        if self.database is not None:
            self.database.close()
        if self.has_meter:
            self.meter.leave()

    # -- one request -------------------------------------------------------------------------

    def admit(self, request: Request, metered: bool) -> None:
        """Let a client key's request in. Raises: Unauthorized, KeyThrottled, KeyExhausted."""
        key = self._key_of(request)
        if key is None:
            raise Unauthorized("invalid x-api-key")
        now_ms = time.time_ns() // 1_000_000
        if not key.enabled:
            raise Unauthorized("This API key is disabled")
        if key.expires_at_ms is not None and key.expires_at_ms <= now_ms:
            raise Unauthorized("This API key has expired")
        request.record.key_id = key.id
        slot = self._enter(key, now_ms) if metered else None
        request.grant = Grant(self, key, slot, request.record)

    def finish(self, request: Request, status: int) -> None:
        """Count a request out and queue it for the log; not one whose key was wrong."""
        if self.recorder is None or request.record.error == "Unauthorized":
            return
        if request.grant is not None:
            request.grant.settle()
        self.recorder.note(
            (
                *(request.id, request.path, request.headers.get(b"user-agent", b"")),
                *(request.client, request.record, status, request.started_s),
                *(time.monotonic(), time.time_ns()),
            )
        )

    def spend(self, slot: int, tokens: int, credits: float) -> None:
        """Add to a key's quotas."""
        day, month = self._periods_of(time.time_ns() // 1_000_000)
        add = self.meter.add
        if tokens:
            add(slot, DAILY_TOKENS, day, tokens)
            add(slot, MONTHLY_TOKENS, month, tokens)
        if credits:
            micro = round(credits * MICRO)
            add(slot, DAILY_CREDITS, day, micro)
            add(slot, MONTHLY_CREDITS, month, micro)

    def _key_of(self, request: Request) -> ClientKey | None:
        # A lookup by SHA-256 tells by its time only about digests, which nobody can steer.
        presented = request.text(b"x-api-key")
        found = self.keys.get(clientkeys.digest_of(presented)) if presented else None
        if found is None:
            scheme, _, token = request.text(b"authorization").partition(" ")
            if scheme.lower() == "bearer":
                found = self.keys.get(clientkeys.digest_of(token.strip()))
        return found

    def _enter(self, key: ClientKey, now_ms: int) -> int:
        """Keep the key's limits. Raises: KeyThrottled, KeyExhausted."""
        try:
            slot = self.meter.join(key.id)
        except MeterFull as fault:
            raise KeyThrottled("Too many API keys are in use", detail=str(fault)) from fault
        if refusal := self._quota_refusal(key, slot, now_ms):
            raise refusal
        until_ms = self.meter.admit(slot, now_ms, key.max_concurrency or 0, key.rpm or 0)
        if until_ms < 0:
            raise KeyThrottled(
                "Number of concurrent connections has exceeded your rate limit of "
                f"{key.max_concurrency}. Please try again later",
                retry_after_s=_BUSY_S,
            )
        if until_ms:
            raise KeyThrottled(
                f"This request would exceed your rate limit of {key.rpm} requests per minute",
                retry_after_s=(until_ms - now_ms) / 1000,
            )
        return slot

    def _quota_refusal(self, key: ClientKey, slot: int, now_ms: int) -> GatewayError | None:
        day, month = self._periods_of(now_ms)
        used = self.meter.used
        for limit, unit, scale, daily, monthly in (
            ((key.daily_tokens, key.monthly_tokens), "tokens", 1, DAILY_TOKENS, MONTHLY_TOKENS),
            (
                (key.daily_credits, key.monthly_credits),
                *("credits", MICRO, DAILY_CREDITS, MONTHLY_CREDITS),
            ),
        ):
            a_day, a_month = limit
            if a_month is not None and used(slot, monthly, month) >= a_month * scale:
                return KeyExhausted(
                    "Your credit balance is too low: this API key's "
                    f"{a_month:g} {unit} of this month are used up"
                )
            if a_day is not None and used(slot, daily, day) >= a_day * scale:
                return KeyThrottled(
                    f"This API key's {a_day:g} {unit} of today are used up",
                    retry_after_s=((day + 1) * DAY_MS - now_ms) / 1000,
                )
        return None

    def _periods_of(self, now_ms: int) -> tuple[int, int]:
        """Return the numbers of this day and this month, UTC."""
        day = now_ms // DAY_MS
        if day != self._periods[0]:
            now = datetime.fromtimestamp(now_ms / 1000, UTC)
            self._periods = (day, now.year * 12 + now.month)
        return self._periods

    # -- keys --------------------------------------------------------------------------------

    async def keys_changed(self) -> None:
        """Take over a change of the keys, and tell the other workers. Raises: sqlite3.Error."""
        await self._read_keys()
        self._edition = self.meter.announce(KEYS_CHANGED)

    async def _read_keys(self) -> None:
        assert self.database is not None, "keys are in the file of records"
        day_start = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS
        month_start = month_start_ms(day_start)
        keys, today, month = await self.database.read(
            lambda c: (
                clientkeys.all_keys(c),
                reading.key_usage(c, day_start),
                reading.key_usage(c, month_start),
            )
        )
        periods = self._periods_of(day_start)
        for key in keys:
            self._seed(key.id, periods, today.get(key.id), month.get(key.id))
        self.keys = {key.digest: key for key in keys}
        self.names = {key.id: key.name for key in keys}

    def _seed(
        self,
        id: int,
        periods: tuple[int, int],
        today: tuple[int, int, float] | None,
        month: tuple[int, int, float] | None,
    ) -> None:
        with contextlib.suppress(MeterFull):
            slot = self.meter.join(id)
            for period, used, tokens, credits in (
                (periods[0], today, DAILY_TOKENS, DAILY_CREDITS),
                (periods[1], month, MONTHLY_TOKENS, MONTHLY_CREDITS),
            ):
                self.meter.seed(slot, tokens, period, used[1] if used else 0)
                self.meter.seed(slot, credits, period, round(used[2] * MICRO) if used else 0)

    async def _follow(self) -> None:
        """Read the keys again when another worker has changed them, or the file is back."""
        is_told = self._edition < 0
        while True:
            await asyncio.sleep(FOLLOW_S if self._page else 1.0)
            edition = self.meter.edition(KEYS_CHANGED)
            if edition != self._edition:
                try:
                    await self._read_keys()
                    self._edition, is_told = edition, False
                except (sqlite3.Error, OSError) as fault:
                    if not is_told:
                        _log.warning("%s: %s", self.file, fault)
                    is_told = True
                    await asyncio.sleep(AGAIN_S)


def month_start_ms(now_ms: int) -> int:
    """Return when the month began, UTC."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1000)


def _done(noted: tuple[Any, ...]) -> Done:
    """Make the log's row of what `note` has queued. Runs in the writer's thread."""
    id, path, user_agent, client, record, status, started_s, ended_s, now_ns = noted
    duration_ms = round((ended_s - started_s) * 1000)
    outcome = record.outcome(status)
    return Done(
        id=id,
        at_ms=now_ns // 1_000_000 - duration_ms,
        path=path,
        model=record.model,
        kiro_model=record.kiro_model,
        stream=record.stream,
        status=status,
        outcome=outcome,
        stop_reason=record.stop_reason,
        error_type=record.error if outcome != "ok" else "",
        error_message=record.error_message,
        key_id=record.key_id,
        credential_id=record.credential_id,
        input_tokens=record.input_tokens if record.is_answered else 0,
        output_tokens=record.output_tokens,
        cache_read_tokens=record.cache_read_tokens,
        credits=record.credits,
        first_token_ms=(
            round((record.first_token_s - started_s) * 1000) if record.first_token_s else None
        ),
        duration_ms=duration_ms,
        attempts=[Attempt(*each.told()) for each in record.attempts],
        tries=record.tries,
        user_agent=user_agent,
        client_address=client[0] if client else "",
        request_bytes=record.request_bytes,
    )
