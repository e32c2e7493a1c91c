"""How many retries an outage may cost."""

from kiroproxy.upstream.budget import RetryBudget


def spend(budget: RetryBudget, now_ms: int) -> int:
    count = 0
    while budget.withdraw(now_ms):
        count += 1
    return count


def test_reserve_is_spent_once_and_then_refused():
    budget = RetryBudget(0)
    assert spend(budget, 0) == 100
    assert spend(budget, 0) == 0


def test_requests_earn_a_fifth_of_a_retry_each():
    budget = RetryBudget(0)
    spend(budget, 0)
    for _ in range(51):
        budget.deposit(0)
    assert spend(budget, 0) == 10


def test_seconds_earn_ten_retries_each_up_to_the_reserve():
    budget = RetryBudget(0)
    spend(budget, 0)
    assert spend(budget, 1000) == 10
    assert spend(budget, 1000_000) == 100


def test_clock_that_steps_back_earns_nothing():
    budget = RetryBudget(1000)
    spend(budget, 1000)
    assert spend(budget, 0) == 0
