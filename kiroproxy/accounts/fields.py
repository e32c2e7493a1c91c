"""The fields of one object, read leniently, with what could not be read collected.

Rules of this file: nothing raises for a value; no message holds a value that may be a secret.
"""

import re
from collections.abc import Mapping
from typing import Any

from kiroproxy.errors import ConfigError

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
# Kiro's refresh tokens are several hundred characters long; the IDE's UI shows them cut.
_SHORTEST_REFRESH_TOKEN = 100


class Fields:
    """Lenient access to one object: null and "" count as absent, numbers may be strings."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.faults: list[ConfigError] = []
        self.warnings: list[ConfigError] = []

    def fault(self, key: str, reason: str, remedy: str) -> None:
        if not self.is_faulty(key):
            self.faults.append(ConfigError(reason, key=key, remedy=remedy))

    def is_faulty(self, key: str) -> bool:
        return any(fault.key == key for fault in self.faults)

    def warn(self, key: str, reason: str, remedy: str) -> None:
        self.warnings.append(ConfigError(reason, key=key, remedy=remedy))

    def text(self, key: str) -> str:
        value = self.raw.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fault(key, "is not a string", 'Put it in "quotes"')
            return ""
        return value.strip()

    def secret(self, key: str) -> str:
        """Return text that will travel in a header, where only visible ASCII can."""
        text = self.text(key)
        if all("!" <= char <= "~" for char in text):
            return text
        self.fault(key, "holds a blank or a character outside ASCII", "Copy it again, whole")
        return ""

    def refresh_token(self) -> str:
        text = self.text("refreshToken")
        return text if is_cut(text) else self.secret("refreshToken")  # cut: a better message

    def region(self, key: str) -> str:
        # It becomes part of a host name: anything else here could send tokens elsewhere.
        text = self.text(key)
        if not text or REGION.fullmatch(text):
            return text
        self.fault(key, "is not an AWS region", 'Write one like "us-east-1"')
        return ""

    def whole(self, key: str) -> int:
        value = self.raw.get(key)
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}\s*", value):
            return int(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1:
            return int(value)
        if value not in (None, ""):
            self.warn(key, "is not a whole number and counts as 0", "Write 0, 1, 2, ...")
        return 0

    def limit(self, key: str, default: int, most: int) -> int:
        """Return a limit, 0 = none; the default where none is named, or none that can be kept."""
        if self.raw.get(key) in (None, ""):
            return default
        value = self.whole(key)
        if 0 <= value <= most:
            return value
        self.warn(key, f"is not from 0 to {most}; {default} is used", "Write 0 for no limit")
        return default

    def amount(self, key: str, default: float, most: float) -> float:
        """Return a number from 0 on; the default where none is named, or none that can be kept."""
        value = self.raw.get(key)
        if value in (None, ""):
            return default
        try:
            number = float(value) if not isinstance(value, bool) else -1.0
        except (TypeError, ValueError):
            number = -1.0
        if 0 <= number <= most:
            return number
        self.warn(key, f"is not from 0 to {most:g}; {default:g} is used", "Write a number")
        return default

    def flag(self, key: str) -> bool:
        value = self.raw.get(key)
        if isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False, "": False}.get(
                value.strip().lower()
            )
        if isinstance(value, (bool, int)):
            return bool(value)
        if key in self.raw and self.raw[key] is not None:
            self.warn(key, "is neither true nor false and counts as false", "Write true or false")
        return False


def is_cut(token: str) -> bool:
    return bool(token) and (len(token) < _SHORTEST_REFRESH_TOKEN or "..." in token or "…" in token)
