"""What is left of a plan: every shape of Kiro's answer, and the file that keeps it."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.balance import Balance, read, restored, stored
from kiroproxy.accounts.balance_file import NAME, BalanceFile

NOW = 1_767_225_600_000
LATER_S, EARLIER_S = NOW / 1000 + 86_400, NOW / 1000 - 86_400
TRIAL = {
    "freeTrialStatus": "ACTIVE",
    "freeTrialExpiry": LATER_S,
    "currentUsage": 10,
    "usageLimit": 500,
    "currentUsageWithPrecision": 10.5,
}
BONUS = {"status": "ACTIVE", "expiresAt": LATER_S, "currentUsage": 1, "usageLimit": 100}


def answer(**row: Any) -> dict[str, Any]:
    base = {
        "resourceType": "CREDIT",
        "currentUsage": 20,
        "currentUsageWithPrecision": 20.25,
        "usageLimit": 50,
    }
    return {
        "nextDateReset": 1.7671392e9,
        "subscriptionInfo": {"subscriptionTitle": "KIRO FREE"},
        "usageBreakdownList": [{"resourceType": "SPEC", "usageLimit": 9}, base | row],
        "userInfo": {"email": "a@b"},
    }


def test_the_plan_the_active_trial_and_active_bonuses_count_together() -> None:
    spent = BONUS | {"status": "EXHAUSTED"}
    found = read(answer(freeTrialInfo=TRIAL, bonuses=[BONUS, spent]), NOW)
    assert (found.used, found.limit) == (20.25 + 10.5 + 1, 650)
    assert (found.subscription, found.email) == ("KIRO FREE", "a@b")
    assert found.next_reset_ms == 1_767_139_200_000


@pytest.mark.parametrize(
    "row",
    [
        {"freeTrialInfo": TRIAL | {"freeTrialStatus": "EXPIRED"}},
        {"freeTrialInfo": TRIAL | {"freeTrialExpiry": EARLIER_S}},
        {"bonuses": [BONUS | {"expiresAt": EARLIER_S}, None, 5]},
        {"freeTrialInfo": None, "bonuses": None},
    ],
)
def test_what_has_ended_does_not_count(row: dict[str, Any]) -> None:
    assert (read(answer(**row), NOW).used, read(answer(**row), NOW).limit) == (20.25, 50)


@pytest.mark.parametrize(
    ("row", "used"),
    [
        ({"currentUsageWithPrecision": "21.5"}, 21.5),
        ({"currentUsageWithPrecision": None}, 20),
        ({"currentUsageWithPrecision": float("nan")}, 20),
        ({"currentUsageWithPrecision": "many", "currentUsage": True}, 0),
        ({"currentUsageWithPrecision": -3}, 0),
        ({"currentUsageWithPrecision": 10**400}, 20),
    ],
)
def test_numbers_come_in_any_form(row: dict[str, Any], used: float) -> None:
    assert read(answer(**row), NOW).used == used


@pytest.mark.parametrize(
    "told", [{}, {"usageBreakdownList": []}, {"usageBreakdownList": [None]},
             {"usageBreakdownList": {}, "subscriptionInfo": [], "nextDateReset": "soon"}]
)  # fmt: skip
def test_an_answer_without_numbers_stops_nobody(told: dict[str, Any]) -> None:
    found = read(told, NOW)
    assert not found.is_spent and not found.is_below(100, 50)
    assert (found.remaining, found.percent_used, found.next_reset_ms) == (0, 0, 0)


def test_a_plan_with_overage_is_not_spent_before_its_cap() -> None:
    told = answer(currentUsageWithPrecision=50, currentOverages=30, overageCap=100)
    assert read(told, NOW).is_spent
    told["overageConfiguration"] = {"overageStatus": "ENABLED"}
    assert (read(told, NOW).overage_left, read(told, NOW).is_spent) == (70, False)
    told["overageConfiguration"] = {"overageStatus": "ENABLED", "overageLimit": 30}
    assert read(told, NOW).is_spent


@pytest.mark.parametrize(
    ("credits", "percent", "is_below"),
    [(0, 0, False), (10, 0, False), (11, 0, True), (0, 20, False), (0, 21, True)],
)
def test_what_the_operator_keeps_may_be_credits_or_a_share(
    credits: float, percent: float, is_below: bool
) -> None:
    assert Balance(used=40, limit=50).is_below(credits, percent) is is_below


def test_the_admin_form_has_the_names_its_clients_know() -> None:
    told = read(answer(), NOW).as_json()
    assert (
        told
        | {
            "subscriptionTitle": "KIRO FREE",
            "currentUsage": 20.25,
            "usageLimit": 50,
            "remaining": 29.75,
            "usagePercentage": 40.5,
            "nextResetAt": 1767139200,
        }
        == told
    )
    assert "email" not in told


def test_a_stored_balance_comes_back_and_its_mail_address_does_not() -> None:
    found = read(answer(), NOW)
    again = restored(json.loads(json.dumps(stored(found))))
    assert again is not None and again.email == ""
    assert stored(again) == stored(found)


@pytest.mark.parametrize("value", [None, [], {"used": "1"}, {"next_reset_ms": 1.5}, {"used": True}])
def test_what_was_not_stored_by_us_is_nothing(value: object) -> None:
    assert restored(value) is None


# -- the file --------------------------------------------------------------------------------


def test_what_one_worker_learned_another_reads(tmp_path: Path) -> None:
    one, other = (BalanceFile(tmp_path / "credentials.json") for _ in range(2))
    one.put(1, Balance(used=1, limit=2))
    assert other.read() == {1: Balance(used=1, limit=2)}
    other.put(2, Balance(used=3, limit=4))
    assert one.read() == {1: Balance(used=1, limit=2), 2: Balance(used=3, limit=4)}
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[", "[]", '{"x": 1, "1": 5}', "\udcff"])
def test_a_damaged_file_is_an_empty_one_and_is_mended(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    file = BalanceFile(tmp_path / "credentials.json")
    assert file.read() == {}
    file.put(1, Balance(used=1, limit=2))
    assert BalanceFile(tmp_path / "credentials.json").read() == {1: Balance(used=1, limit=2)}


def test_a_file_that_cannot_be_written_costs_nothing_but_the_memory(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.lock").mkdir()
    file = BalanceFile(tmp_path / "credentials.json")
    file.put(1, Balance(used=1, limit=2))
    assert file.read() == {1: Balance(used=1, limit=2)}
