"""The retry budget: how many extra tries an outage may cost Kiro and us.

Rules of this file: no clock; time is an argument. Only retries of transient faults are paid
for; moving on from a throttled or exhausted credential is not a retry of the same failure.

Source: Finagle's and Linkerd's retry budgets: 20 % of the requests, at least ten a second.
"""

_PER_REQUEST = 0.2
_PER_SECOND = 10.0
_CAP = 100.0  # ten quiet seconds' worth: a burst after a lull may retry freely


class RetryBudget:
    """A balance that requests and time fill and retries empty. Units: ms for times."""

    def __init__(self, now_ms: int) -> None:
        self._balance = _CAP
        self._seen_ms = now_ms

    def deposit(self, now_ms: int) -> None:
        """Count one request."""
        self._refill(now_ms)
        self._balance = min(self._balance + _PER_REQUEST, _CAP)

    def withdraw(self, now_ms: int) -> bool:
        """Pay for one retry; False = it must not happen."""
        self._refill(now_ms)
        if self._balance < 1:
            return False
        self._balance -= 1
        return True

    def _refill(self, now_ms: int) -> None:
        elapsed_s = max(now_ms - self._seen_ms, 0) / 1000
        self._seen_ms = now_ms
        self._balance = min(self._balance + elapsed_s * _PER_SECOND, _CAP)
