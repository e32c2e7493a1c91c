"""One credential's live state, and what each fault does to it.

Rules of this file: no clock, no I/O; `now_ms` is an argument. The state is in the ring, which
every worker sees and changes; what is decided here is one call into it. Nothing of it outlives
the run: a fault seen before a restart is found again or has passed.

Theory of operation. There are four ways in which a slot can be out of the choice:
  avoided    something between us and Kiro failed; still used when nobody else can be
  cooling    Kiro said "not now" or the token could not be renewed; out until a time
  exhausted  the plan is used up; out until the reset date, then one request proves it anew
  disabled   out until somebody acts; but TooManyFailures gets one probe every five minutes
What a fault class leads to is the table `CONSEQUENCES`; a class not in it takes its base's row.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from kiroproxy._ring import Ring
from kiroproxy.accounts.credential import Credential
from kiroproxy.errors import (
    AccessDenied,
    BadFrame,
    ConnectFailed,
    ConnectionLost,
    CredentialDead,
    EmptyAnswer,
    GatewayError,
    ModelRefused,
    Overloaded,
    ProtocolViolation,
    QuotaExhausted,
    RefreshFailed,
    Refused,
    ServerFault,
    Suspended,
    Throttled,
    TokenRejected,
    Unmet,
    UpstreamTimeout,
    WrongDoor,
    WrongProfile,
)

# The reasons an admin client knows; "Suspended" is ours. Their places are what the page holds.
MANUAL = "Manual"
TOO_MANY_FAILURES = "TooManyFailures"
QUOTA_EXCEEDED = "QuotaExceeded"
INVALID_REFRESH_TOKEN = "InvalidRefreshToken"
INVALID_CONFIG = "InvalidConfig"
SUSPENDED = "Suspended"
REMOVED = "Removed"  # gone from the file; workers that do not know yet must not ask it
REASONS = (
    "", MANUAL, TOO_MANY_FAILURES, INVALID_REFRESH_TOKEN, INVALID_CONFIG, SUSPENDED, REMOVED
)  # fmt: skip
PROBED = REASONS.index(TOO_MANY_FAILURES)
PROBE_AFTER_MS = 300_000
_FAILURES_TO_DISABLE = 3
# Kiro's 429 is a penalty window: of requests 5-8 s later 19 % are refused again, after two
# minutes 1 % (5,339 measured requests).
_THROTTLE_FIRST_MS, _THROTTLE_CAP_MS = 8_000, 300_000
_TOLD_CAP_MS = 3_600_000  # however long an answer says: a wrong number must not cost days
_REFRESH_FIRST_MS, _REFRESH_CAP_MS = 5_000, 60_000
_AVOID_FIRST_MS, _AVOID_CAP_MS = 1_000, 30_000
QUOTA_CAP_MS = 32 * 86_400_000  # no month is longer


class State(NamedTuple):
    """What the page holds of a slot. Units: *_ms since epoch, 0 = never or not."""

    in_flight: int  # over all workers
    turn: int  # when it was last chosen, in choices; finer than a clock
    last_used_ms: int
    successes: int
    failures: int  # in a row, that count towards TooManyFailures
    refresh_failures: int  # in a row
    throttles: int  # windows in a row
    faults: int  # transport faults in a row
    avoided_until_ms: int
    cooling_until_ms: int
    quota_until_ms: int
    reason_number: int
    disabled_at_ms: int
    is_probing: int  # 1 = one request is proving it well

    @property
    def reason(self) -> str:
        """Why it is disabled; "" = it is not."""
        return REASONS[self.reason_number]

    @property
    def probe_at_ms(self) -> int:
        """When a slot that failed too often may prove itself; 0 = it needs or gets no probe."""
        return self.disabled_at_ms + PROBE_AFTER_MS if self.reason_number == PROBED else 0

    def is_usable(self, now_ms: int) -> bool:
        """Say whether a request may be sent with it now, limits aside."""
        if self.cooling_until_ms > now_ms or self.quota_until_ms > now_ms:
            return False
        if self.quota_until_ms and self.is_probing:
            return False
        is_due = self.probe_at_ms and not self.is_probing and now_ms >= self.probe_at_ms
        return not self.reason or bool(is_due)

    def disabled_reason(self, now_ms: int) -> str:
        """Return why it is out for longer than a moment, "" if it is not."""
        return self.reason or (QUOTA_EXCEEDED if self.quota_until_ms > now_ms else "")


class Slot:
    """One credential and its place in the page. Order: `state` is read anew each time."""

    __slots__ = ("credential", "generation", "index", "ring")

    def __init__(self, ring: Ring, credential: Credential) -> None:
        self.ring = ring
        self.credential = credential
        self.index = ring.join(credential.id)
        self.generation = ring.generation(self.index)
        self.renew(credential)

    @property
    def state(self) -> State:
        return State(*self.ring.read(self.index))

    @property
    def reason(self) -> str:
        return REASONS[self.ring.reason(self.index)]

    def disable(self, reason: str, now_ms: int) -> None:
        self.ring.disable(self.index, REASONS.index(reason), now_ms)

    def reset(self) -> None:
        """Forget every fault, as after the operator has looked at it; not a faulty entry."""
        self.ring.reset(self.index, REASONS.index(INVALID_CONFIG if self.credential.fault else ""))

    def renew(self, credential: Credential) -> None:
        """Take over new values: a refreshed token, or what the operator wrote into the file.

        An edit that leaves nothing usable is refused: the values before it go on serving.
        """
        if credential.fault and not self.credential.fault and not credential.disabled:
            return
        before, self.credential = self.credential, credential
        reason = self.reason
        if credential.fault:
            self.disable(INVALID_CONFIG, 0)
        elif credential.disabled:
            self.disable(MANUAL, 0)
        elif reason in (MANUAL, INVALID_CONFIG, REMOVED) or (
            # A new login cures a dead token. Not a suspension: a rotation looks the same here.
            reason == INVALID_REFRESH_TOKEN and before.refresh_token != credential.refresh_token
        ):
            self.ring.heal(self.index, REASONS.index(reason))

    def succeeded(self, now_ms: int) -> None:
        """Note an answer; a request sent before a 429 says nothing about the time after it."""
        self.ring.succeed(self.index, now_ms, PROBED)

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
    slot.ring.avoid(slot.index, now_ms, _AVOID_FIRST_MS, _AVOID_CAP_MS)


def _cool(slot: Slot, error: GatewayError, now_ms: int) -> None:
    told_ms = _told_ms(error, _TOLD_CAP_MS)
    slot.ring.throttle(slot.index, now_ms, told_ms, _THROTTLE_FIRST_MS, _THROTTLE_CAP_MS)


def _exhaust(slot: Slot, error: GatewayError, now_ms: int) -> None:
    told_ms = _told_ms(error, QUOTA_CAP_MS)
    until_ms = start_of_next_month(now_ms) if told_ms < 0 else now_ms + told_ms
    slot.ring.exhaust(slot.index, until_ms)


def _count(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.ring.count_failure(slot.index, now_ms, _FAILURES_TO_DISABLE, PROBED)


def _wait_for_refresh(slot: Slot, error: GatewayError, now_ms: int) -> None:
    # All who waited for one flight tell of its failure: it is one.
    is_told = slot.state.cooling_until_ms > now_ms
    times = 1 if is_told else slot.ring.count_refresh_failure(slot.index)
    wait_ms = min(_REFRESH_FIRST_MS << min(times - 1, 16), _REFRESH_CAP_MS)
    slot.ring.cool(slot.index, now_ms + max(_told_ms(error, _THROTTLE_CAP_MS), wait_ms))


def _bury(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.ring.count_refresh_failure(slot.index)
    slot.disable(INVALID_REFRESH_TOKEN, now_ms)


def _suspend(slot: Slot, error: GatewayError, now_ms: int) -> None:
    slot.disable(SUSPENDED, now_ms)  # asking again makes it worse: never healed by itself


def _told_ms(error: GatewayError, cap_ms: int) -> int:
    """Return how long the answer said to wait, -1 if it did not."""
    if error.retry_after_s is None:
        return -1
    return min(max(int(error.retry_after_s * 1000), 0), cap_ms)


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
    ModelRefused: _nothing,  # the pool remembers it of the model
    Unmet: _nothing,
    Throttled: _cool,
    QuotaExhausted: _exhaust,
    TokenRejected: _count,
    AccessDenied: _count,
    WrongDoor: _count,
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
