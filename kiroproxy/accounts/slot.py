"""One credential's live state, and what each fault does to it.

Rules of this file: no clock, no I/O; `now_ms` is an argument. Nothing of this state is written
to disk: a fault seen before a restart is found again or has passed.

Theory of operation. There are four ways in which a slot can be out of the choice:
  avoided    something between us and Kiro failed; still used when nobody else can be
  cooling    Kiro said "not now" or the token could not be renewed; out until a time
  exhausted  the plan is used up; out until the reset date, then used again
  disabled   out until somebody acts; but TooManyFailures gets one probe every five minutes
What a fault class leads to is the table `CONSEQUENCES`; a class not in it takes its base's row.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kiroproxy.accounts.credential import Credential
from kiroproxy.errors import (
    AccessDenied,
    BadFrame,
    ConnectFailed,
    ConnectionLost,
    CredentialDead,
    EmptyAnswer,
    GatewayError,
    Overloaded,
    ProtocolViolation,
    QuotaExhausted,
    RefreshFailed,
    Refused,
    ServerFault,
    Suspended,
    Throttled,
    TokenRejected,
    UpstreamTimeout,
    WrongProfile,
)

# The reasons an admin client knows; "Suspended" is ours.
MANUAL = "Manual"
TOO_MANY_FAILURES = "TooManyFailures"
QUOTA_EXCEEDED = "QuotaExceeded"
INVALID_REFRESH_TOKEN = "InvalidRefreshToken"
INVALID_CONFIG = "InvalidConfig"
SUSPENDED = "Suspended"

_FAILURES_TO_DISABLE = 3
_PROBE_AFTER_MS = 300_000
# Kiro's 429 is a penalty window: of requests 5-8 s later 19 % are refused again, after two
# minutes 1 % (5,339 measured requests).
_THROTTLE_FIRST_MS, _THROTTLE_CAP_MS = 8_000, 300_000
_TOLD_CAP_MS = 3_600_000  # however long an answer says: a wrong number must not cost days
_REFRESH_FIRST_MS, _REFRESH_CAP_MS = 5_000, 60_000
_AVOID_FIRST_MS, _AVOID_CAP_MS = 1_000, 30_000
_QUOTA_CAP_MS = 32 * 86_400_000  # no month is longer


@dataclass(slots=True)
class Slot:
    """Live state of one credential. Units: *_ms since epoch, 0 = never or not."""

    credential: Credential
    in_flight: int = 0
    turn: int = 0  # when it was last chosen, in choices; finer than a clock
    last_used_ms: int = 0
    successes: int = 0
    failures: int = 0  # in a row, that count towards TooManyFailures
    refresh_failures: int = 0  # in a row
    throttles: int = 0  # windows in a row
    faults: int = 0  # transport faults in a row
    avoided_until_ms: int = 0
    cooling_until_ms: int = 0
    quota_until_ms: int = 0
    reason: str = ""  # why it is disabled; "" = it is not
    disabled_at_ms: int = 0
    is_probing: bool = False

    def __post_init__(self) -> None:
        self.renew(self.credential)

    def is_usable(self, now_ms: int) -> bool:
        """Say whether a request may be sent with it now."""
        if self.cooling_until_ms > now_ms or self.quota_until_ms > now_ms:
            return False
        return not self.reason or self.is_due_for_probe(now_ms)

    def is_due_for_probe(self, now_ms: int) -> bool:
        """Say whether a slot that failed too often gets its one request to prove itself."""
        return bool(self.probe_at_ms) and not self.is_probing and now_ms >= self.probe_at_ms

    @property
    def probe_at_ms(self) -> int:
        """When a slot that failed too often may prove itself; 0 = it needs or gets no probe."""
        return self.disabled_at_ms + _PROBE_AFTER_MS if self.reason == TOO_MANY_FAILURES else 0

    def disabled_reason(self, now_ms: int) -> str:
        """Return why it is out for longer than a moment, "" if it is not."""
        return self.reason or (QUOTA_EXCEEDED if self.quota_until_ms > now_ms else "")

    def disable(self, reason: str, now_ms: int) -> None:
        self.reason, self.disabled_at_ms = reason, now_ms

    def reset(self) -> None:
        """Forget every fault, as after the operator has looked at it; not a faulty entry."""
        self.failures = self.refresh_failures = self.throttles = self.faults = 0
        self.avoided_until_ms = self.cooling_until_ms = self.quota_until_ms = 0
        self.disabled_at_ms = 0
        self.is_probing = False
        self.reason = INVALID_CONFIG if self.credential.fault else ""

    def renew(self, credential: Credential) -> None:
        """Take over new values: a refreshed token, or what the operator wrote into the file."""
        before, self.credential = self.credential, credential
        if credential.fault:
            self.reason = INVALID_CONFIG
        elif credential.disabled:
            self.reason = MANUAL
        elif self.reason in (MANUAL, INVALID_CONFIG) or (
            # A new login cures a dead token. Not a suspension: a rotation looks the same here.
            self.reason == INVALID_REFRESH_TOKEN
            and before.refresh_token != credential.refresh_token
        ):
            self.reset()

    def succeeded(self, now_ms: int) -> None:
        """Note an answer; a request sent before a 429 says nothing about the time after it."""
        self.successes += 1
        self.failures = self.refresh_failures = self.faults = 0
        self.avoided_until_ms = 0
        if self.cooling_until_ms <= now_ms:
            self.throttles = 0
        if self.reason == TOO_MANY_FAILURES:
            self.reset()

    def failed(self, error: GatewayError, now_ms: int) -> None:
        """Apply the row of `CONSEQUENCES` for an error."""
        for cls in type(error).__mro__:
            if consequence := CONSEQUENCES.get(cls):
                consequence(self, error, now_ms)
                return


# -- consequences ------------------------------------------------------------------------


def _nothing(slot: Slot, error: GatewayError, now_ms: int) -> None:
    """The request, or Kiro's capacity, is to blame."""


