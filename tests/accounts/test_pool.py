"""The choice of a credential, and what every kind of fault does to the next choice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy import errors
from kiroproxy.accounts.balance import Balance
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.pool import Lease, Pool, View

NOW = 1_767_225_600_000 + 14 * 86_400_000  # 2026-01-15T00:00:00Z
FEBRUARY = 1_767_225_600_000 + 31 * 86_400_000
MINUTES = 60_000


def pool(*priorities: int, mode: str = "priority") -> Pool:
    """Return a pool with ids 1, 2, ... of the given priorities."""
    return Pool((Credential(id, priority=p) for id, p in enumerate(priorities, 1)), mode)


def acquire(pool: Pool, now_ms: int = NOW, **options: Any) -> Lease:
    return pool.acquire(model_id="m", now_ms=now_ms, **options)


def ask(pool: Pool, error: errors.GatewayError | None, now_ms: int = NOW) -> int:
    """Do one whole request and return the id it went to."""
    lease = acquire(pool, now_ms)
    pool.report(lease, error, now_ms)
    lease.release()
    return lease.credential.id


def view(pool: Pool, id: int = 1, now_ms: int = NOW) -> View:
    return next(each for each in pool.snapshot(now_ms) if each.credential.id == id)


def usable(pool: Pool, now_ms: int, id: int = 1) -> bool:
    return view(pool, id, now_ms).is_usable


# -- the choice ----------------------------------------------------------------------------


def test_the_smallest_priority_is_asked_first_and_ties_go_to_the_smallest_id() -> None:
    assert acquire(pool(5, 1, 1)).credential.id == 2


def test_within_a_priority_the_least_busy_then_the_longest_unused_is_asked() -> None:
    three = pool(0, 0, 0)
    leases = [acquire(three) for _ in range(3)]
    assert [lease.credential.id for lease in leases] == [1, 2, 3]
    leases[1].release()
    assert acquire(three).credential.id == 2
    leases[2].release()
    leases[0].release()
    assert acquire(three).credential.id == 1


def test_a_lower_priority_is_not_asked_while_a_higher_one_is_busy() -> None:
    two = pool(0, 1)
    assert [acquire(two).credential.id for _ in range(3)] == [1, 1, 1]


def test_balanced_mode_does_not_look_at_priorities() -> None:
    assert {ask(pool, None) for pool in [pool(0, 9, mode="balanced")] for _ in range(2)} == {1, 2}


def test_balanced_mode_does_not_pour_everything_on_a_newcomer() -> None:
    both = pool(0, mode="balanced")
    for _ in range(100):
        ask(both, None)
    both.sync([Credential(1), Credential(2)])
    chosen = [ask(both, None) for _ in range(10)]
    assert chosen.count(1) == chosen.count(2) == 5


def test_an_excluded_credential_is_not_chosen() -> None:
    assert acquire(pool(0, 1), exclude={1}).credential.id == 2


def test_release_counts_once() -> None:
    one = pool(0)
    first, second = acquire(one), acquire(one)
    first.release()
    first.release()
    assert view(one).in_flight == 1
    second.release()
    assert view(one).in_flight == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_in_flight_counts_never_drift(steps: list[tuple[int, bool]]) -> None:
    four = pool(0, 0, 1, 1)
    held: list[Lease] = []
    for index, take in steps:
        if take or not held:
            held.append(acquire(four))
        else:
            held.pop(index % len(held)).release()
        assert sum(each.in_flight for each in four.snapshot()) == len(held)


# -- consequences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        errors.ServerFault("x"),
        errors.ConnectFailed("x"),
        errors.ProxyFailed("x"),
        errors.ConnectionLost("x"),
        errors.UpstreamTimeout("x", setting="s"),
        errors.BadFrame("x"),
        errors.ProtocolViolation("x"),
        errors.EmptyAnswer("x"),
    ],
)
def test_a_transport_fault_prefers_others_for_a_moment_and_never_disables(
    error: errors.GatewayError,
) -> None:
    two = pool(0, 1)
    assert [ask(two, error), ask(two, None)] == [1, 2]
    assert ask(two, None, NOW + MINUTES) == 1
    lone = pool(0)
    assert [ask(lone, error) for _ in range(50)] == [1] * 50


@pytest.mark.parametrize(
    "error",
    [
        errors.Overloaded("x", retry_after_s=9),
        errors.Refused("x"),
        errors.PromptTooLong("x"),
        errors.SignatureRefused("x"),
        errors.Unmet("x"),
        errors.InternalError("x"),
        errors.RequestTimeout("x"),
    ],
)
def test_what_is_not_the_credentials_fault_changes_nothing(error: errors.GatewayError) -> None:
    two = pool(0, 1)
    assert [ask(two, error) for _ in range(5)] == [1] * 5


def test_a_throttled_credential_cools_for_as_long_as_it_was_told() -> None:
    one = pool(0)
    ask(one, errors.Throttled("x", retry_after_s=2.5))
    assert not usable(one, NOW + 2_499)
    assert usable(one, NOW + 2_500)


def test_without_a_number_cooling_starts_at_eight_seconds_and_doubles_to_five_minutes() -> None:
    one, now, waits = pool(0), NOW, []
    for _ in range(8):
        ask(one, errors.Throttled("x"), now)
        waits.append(view(one).cooling_until_ms - now)
        now += waits[-1]
    assert waits == [8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000]
    ask(one, None, now)
    ask(one, errors.Throttled("x"), now)
    assert view(one).cooling_until_ms - now == 8000


def test_many_refusals_of_one_moment_count_as_one() -> None:
    one = pool(0)
    leases = [acquire(one) for _ in range(20)]
    for lease in leases:
        one.report(lease, errors.Throttled("x"), NOW)
    assert view(one).cooling_until_ms == NOW + 8000


def test_a_success_from_before_does_not_end_the_cooling() -> None:
    one = pool(0)
    early, late = acquire(one), acquire(one)
    one.report(late, errors.Throttled("x"), NOW)
    one.report(early, None, NOW + 1)
    assert not usable(one, NOW + 1)


def test_no_answer_can_stop_a_credential_for_days() -> None:
    one = pool(0)
    ask(one, errors.Throttled("x", retry_after_s=1e12))
    assert usable(one, NOW + 60 * MINUTES)


def test_all_cooling_is_429_with_the_earliest_end() -> None:
    two = pool(0, 0)
    ask(two, errors.Throttled("x", retry_after_s=30))
    ask(two, errors.Throttled("x", retry_after_s=20))
    with pytest.raises(errors.Throttled) as caught:
        acquire(two, NOW + 5_000)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 15)


def test_an_exhausted_plan_waits_for_the_first_of_next_month() -> None:
    one = pool(0)
    ask(one, errors.QuotaExhausted("x"))
    assert view(one).disabled_reason == "QuotaExceeded"
    assert not usable(one, FEBRUARY - 1)
    assert usable(one, FEBRUARY)
    assert view(one, now_ms=FEBRUARY).disabled_reason == ""


SPENT = Balance(used=50, limit=50, next_reset_ms=NOW + 60 * MINUTES)
LEFT = Balance(used=20, limit=50, next_reset_ms=NOW + 60 * MINUTES)


def test_an_exhausted_plan_waits_for_its_own_reset_date_where_that_is_known() -> None:
    one = pool(0)
    ask(one, errors.QuotaExhausted("x"))
    assert one.settle(1, SPENT, NOW, after_refusal=True) is True
    assert not usable(one, NOW + 60 * MINUTES - 1)
    assert usable(one, NOW + 60 * MINUTES)


def test_who_was_refused_without_a_date_is_told_once_and_only_without() -> None:
    one, told = pool(0), []
    one.on_exhausted = told.append
    ask(one, errors.QuotaExhausted("x"))
    assert [credential.id for credential in told] == [1]
    ask(one, errors.QuotaExhausted("x", retry_after_s=60), FEBRUARY)
    assert len(told) == 1


def test_a_plan_refused_although_it_has_credits_waits_an_hour() -> None:
    one = pool(0)
    ask(one, errors.QuotaExhausted("x"))
    assert one.settle(1, LEFT, NOW, after_refusal=True) is True
    assert not usable(one, NOW + 59 * MINUTES)
    assert usable(one, NOW + 60 * MINUTES)


def test_a_plan_that_began_anew_is_proven_by_one_request() -> None:
    one = pool(0)
    ask(one, errors.QuotaExhausted("x"))
    probe = acquire(one, FEBRUARY)
    assert not usable(one, FEBRUARY)
    with pytest.raises(errors.Throttled) as caught:
        acquire(one, FEBRUARY)
    assert caught.value.retry_after_s == 1
    one.report(probe, None, FEBRUARY)
    probe.release()
    leases = [acquire(one, FEBRUARY) for _ in range(3)]
    assert len(leases) == 3


def test_a_probe_that_is_refused_waits_for_the_month_after() -> None:
    one = pool(0)
    ask(one, errors.QuotaExhausted("x"))
    ask(one, errors.QuotaExhausted("x"), FEBRUARY)
    assert not usable(one, FEBRUARY + 27 * 24 * 60 * MINUTES)
    assert usable(one, FEBRUARY + 28 * 24 * 60 * MINUTES)


def test_a_plan_that_was_paid_for_heals_before_its_reset_date() -> None:
    one = pool(0)
    one.settle(1, SPENT, NOW)
    assert one.settle(1, LEFT, NOW + MINUTES) is False
    assert usable(one, NOW + MINUTES)
    assert ask(one, None, NOW + MINUTES) == 1


def test_a_plan_below_what_the_operator_keeps_rests_until_its_reset() -> None:
    two = Pool([Credential(1, min_remaining_credits=31), Credential(2, min_remaining_percent=60)])
    assert [two.settle(id, LEFT, NOW) for id in (1, 2)] == [True, False]
    assert view(two).disabled_reason == "QuotaExceeded"
    assert ask(two, None) == 2
    two.replace(Credential(1))
    two.settle(1, LEFT, NOW)
    assert usable(two, NOW)


# -- what a plan includes ------------------------------------------------------------------


def test_a_credential_known_not_to_have_the_model_is_not_asked() -> None:
    two = pool(0, 1)
    two.entitlements.learn(1, ["small"])
    assert two.acquire(model_id="large", now_ms=NOW).credential.id == 2
    assert two.acquire(model_id="small", now_ms=NOW).credential.id == 1
    two.entitlements.learn(1, ["small", "large"])
    assert two.acquire(model_id="large", now_ms=NOW).credential.id == 1


def test_a_model_that_nobody_has_is_not_found_and_nobody_is_asked() -> None:
    one = pool(0)
    one.entitlements.learn(1, ["small"])
    with pytest.raises(errors.NotFound, match="large"):
        one.acquire(model_id="large", now_ms=NOW)


def test_a_refused_model_is_not_asked_for_again_for_an_hour() -> None:
    two, refused = pool(0, 1), errors.ModelRefused("x")
    refused.model_id = "m"
    assert ask(two, refused) == 1
    assert ask(two, None) == 2
    assert two.acquire(model_id="other", now_ms=NOW).credential.id == 1
    assert ask(two, None, NOW + 60 * MINUTES) == 1


def test_a_listing_and_a_change_of_the_file_are_both_seen_by_the_next_choice() -> None:
    one = pool(0)
    one.entitlements.learn(1, ["small"])
    with pytest.raises(errors.NotFound):
        acquire(one)
    one.sync([Credential(1), Credential(2)])
    assert acquire(one).credential.id == 2


def test_all_exhausted_is_402_and_one_cooling_among_them_is_429() -> None:
    two = pool(0, 1)
    ask(two, errors.QuotaExhausted("x"))
    lease = acquire(two)
    two.report(lease, errors.Throttled("x", retry_after_s=4), NOW)
    with pytest.raises(errors.Throttled) as throttled:
        acquire(two)
    assert throttled.value.retry_after_s == 4
    two.report(lease, errors.QuotaExhausted("x"), NOW)
    with pytest.raises(errors.QuotaExhausted) as exhausted:
        acquire(two)
    assert exhausted.value.status == 402


def test_a_suspended_account_is_never_asked_again_by_itself() -> None:
    one = pool(0)
    ask(one, errors.Suspended("x"))
    assert view(one).disabled_reason == "Suspended"
    assert not usable(one, NOW + 365 * 1440 * MINUTES)
    one.replace(Credential(1, refresh_token="rotated"))
    assert not usable(one, NOW)
    one.reset(1)
    assert usable(one, NOW)


@pytest.mark.parametrize(
    "error",
    [
        errors.TokenRejected("x"),
        errors.AccessDenied("x"),
        errors.WrongDoor("x"),
        errors.WrongProfile("x"),
    ],
)
def test_the_third_refusal_in_a_row_disables(error: errors.GatewayError) -> None:
    one = pool(0)
    ask(one, error)
    ask(one, error)
    ask(one, None)
    for _ in range(3):
        ask(one, error)
    assert view(one).disabled_reason == "TooManyFailures"
    assert not usable(one, NOW + 299_999)


def test_after_five_minutes_one_request_may_prove_it_well() -> None:
    one = pool(0)
    for _ in range(3):
        ask(one, errors.AccessDenied("x"))
    later = NOW + 5 * MINUTES
    probe = acquire(one, later)
    with pytest.raises(errors.NoCredential):
        acquire(one, later)
    one.report(probe, errors.AccessDenied("x"), later)
    probe.release()
    assert not usable(one, later + 299_999)
    assert ask(one, None, later + 5 * MINUTES) == 1
    assert view(one).disabled_reason == ""


def test_a_probe_that_left_without_an_answer_makes_room_for_the_next() -> None:
    one = pool(0)
    for _ in range(3):
        ask(one, errors.TokenRejected("x"))
    acquire(one, NOW + 5 * MINUTES).release()
    assert usable(one, NOW + 5 * MINUTES)


def test_a_dead_login_is_disabled_at_once_until_a_new_one() -> None:
    one = pool(0)
    ask(one, errors.CredentialDead("x"))
    assert view(one).disabled_reason == "InvalidRefreshToken"
    assert not usable(one, NOW + 365 * 1440 * MINUTES)
    one.replace(Credential(1, refresh_token="", email="same login"))
    assert not usable(one, NOW)
    one.replace(Credential(1, refresh_token="new login"))
    assert usable(one, NOW)


def test_a_refresh_that_failed_for_the_moment_cools_shortly_and_never_disables() -> None:
    one, now = pool(0), NOW
    for _ in range(50):
        ask(one, errors.RefreshFailed("x"), now)
        assert 5_000 <= view(one).cooling_until_ms - now <= 60_000
        now = view(one).cooling_until_ms
    assert view(one).disabled_reason == ""
    assert view(one).refresh_failures == 50


def test_all_who_waited_for_one_renewal_count_its_failure_once() -> None:
    one = pool(0)
    leases = [acquire(one) for _ in range(100)]
    for lease in leases:
        one.report(lease, errors.RefreshFailed("x"), NOW)
    assert view(one).cooling_until_ms == NOW + 5_000
    assert view(one).refresh_failures == 1


def test_a_reset_date_far_away_is_not_believed_for_longer_than_a_month() -> None:
    one = pool(0)
    one.settle(1, Balance(limit=50, used=50, next_reset_ms=NOW + 400 * 86_400_000), NOW)
    assert not usable(one, NOW + 86_400_000)
    assert usable(one, NOW + 32 * 86_400_000)


# -- nobody left ---------------------------------------------------------------------------


def test_a_login_service_that_is_down_is_not_called_a_rate_limit() -> None:
    two, failed = pool(0, 1), errors.RefreshFailed("x")
    ask(two, failed), ask(two, failed)
    with pytest.raises(errors.RefreshFailed) as caught:
        acquire(two)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
    throttled = pool(0, 1)
    ask(throttled, failed), ask(throttled, errors.Throttled("x", retry_after_s=9))
    with pytest.raises(errors.Throttled):
        acquire(throttled)


def test_an_empty_pool_says_what_to_do() -> None:
    with pytest.raises(errors.NoCredential, match=r"credentials\.json.*KIRO_API_KEY") as caught:
        acquire(pool())
    assert caught.value.status == 503


def test_only_disabled_credentials_are_503_with_the_reasons_in_the_log_only() -> None:
    both = Pool([Credential(1, disabled=True), Credential(2, fault="refreshToken is missing")])
    with pytest.raises(errors.NoCredential) as caught:
        acquire(both)
    assert caught.value.detail == "reasons: InvalidConfig, Manual"
    assert "InvalidConfig" not in caught.value.message


def test_a_request_that_used_up_the_usable_ones_is_not_told_to_wait() -> None:
    with pytest.raises(errors.NoCredential, match="failed this request"):
        acquire(pool(0), exclude={1})


def test_what_is_left_untried_gives_the_reason() -> None:
    two = pool(0, 1)
    ask(two, errors.Throttled("x", retry_after_s=7))
    with pytest.raises(errors.Throttled):
        acquire(two, exclude={2})


# -- changes from outside ------------------------------------------------------------------


def test_a_lease_shows_the_refreshed_token() -> None:
    one = pool(0)
    lease = acquire(one)
    one.replace(Credential(1, access_token="new"))
    assert lease.credential.access_token == "new"


def test_sync_keeps_state_adds_and_removes() -> None:
    two = pool(0, 1)
    ask(two, errors.Throttled("x"))
    lease = acquire(two)
    two.sync([Credential(1, access_token="new"), Credential(3)])
    assert [each.credential.id for each in two.snapshot()] == [1, 3]
    assert not usable(two, NOW)
    two.report(lease, None, NOW)
    lease.release()


def test_enabling_in_the_file_enables_and_disabling_disables() -> None:
    one = pool(0)
    one.replace(Credential(1, disabled=True))
    assert view(one).disabled_reason == "Manual"
    one.replace(Credential(1))
    assert usable(one, NOW)


def test_reset_does_not_enable_what_the_file_holds_wrong() -> None:
    one = Pool([Credential(1, fault="refreshToken is missing")])
    one.reset(1)
    assert view(one).disabled_reason == "InvalidConfig"


def test_a_disabled_credential_is_not_enabled_by_a_late_success() -> None:
    one = pool(0)
    lease = acquire(one)
    one.replace(Credential(1, disabled=True))
    one.report(lease, None, NOW)
    assert view(one).disabled_reason == "Manual"


def test_the_mode_can_be_changed_while_running() -> None:
    two = pool(0, 1)
    ask(two, None)
    two.mode = "balanced"
    assert ask(two, None) == 2


# -- limits and conversations --------------------------------------------------------------


def limited(count: int = 2, **limits: int) -> Pool:
    return Pool(Credential(id, **limits) for id in range(1, count + 1))


def test_a_credential_at_its_limit_of_requests_in_flight_is_not_asked() -> None:
    two = Pool([Credential(1, max_concurrency=1), Credential(2, priority=1, max_concurrency=2)])
    leases = [acquire(two) for _ in range(3)]
    assert [lease.credential.id for lease in leases] == [1, 2, 2]
    with pytest.raises(errors.Throttled) as caught:
        acquire(two)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    leases[0].release()
    assert acquire(two).credential.id == 1


def test_a_credential_at_its_limit_of_requests_a_minute_is_not_asked() -> None:
    two = limited(rpm=3)
    assert sorted(ask(two, None) for _ in range(6)) == [1, 1, 1, 2, 2, 2]
    with pytest.raises(errors.Throttled) as caught:
        acquire(two)
    wait_s = caught.value.retry_after_s
    assert wait_s is not None and 48 < wait_s <= 72
    assert ask(two, None, NOW + int(wait_s * 1000)) in (1, 2)


def test_a_limit_that_was_changed_in_the_file_holds_at_once() -> None:
    one = limited(1)
    held = [acquire(one) for _ in range(5)]
    one.sync([Credential(1, max_concurrency=5)])
    with pytest.raises(errors.Throttled):
        acquire(one)
    one.replace(Credential(1, max_concurrency=6))
    held.append(acquire(one))
    assert view(one).in_flight == 6


def test_a_full_credential_is_still_one_that_can_be_used() -> None:
    one = limited(1, max_concurrency=1)
    acquire(one)
    assert view(one).is_usable and one.counts(NOW) == (1, 1)


def test_a_conversation_stays_with_its_credential_as_long_as_that_is_usable() -> None:
    five = pool(0, 0, 0, 0, 0)
    home = {c: acquire(five, conversation=c).credential.id for c in map(str, range(40))}
    assert set(home.values()) == {1, 2, 3, 4, 5}
    for conversation, id in home.items():
        assert acquire(five, conversation=conversation).credential.id == id
    lease = acquire(five, conversation="7")
    five.report(lease, errors.Throttled("x", retry_after_s=10), NOW)
    away = acquire(five, conversation="7").credential.id
    assert away != home["7"]
    assert acquire(five, conversation="7").credential.id == away
    assert acquire(five, NOW + 10_000, conversation="7").credential.id == home["7"]


def test_a_conversation_does_not_hold_on_to_a_worse_priority() -> None:
    two = pool(0, 1)
    lease = acquire(two, conversation="c")
    two.report(lease, errors.Throttled("x", retry_after_s=10), NOW)
    assert acquire(two, conversation="c").credential.id == 2
    assert acquire(two, NOW + 10_000, conversation="c").credential.id == 1


def test_the_counts_say_what_the_views_say() -> None:
    four = pool(0, 0, 0, 0)
    for error in (errors.Suspended("x"), errors.Throttled("x"), errors.QuotaExhausted("x")):
        ask(four, error)
    for now in (NOW, NOW + MINUTES, FEBRUARY):
        views = four.snapshot(now)
        assert four.counts(now) == (4, sum(view.is_usable for view in views))
    assert four.counts(NOW) == (4, 1)
