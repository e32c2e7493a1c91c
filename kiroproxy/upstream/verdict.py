"""The error a client sees when several tries failed, each in its own way.

Rules of this file: no state, no I/O. The ranking is by what the client can do about it: wait a
known time, wait, pay, call the operator.

Source: how Anthropic's SDKs and Claude Code react to each status; BEHAVIOUR.md, "Errors".
"""

from collections.abc import Sequence

from kiroproxy.errors import (
    GatewayError,
    ModelRefused,
    NoCredential,
    NotFound,
    Overloaded,
    QuotaExhausted,
    RefreshFailed,
    Retry,
    Throttled,
    TokenRejected,
    UpstreamError,
    UpstreamTimeout,
    WrongProfile,
)

_FAILED, _OPERATORS = 60, 20
_RANKS: tuple[tuple[type[GatewayError], int], ...] = (
    (Throttled, 90),  # says when
    (Overloaded, 80),
    (UpstreamTimeout, 70),
    (RefreshFailed, 50),
    (QuotaExhausted, 40),  # clients stop for good at a 402: only if nothing passes by itself
    (ModelRefused, 30),  # another credential was not refused, and may answer later
    (NotFound, 15),  # the same, known already
    (NoCredential, 10),
)


def condemns(error: UpstreamError) -> bool:
    """Say whether a failed try's credential is of no more use to the same request.

    Order: for a rejected token or a wrong profile, ask after the cure was tried.
    """
    if isinstance(error, (Overloaded, UpstreamTimeout)):
        return False  # another credential first, but this one again if there is none
    return error.retry is Retry.NEXT or isinstance(error, (TokenRejected, WrongProfile))


def best(errors: Sequence[GatewayError]) -> GatewayError:
    """Choose the most useful of at least one error; of equals the latest.

    Shape: its wait is the shortest that any of its kind named.
    """
    chosen = max(enumerate(errors), key=lambda pair: (_rank(pair[1]), pair[0]))[1]
    waits = [e.retry_after_s for e in errors if type(e) is type(chosen) and e.retry_after_s]
    if waits:
        chosen.retry_after_s = min(waits)
    return chosen


def _rank(error: GatewayError) -> int:
    for kind, rank in _RANKS:
        if isinstance(error, kind):
            return rank
    if isinstance(error, UpstreamError) and condemns(error):
        return _OPERATORS  # a token, a profile, a suspension: nothing a client can mend
    return _FAILED
