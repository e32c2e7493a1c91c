"""Points in time as credential files write them, read leniently and written strictly.

Rules of this file: pure; nothing here raises for what a file holds. Units: ms since epoch.

Source: RFC 3339, and the ways in which other programs of this family depart from it: epoch
numbers (as numbers and as strings, seconds and milliseconds), local forms without an offset.
"""

import math
from datetime import UTC, datetime, timedelta

# An epoch number above this is in milliseconds: as seconds it would be the year 5138.
_FIRST_MS = 100_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253_402_300_799_000  # the end of year 9999, the last that RFC 3339 can write


def parse_time(value: object) -> int | None:
    """Return ms since epoch, None where the value is not a point in time."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _from_epoch(float(value)) if abs(value) < _LATEST_MS * 10 else None
    if not isinstance(value, str):
        return None
    text = value.strip().upper()
    try:
        return _from_epoch(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # every writer without an offset that is known writes UTC
        moment = moment.replace(tzinfo=UTC)
    return _within_range((moment - _EPOCH) // timedelta(milliseconds=1))


def rfc3339(at_ms: int) -> str:
    """Return the text for a file or an answer: UTC, milliseconds, `Z`."""
    moment = _EPOCH + timedelta(milliseconds=min(max(at_ms, 0), _LATEST_MS))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_epoch(number: float) -> int | None:
    if not math.isfinite(number):  # "NaN" is what a failed addition wrote into real files
        return None
    return _within_range(int(number if abs(number) >= _FIRST_MS else number * 1000))


def _within_range(at_ms: int) -> int | None:
    return at_ms if 0 <= at_ms <= _LATEST_MS else None