def _avoid(slot: Slot, error: GatewayError, now_ms: int) -> None:
    """Prefer others for a moment; a lone credential stays in use."""
    slot.faults += 1
    slot.avoided_until_ms = now_ms + _doubled(_AVOID_FIRST_MS, slot.faults, _AVOID_CAP_MS)


def _cool(slot: Slot, error: GatewayError, now_ms: int) -> None:
    if slot.cooling_until_ms <= now_ms:  # many requests in flight are one window, not many
        slot.throttles += 1
    wait_ms = _doubled(_THROTTLE_FIRST_MS, max(slot.throttles, 1), _THROTTLE_CAP_MS)
    if error.retry_after_s is not None:
        wait_ms = min(max(int(error.retry_after_s * 1000), 0), _TOLD_CAP_MS)
    slot.cooling_until_ms = max(slot.cooling_until_ms, now_ms + wait_ms)


def _exhaust(slot: Slot, error: GatewayError, now_ms: int) -> None:
    until_ms = start_of_next_month(now_ms)
    if error.retry_after_s is not None:
        until_ms = now_ms + min(max(int(error.retry_after_s * 1000), 0), _QUOTA_CAP_MS)
    slot.quota_until_ms = until_ms


def _count(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.failures += 1
    if slot.failures >= _FAILURES_TO_DISABLE and slot.reason in ("", TOO_MANY_FAILURES):
        slot.disable(TOO_MANY_FAILURES, now_ms)


def _wait_for_refresh(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.refresh_failures += 1
    wait_ms = _doubled(_REFRESH_FIRST_MS, slot.refresh_failures, _REFRESH_CAP_MS)
    if error.retry_after_s is not None:
        wait_ms = min(max(int(error.retry_after_s * 1000), wait_ms), _THROTTLE_CAP_MS)
    slot.cooling_until_ms = max(slot.cooling_until_ms, now_ms + wait_ms)


def _bury(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.refresh_failures += 1
    slot.disable(INVALID_REFRESH_TOKEN, now_ms)


def _suspend(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.disable(SUSPENDED, now_ms)  # asking again makes it worse: never healed by itself


CONSEQUENCES: Mapping[type, Callable[[Slot, GatewayError, int], None]] = {
    ConnectFailed: _avoid,
    ConnectionLost: _avoid,
    UpstreamTimeout: _avoid,
    ServerFault: _avoid,
    BadFrame: _avoid,
    ProtocolViolation: _avoid,
    EmptyAnswer: _avoid,
    Overloaded: _nothing,
    Refused: _nothing,
    Throttled: _cool,
    QuotaExhausted: _exhaust,
    TokenRejected: _count,
    AccessDenied: _count,
    WrongProfile: _count,
    RefreshFailed: _wait_for_refresh,
    CredentialDead: _bury,
    Suspended: _suspend,
    GatewayError: _nothing,
}


def start_of_next_month(now_ms: int) -> int:
    """Return when monthly quotas begin anew: 00:00 UTC on the first."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def _doubled(first_ms: int, times: int, cap_ms: int) -> int:
    return min(first_ms << min(times - 1, 16), cap_ms)
