"""A slot's table: every error class has a row, and months end where they end."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy import errors
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.page import private_ring
from kiroproxy.accounts.slot import CONSEQUENCES, Slot, start_of_next_month

DIRECT_FAULTS = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and errors.UpstreamError in cls.__bases__
]


@pytest.mark.parametrize("cls", DIRECT_FAULTS)
def test_every_answer_of_kiro_has_a_row_of_its_own(cls: type) -> None:
    assert cls in CONSEQUENCES


@pytest.mark.parametrize(
    ("now", "month"),
    [
        ("2026-01-01T00:00:00", "2026-02-01"),
        ("2026-12-31T23:59:59", "2027-01-01"),
        ("2028-02-29T12:00:00", "2028-03-01"),
    ],
)
def test_the_next_month_starts_on_its_first_day_utc(now: str, month: str) -> None:
    at_ms = int(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    start = datetime.fromtimestamp(start_of_next_month(at_ms) / 1000, UTC)
    assert start == datetime.fromisoformat(month).replace(tzinfo=UTC)


@given(
    st.lists(
        st.sampled_from(
            [errors.Throttled("x"), errors.ServerFault("x"), errors.RefreshFailed("x"),
             errors.Throttled("x", retry_after_s=-5), errors.QuotaExhausted("x", retry_after_s=1e9)]
        ),
        max_size=200,
    )
)  # fmt: skip
def test_nothing_transient_lasts_longer_than_a_month(found: list[errors.GatewayError]) -> None:
    slot = Slot(private_ring(), Credential(1))
    for error in found:
        slot.failed(error, 1_000)
    assert slot.state.is_usable(1_000 + 32 * 86_400_000)


def test_the_table_in_the_documentation_names_every_row_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    rows = page.split("| fault (`errors.py`)")[1].split("\n\n")[0].splitlines()[2:]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told == {cls.__name__ for cls in CONSEQUENCES} - {"GatewayError"}
