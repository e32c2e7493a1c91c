"""What is left of a credential's plan, as Kiro's usage answer tells it.

Rules of this file: pure, and tolerant: a number may be a float, a whole number or text, any part
may be missing, and nothing here raises for what an answer holds.

Theory of operation. Credits come from the plan itself, from a free trial and from bonuses; all
that are active count together, as the account's own page does it. Beyond them an account may run
into overage, up to a cap, if its owner has allowed it: it is not spent then, but nothing of the
plan remains.

Source: GetUsageLimits as Kiro's clients read it; the `WithPrecision` members where there are any.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kiroproxy.accounts.expiry import parse_time, rfc3339


@dataclass(frozen=True, slots=True)
class Balance:
    """One answer. Units: credits; *_ms since epoch, 0 = not told."""

    subscription: str = ""
    used: float = 0.0
    limit: float = 0.0  # 0 = not told
    next_reset_ms: int = 0
    overage_left: float = 0.0  # what may still be used beyond the plan
    email: str = ""
    fetched_at_ms: int = 0
    owner: str = ""  # which account it is of: an id of the file may become another account's

    @property
    def remaining(self) -> float:
        return max(self.limit - self.used, 0.0)

    @property
    def percent_used(self) -> float:
        """Return the share of the plan that is used, 0 to 100."""
        return min(self.used / self.limit * 100, 100.0) if self.limit else 0.0

    @property
    def is_spent(self) -> bool:
        """Say whether Kiro will refuse the next request for want of credits."""
        return self.limit > 0 and self.remaining <= 0 and self.overage_left <= 0

    def is_below(self, credits: float, percent: float) -> bool:
        """Say whether less is left than the operator wants to keep; 0 = keeps nothing."""
        if self.limit <= 0:
            return False  # an answer without numbers is no reason to stop an account
        return self.remaining < credits or 100 - self.percent_used < percent

    def as_json(self) -> dict[str, Any]:
        """Return the members of an admin answer, as the clients of such answers know them."""
        return {
            "subscriptionTitle": self.subscription or None,
            "currentUsage": round(self.used, 4),
            "usageLimit": round(self.limit, 4),
            "remaining": round(self.remaining, 4),
            "usagePercentage": round(self.percent_used, 4),
            "nextResetAt": self.next_reset_ms / 1000 if self.next_reset_ms else None,
            "overageRemaining": round(self.overage_left, 4),
            "fetchedAt": rfc3339(self.fetched_at_ms),
        }


def read(answer: Mapping[str, Any], now_ms: int) -> Balance:
    """Read a GetUsageLimits answer."""
    row = _row(answer.get("usageBreakdownList"))
    used, limit = _amount(row, "currentUsage"), _amount(row, "usageLimit")
    for extra in _extras(row, now_ms):
        used += _amount(extra, "currentUsage")
        limit += _amount(extra, "usageLimit")
    resets = (answer.get("nextDateReset"), row.get("nextDateReset"))
    return Balance(
        subscription=_text(_object(answer.get("subscriptionInfo")), "subscriptionTitle"),
        used=used,
        limit=limit,
        next_reset_ms=next((at for value in resets if (at := parse_time(value))), 0),
        overage_left=_overage_left(answer, row),
        email=_text(_object(answer.get("userInfo")), "email"),
        fetched_at_ms=now_ms,
    )


def stored(balance: Balance) -> dict[str, Any]:
    """Return what a file keeps of it; the mail address is none of its business."""
    return {key: value for key, value in asdict(balance).items() if key != "email"}


def restored(value: object) -> Balance | None:
    """Read what `stored` wrote, None for anything else."""
    if not isinstance(value, Mapping):
        return None
    kinds = {field.name: type(field.default) for field in fields(Balance)}
    found = {name: value[name] for name in kinds if name in value}
    for name, each in found.items():
        if kinds[name] is float and type(each) is int:
            found[name] = float(each)
        if type(found[name]) is not kinds[name]:
            return None
    return Balance(**found)


def _row(listed: object) -> Mapping[str, Any]:
    """Return the breakdown that counts: credits, else whatever comes first."""
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    credits = (row for row in rows if row.get("resourceType") == "CREDIT")
    return next(credits, rows[0] if rows else {})


def _extras(row: Mapping[str, Any], now_ms: int) -> list[Mapping[str, Any]]:
    """Return the trial and the bonuses that still count."""
    trial, bonuses = _object(row.get("freeTrialInfo")), row.get("bonuses")
    found = [_object(bonus) for bonus in bonuses] if isinstance(bonuses, list) else []
    found = [each for each in found if _is_active(each, "status", "expiresAt", now_ms)]
    if _is_active(trial, "freeTrialStatus", "freeTrialExpiry", now_ms):
        found.append(trial)
    return found


def _is_active(part: Mapping[str, Any], status: str, expiry: str, now_ms: int) -> bool:
    ends_ms = parse_time(part.get(expiry))
    return part.get(status) == "ACTIVE" and not (ends_ms and ends_ms <= now_ms)


def _overage_left(answer: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    allowed = _object(answer.get("overageConfiguration"))
    if allowed.get("overageStatus") != "ENABLED":
        return 0.0
    cap = _amount(allowed, "overageLimit") or _amount(row, "overageCap")
    return max(cap - _amount(row, "currentOverages"), 0.0)


def _amount(part: Mapping[str, Any], name: str) -> float:
    """Return a number under its precise name or its plain one, 0 where there is none."""
    for key in (f"{name}WithPrecision", name):
        value = part.get(key)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                continue
            if math.isfinite(number):
                return max(number, 0.0)
    return 0.0


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(part: Mapping[str, Any], key: str) -> str:
    value = part.get(key)
    return value if isinstance(value, str) else ""
