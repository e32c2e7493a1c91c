"""kiro_balance_cache.json: what Kiro last said of each plan, shared by workers and restarts.

Rules of this file: a cache and nothing else: a file that is lost, damaged or not writable costs
a question to Kiro, never an error. Blocking: call from a thread when an event loop runs.

Source: the place and the name are those of the family's gateways; the content is ours.
"""

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from kiroproxy.accounts.balance import Balance, restored, stored
from kiroproxy.accounts.file import GuardedFile, Signature
from kiroproxy.errors import ConfigError

log = logging.getLogger(__name__)

NAME = "kiro_balance_cache.json"


class BalanceFile:
    """The file beside credentials.json. Shape: balances by credential id."""

    def __init__(self, credentials_path: Path) -> None:
        self._file = GuardedFile(credentials_path.resolve().with_name(NAME))
        self._seen: Signature | None = None
        self._balances: dict[int, Balance] = {}

    def read(self) -> dict[int, Balance]:
        """Return what is known. Cost: one stat where nothing has changed."""
        with contextlib.suppress(ConfigError):
            found = self._file.signature()
            if found != self._seen:
                self._balances, self._seen = self._load(), found
        return self._balances

    def put(self, id: int, balance: Balance) -> None:
        """Keep an answer; what other workers have written meanwhile stays."""
        self._balances = {**self._balances, id: balance}
        try:
            with self._file.locked(_is_whole):
                self._balances = {**self._load(), id: balance}
                self._file.write(_encoded(self._balances))
                self._seen = self._file.signature()
        except (ConfigError, OSError) as fault:
            log.debug("balances are kept in memory only: %s", fault)

    def _load(self) -> dict[int, Balance]:
        text = ""
        with contextlib.suppress(ConfigError):  # it is no text, or not ours to read
            text = self._file.read() or ""
        found = _decoded(text)
        read = {int(id): restored(value) for id, value in found.items() if id.isdecimal()}
        return {id: balance for id, balance in read.items() if balance is not None}


def _encoded(balances: dict[int, Balance]) -> bytes:
    entries = {str(id): stored(balance) for id, balance in sorted(balances.items())}
    return (json.dumps(entries, indent=1) + "\n").encode()


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_whole(data: bytes) -> bool:
    return bool(_decoded(data.decode("utf-8", "replace")))
