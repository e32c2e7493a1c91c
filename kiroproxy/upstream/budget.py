"""The retry budget: how many extra tries an outage may cost Kiro and us.

Rules of this file: no clock: time earns nothing, for an outage lasts while time goes by. Only
retries of transient faults are paid for; moving on from a throttled or exhausted credential is
not a retry of the same failure.

Theory of operation. Each request earns a tenth of a retry, each success a whole one, up to a small
reserve. While Kiro works, every hiccup is retried; when nothing succeeds any more, the reserve is
spent once, and from then on ten requests pay for one retry, at any rate of requests.

Source: the SDKs of Kiro's own family return a retry's cost on success; a tenth is what Google's SRE
book allows a client.
"""

_PER_REQUEST = 0.1
_PER_SUCCESS = 1.0
_RESERVE = 10.0


class RetryBudget:
    """A balance that requests and successes fill and retries empty."""

    def __init__(self) -> None:
        self._balance = _RESERVE

    def deposit(self) -> None:
        """Count one request."""
        if self._balance < _RESERVE:
            self._balance = min(self._balance + _PER_REQUEST, _RESERVE)

    def succeeded(self) -> None:
        """Count one answer that came to its end."""
        if self._balance < _RESERVE:
            self._balance = min(self._balance + _PER_SUCCESS, _RESERVE)

    def withdraw(self) -> bool:
        """Pay for one retry; False = it must not happen."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
