"""How many retries an outage may cost."""

import pytest

from kiroproxy.upstream.budget import RetryBudget


def spend(budget: RetryBudget) -> int:
    count = 0
    while budget.withdraw():
        count += 1
    return count


def test_reserve_is_spent_once_and_then_refused():
    budget = RetryBudget()
    assert spend(budget) == 10
    assert spend(budget) == 0


@pytest.mark.parametrize(("requests", "reserve"), [(200, 10), (1000, 10), (50_000, 10)])
def test_in_a_full_outage_ten_requests_pay_for_one_retry(requests, reserve):
    budget, retries = RetryBudget(), 0
    for _ in range(requests):
        budget.deposit()
        retries += spend(budget)
    assert retries <= requests * 0.1 + reserve
    assert retries >= requests * 0.1 - 1


def test_a_success_pays_for_a_retry_and_successes_fill_no_more_than_the_reserve():
    budget = RetryBudget()
    spend(budget)
    budget.succeeded()
    assert spend(budget) == 1
    for _ in range(1000):
        budget.succeeded()
        budget.deposit()
    assert spend(budget) == 10
