"""Which of several errors the client gets to see."""

import pytest

from kiroproxy.errors import (
    AccessDenied,
    ConnectionLost,
    NoCredential,
    Overloaded,
    QuotaExhausted,
    RefreshFailed,
    ServerFault,
    Suspended,
    Throttled,
    TokenRejected,
    UpstreamTimeout,
)
from kiroproxy.upstream import verdict

BY_USEFULNESS = [
    Throttled("", retry_after_s=5),
    Overloaded(""),
    UpstreamTimeout("", setting="idleTimeout"),
    ServerFault(""),
    RefreshFailed(""),
    QuotaExhausted(""),
    AccessDenied(""),
    NoCredential(""),
]


@pytest.mark.parametrize("place", range(1, len(BY_USEFULNESS)))
def test_more_useful_error_wins_in_either_order(place):
    better, worse = BY_USEFULNESS[place - 1], BY_USEFULNESS[place]
    assert verdict.best([better, worse]) is better
    assert verdict.best([worse, better]) is better


def test_of_equals_the_latest_is_told():
    first, last = ServerFault(""), ConnectionLost("")
    assert verdict.best([first, last]) is last


def test_shortest_wait_of_a_kind_is_told():
    errors = [Throttled("", retry_after_s=wait) for wait in (30, 5, None, 9)]
    assert verdict.best(errors).retry_after_s == 5
    assert verdict.best([Throttled("")]).retry_after_s is None


@pytest.mark.parametrize(
    ("error", "condemned"),
    [
        (Throttled(""), True),
        (Suspended(""), True),
        (TokenRejected(""), True),
        (Overloaded(""), False),
        (UpstreamTimeout("", setting=""), False),
        (ServerFault(""), False),
    ],
)
def test_credential_is_given_up_for_its_own_faults_only(error, condemned):
    assert verdict.condemns(error) is condemned
