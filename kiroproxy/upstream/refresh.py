"""Access tokens that are fresh when they are needed, renewed once for everybody.

Rules of this file: one flight for a credential, however many requests wait, in this process
and, by a lock file, in all of them. A rotated refresh token is on disk before the new access
token is used. A request that leaves does not cancel a flight: an answer that nobody reads is a
token that nobody has.

Theory of operation, by what is left of the access token:
  advisory window   (10 min, less some jitter)  a flight starts, nobody waits for it
  mandatory window  (2 min)                     everybody waits, once a minute if it fails
  forced            Kiro rejected the token     everybody waits, unless it was replaced already
Both windows shrink with a token known to live shorter. A flight takes the lock, reads the file
again and adopts a token that somebody else renewed; else it asks the auth service. On
`invalid_grant` the file is read once more — the IDE may have rotated the token in between —
and only a second refusal is the credential's end. What passes by itself is `RefreshFailed`, and
an access token that still lives is used meanwhile. A process that could not write a new token
down keeps the lock until it could.

Source: botocore's token provider for the two windows; Kiro's social auth service and AWS SSO
OIDC (camelCase bodies) for the calls, described in `login`.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.lock import FileLock
from kiroproxy.accounts.store import NotSaved, Store
from kiroproxy.config import Source
from kiroproxy.errors import ConfigError, CredentialDead, GatewayError, RefreshFailed
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.login import Tokens, renew

log = logging.getLogger(__name__)

_ADVISORY_MS: Final = 600_000
_MANDATORY_MS: Final = 120_000
# A token somebody else renewed is taken unless it would run out under the request.
_TOO_SHORT_MS: Final = 10_000
# After a failed flight, while the token lives: every request would wait for the next failure.
_QUIET_MS: Final = 60_000
_QUIET_CAP_MS: Final = 300_000
_LOCK_POLL_S, _LOCK_TIMEOUT_S = 0.05, 75.0  # longer than a holder's call may take
_RESCUE_S = 30.0  # between tries to write what could not be written
_CLOSE_S = 20.0


def _quiet_ms(told_s: float | None) -> int:
    return min(max(_QUIET_MS, int((told_s or 0) * 1000)), _QUIET_CAP_MS)


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Refresher:
    """Order: `aclose()` at the end: it waits for flights, whose tokens would be lost."""

    def __init__(
        self,
        store: Store,
        control: ControlPlane,
        config: Source,
        *,
        on_renewed: Callable[[Credential], None] = lambda credential: None,
        on_landed: Callable[[str], None] = lambda outcome: None,
        now_ms: Callable[[], int] = wall_clock_ms,
        jitter: Callable[[], float] = random.random,
        ids: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._store = store
        self._control = control
        self._source = config
        self._on_renewed = on_renewed
        self._on_landed = on_landed  # told "renewed", "adopted", "failed" or "dead"
        self._now_ms = now_ms
        self._jitter = jitter
        self._ids = ids
        self._flights: dict[int, asyncio.Task[Credential]] = {}
        self._windows: dict[int, tuple[int, int]] = {}  # advisory, mandatory
        self._quiet_until_ms: dict[int, int] = {}
        self._adopted: set[int] = set()  # whose latest token somebody else has renewed
        self._held: dict[int, FileLock] = {}  # of renewed tokens that only this process has
        self._rescue: asyncio.Task[None] | None = None

    async def fresh(
        self, credential: Credential, *, force: bool = False, rejected_token: str = ""
    ) -> Credential:
        """Return the credential with an access token that will do for a request.

        Shape: `rejected_token` is the one Kiro refused; if the credential holds another one by
        now, that one is returned. `force` without it means: whatever it holds is refused.
        Raises: RefreshFailed — passes by itself; CredentialDead — only a new login helps.
        Cost: one dictionary lookup while the token is fresh.
        """
        if credential.auth_method == "api_key":
            return credential
        if force and not rejected_token:
            rejected_token = credential.access_token
        if credential.access_token != rejected_token:
            advisory_ms, mandatory_ms = self._windows_of(credential.id)
            left_ms = credential.expires_in_ms(self._now_ms())
            if left_ms <= advisory_ms and left_ms > mandatory_ms:
                self._renew_in_background(credential)
            if left_ms > mandatory_ms or (left_ms > 0 and self._is_quiet(credential.id)):
                return credential
        for _ in range(2):  # a flight that others had started may bring the rejected token back
            try:
                renewed = await asyncio.shield(self._flight(credential, rejected_token))
            except RefreshFailed:
                if not rejected_token and credential.expires_in_ms(self._now_ms()) > 0:
                    return credential
                raise
            if renewed.access_token != rejected_token:
                return renewed
        raise RefreshFailed("Kiro rejects the token it has just issued", detail=credential.name)

    def fresh_until_ms(self, credential: Credential) -> int:
        """Return until when fresh() will return the credential as it is, and start nothing."""
        if credential.auth_method == "api_key":
            return 2**62
        windows = self._windows.get(credential.id)
        if windows is None or not credential.access_token:
            return 0
        return (credential.expires_at_ms or 0) - max(windows)

    def is_due(self, credential: Credential) -> bool:
        """Say whether a token should be renewed although nobody needs it yet."""
        if credential.auth_method == "api_key" or self._is_quiet(credential.id):
            return False
        advisory_ms, _ = self._windows_of(credential.id)
        return credential.expires_in_ms(self._now_ms()) <= advisory_ms

    async def renew_ahead(self, credential: Credential) -> None:
        """Renew a token that is due, waiting for the end of it. Raises: as `fresh`."""
        await asyncio.shield(self._flight(credential, ""))

    def is_renewing(self, id: int) -> bool:
        """Say whether a credential's token is being renewed, in this process."""
        return id in self._flights

    async def aclose(self) -> None:
        """Let flights land, then write what could not be written before."""
        if self._flights:
            await asyncio.wait(list(self._flights.values()), timeout=_CLOSE_S)
        if self._rescue:
            self._rescue.cancel()
            with suppress(asyncio.CancelledError):
                await self._rescue
        if not await asyncio.to_thread(self._store.save_unsaved):
            log.error("%s: a renewed token could not be written and is lost", self._store.path)
        while self._held:
            self._held.popitem()[1].release()

    # -- when ------------------------------------------------------------------------------

    def _windows_of(self, id: int) -> tuple[int, int]:
        windows = self._windows.get(id)
        return windows or self._set_windows(id, 2**62)

    def _set_windows(self, id: int, lifetime_ms: int) -> tuple[int, int]:
        """Fix both windows until the next token; jitter keeps workers from starting together."""
        advisory_ms = min(_ADVISORY_MS, lifetime_ms // 3) * (0.8 + 0.2 * self._jitter())
        self._windows[id] = int(advisory_ms), min(_MANDATORY_MS, lifetime_ms // 10)
        return self._windows[id]

    def _renew_in_background(self, credential: Credential) -> None:
        if not self._is_quiet(credential.id):
            self._flight(credential, "")

    def _is_quiet(self, id: int) -> bool:
        """Say whether a flight failed a moment ago; a token that lives does without another."""
        return self._quiet_until_ms.get(id, 0) > self._now_ms()

    # -- one flight ------------------------------------------------------------------------

    def _flight(self, credential: Credential, rejected_token: str) -> asyncio.Task[Credential]:
        """Return the credential's flight, a new one if none is under way."""
        id = credential.id
        task = self._flights.get(id)
        if task is None:
            task = asyncio.create_task(self._fly(credential, rejected_token), name=f"refresh {id}")
            self._flights[id] = task
            task.add_done_callback(lambda done: self._landed(credential, done))
        return task

    def _landed(self, credential: Credential, task: asyncio.Task[Credential]) -> None:
        del self._flights[credential.id]
        if task.cancelled():
            return
        fault = task.exception()
        if fault is None:
            self._quiet_until_ms.pop(credential.id, None)
            self._on_landed("adopted" if credential.id in self._adopted else "renewed")
            self._on_renewed(task.result())
            return
        self._on_landed("dead" if isinstance(fault, CredentialDead) else "failed")
        told_s = fault.retry_after_s if isinstance(fault, GatewayError) else None
        self._quiet_until_ms[credential.id] = self._now_ms() + _quiet_ms(told_s)
        detail = fault.detail if isinstance(fault, GatewayError) else ""
        log.warning("credential %s was not renewed: %s (%s)", credential.name, fault, detail)

    async def _fly(self, asked: Credential, rejected_token: str) -> Credential:
        if asked.fault:
            raise CredentialDead("The credential cannot be used", detail=asked.fault)
        async with self._lock(asked):
            found = await self._reread(asked)
            if self._is_adoptable(found, asked, rejected_token):
                return self._adopt(found)
            try:
                return await self._renew(found)
            except CredentialDead:
                again = await self._reread(asked)
                if again.refresh_token == found.refresh_token:
                    raise
                if self._is_adoptable(again, asked, rejected_token):
                    return self._adopt(again)
                return await self._renew(again)

    @asynccontextmanager
    async def _lock(self, credential: Credential) -> AsyncIterator[None]:
        """Keep other processes out; one that dies lets go. Raises: RefreshFailed — too long."""
        held = self._held.pop(credential.id, None)
        lock = held or self._store.refresh_lock(credential.id)
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        try:
            while held is None and not await asyncio.to_thread(lock.try_acquire):
                if time.monotonic() >= deadline:
                    raise RefreshFailed(
                        "Another process holds the credential", detail=f"lock {lock.path}"
                    )
                await asyncio.sleep(_LOCK_POLL_S)
        except OSError as fault:
            # Alone, this is harmless; several processes without a lock would rotate the token
            # away from each other.
            log.warning("%s cannot be locked (%s): run one process only", lock.path, fault)
        try:
            yield
        finally:
            if self._store.is_unsaved(credential.id):
                # The file still holds the spent token: whoever traded it again would end the login.
                self._held[credential.id] = lock
            else:
                lock.release()

    def _let_go(self) -> None:
        """Let other processes renew what they can read by now."""
        for id in [id for id in self._held if not self._store.is_unsaved(id)]:
            self._held.pop(id).release()

    async def _reread(self, asked: Credential) -> Credential:
        try:
            found = await asyncio.to_thread(self._store.reload_one, asked.id)
        except ConfigError as fault:
            # A token renewed now could not be written down: better late than lost.
            raise RefreshFailed("The credential file cannot be read", detail=str(fault)) from fault
        if found is None:
            raise RefreshFailed(
                "The credential was removed", detail=f"{asked.name} is not in {self._store.path}"
            )
        if found.fault:  # a bad edit: what is in memory serves on, until somebody mends the file
            raise RefreshFailed(
                "The credential's entry cannot be used", detail=f"{asked.name}: {found.fault}"
            )
        return found

    def _is_adoptable(self, found: Credential, asked: Credential, rejected_token: str) -> bool:
        left_ms = found.expires_in_ms(self._now_ms())
        if found.access_token in ("", rejected_token):
            return False
        if found.access_token != asked.access_token:
            return left_ms > _TOO_SHORT_MS
        return left_ms > self._windows_of(asked.id)[0]

    def _adopt(self, found: Credential) -> Credential:
        self._set_windows(found.id, found.expires_in_ms(self._now_ms()))
        self._adopted.add(found.id)
        log.info("credential %s: took over a token renewed elsewhere", found.name)
        return found

    async def _renew(self, old: Credential) -> Credential:
        asked_at_ms = self._now_ms()
        tokens = await renew(old, self._control, self._source.current, self._ids(), asked_at_ms)
        saved = await self._write_down(old, tokens)
        self._set_windows(old.id, tokens.expires_at_ms - asked_at_ms)
        self._adopted.discard(old.id)
        log.info("credential %s: token renewed until %s", old.name, rfc3339(tokens.expires_at_ms))
        return saved

    async def _write_down(self, old: Credential, tokens: Tokens) -> Credential:
        """Make the new tokens durable; keep them in memory, loudly, where that fails."""
        changes = tokens.as_fields()
        try:
            saved = await asyncio.to_thread(
                self._store.update, old.id, changes, replacing=old.refresh_token
            )
        except NotSaved as fault:
            log.error(
                "credential %s: the renewed token is in memory only and is LOST at exit: %s",
                old.name,
                fault,
            )
            self._start_rescue()
            return fault.credential
        except ConfigError:
            if self._store.entry(old.id):
                raise
            # Deleted while its token was traded: whoever waited for it is served all the same.
            log.info("credential %s: deleted meanwhile", old.name)
            return replace(
                old, access_token=tokens.access_token, expires_at_ms=tokens.expires_at_ms
            )
        if saved.access_token == tokens.access_token:
            return saved
        log.warning("credential %s: somebody wrote another login meanwhile; it stays", old.name)
        if saved.expires_in_ms(self._now_ms()) > _TOO_SHORT_MS:
            return saved
        return replace(saved, access_token=tokens.access_token, expires_at_ms=tokens.expires_at_ms)

    # -- a file that cannot be written -----------------------------------------------------

    def _start_rescue(self) -> None:
        if self._rescue is None or self._rescue.done():
            self._rescue = asyncio.create_task(self._rescue_unsaved(), name="rescue tokens")

    async def _rescue_unsaved(self) -> None:
        while True:
            if await asyncio.to_thread(self._store.save_unsaved):
                break
            await asyncio.sleep(_RESCUE_S)
        self._let_go()
        log.warning("%s: the renewed token is written now", self._store.path)
