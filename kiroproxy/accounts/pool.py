"""The choice of a credential for each try, and what its outcome means for the next choice.

Rules of this file: no clock, no I/O, no randomness: `now_ms` is an argument. All live state is
in the ring, which every worker shares; what is kept here is what the credentials file says.

Theory of operation. `acquire` takes the best of the best class: in `priority` mode a class is a
priority, in `balanced` mode there is one class. Within it: the one a conversation always goes
to, if it says which conversation it is; else fewest requests in flight, then longest not
chosen, then smallest id. Never "fewest successes": a credential that fails would win every
choice. A credential at its limit of requests, in flight or a minute, is not asked.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kiroproxy._ring import Ring, RingFull
from kiroproxy._roster import Roster
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.entitlement import Entitlements
from kiroproxy.accounts.page import private_ring
from kiroproxy.accounts.slot import PROBE_AFTER_MS, PROBED, REASONS, REMOVED, Slot
from kiroproxy.errors import ConfigError, GatewayError, NoCredential, QuotaExhausted, Throttled

# A request ends, or a minute moves on: sooner than that is a guess.
_BUSY_S = 1.0


class Lease:
    """The right to use a credential for one request. Order: `release()` always, at the end."""

    __slots__ = ("_is_probe", "_released", "slot")

    def __init__(self, slot: Slot, is_probe: bool) -> None:
        self.slot = slot
        self._is_probe = is_probe
        self._released = False

    @property
    def credential(self) -> Credential:
        """The present values: a refresh during the lease shows."""
        return self.slot.credential

    def release(self) -> None:
        """Give it back; the second time does nothing."""
        if not self._released:
            self._released = True
            self.slot.ring.release(self.slot.index, self._is_probe)


@dataclass(frozen=True, slots=True)
class View:
    """One credential as health and admin answers show it. Units: *_ms since epoch, 0 = never."""

    credential: Credential
    in_flight: int
    successes: int
    failures: int
    refresh_failures: int
    last_used_ms: int
    cooling_until_ms: int
    quota_until_ms: int
    disabled_reason: str  # "" = enabled
    is_usable: bool


class Pool:
    """All credentials with their live state.

    Shape: `ring` is the page that the workers share; without one, a page of this pool alone.
    Raises: ConfigError — more credentials than a page has slots; also in `sync`.
    """

    def __init__(
        self,
        credentials: Iterable[Credential],
        mode: str = "priority",
        ring: Ring | None = None,
        entitlements: Entitlements | None = None,
    ) -> None:
        self.entitlements = entitlements or Entitlements()  # what each may use, where known
        self.mode = mode  # "priority" or "balanced"; may be changed at any time
        self._ring = ring or private_ring()
        self._slots: dict[int, Slot] = {}
        self._order: list[Slot] = []  # by position in the roster
        self._changes = self._ring.changes
        self._edition = self._ring.edition
        self._admit(credentials)

    # -- one request -----------------------------------------------------------------------

    def acquire(
        self, *, model_id: str, exclude: Collection[int] = (), now_ms: int, conversation: str = ""
    ) -> Lease:
        """Choose a credential.

        Shape: `exclude` holds ids that this request has used up; requests of one `conversation`
        go to one credential as long as it is usable.
        Raises: Throttled, QuotaExhausted, NoCredential — all are out; see `_why_nobody`.
        Cost: see `Roster.take`; one lease is allocated.
        """
        excluded = self._indices(exclude) if exclude else ()
        taken = self._roster.take(now_ms, conversation, self.mode != "priority", excluded)
        if taken < 0:
            raise self._why_nobody(excluded, now_ms)
        return Lease(self._order[taken >> 1], bool(taken & 1))

    def report(self, lease: Lease, error: GatewayError | None, now_ms: int) -> None:
        """Note how a try ended; None = Kiro answered. May be called once for every try."""
        if error is None:
            lease.slot.succeeded(now_ms)
        else:
            lease.slot.failed(error, now_ms)

    def _indices(self, ids: Collection[int]) -> list[int]:
        return [self._slots[id].index for id in ids if id in self._slots]

    def _why_nobody(self, excluded: Collection[int], now_ms: int) -> GatewayError:
        """Say what the client can do; what this request has not tried yet counts for more."""
        if not self._slots:
            return NoCredential(
                "No credential is configured. Add one to credentials.json or set KIRO_API_KEY"
            )
        enabled, wait_ms, quota_ms, reasons, probe_ms = self._roster.outlook(now_ms, excluded)
        if not enabled:
            names = sorted(name for bit, name in enumerate(REASONS) if reasons >> bit & 1)
            return NoCredential(
                "Every credential is disabled. Run `kiroproxy check`, see the log, and log in"
                " again or enable one",
                detail="reasons: " + ", ".join(names),
                retry_after_s=_seconds(probe_ms, now_ms) if probe_ms >= 0 else None,
            )
        if wait_ms < 0:
            return QuotaExhausted(
                "The plan of every credential is used up", retry_after_s=_seconds(quota_ms, now_ms)
            )
        if wait_ms > now_ms:
            return Throttled(
                "Every credential is cooling down or at its limit; try again later",
                retry_after_s=_seconds(wait_ms, now_ms),
            )
        if excluded:  # usable, but this request has used it up
            return NoCredential("Every usable credential has failed this request")
        # It became usable since the choice, or another worker is in the middle of one.
        return Throttled("Every credential is at its limit", retry_after_s=_BUSY_S)

    # -- changes from outside --------------------------------------------------------------

    def replace(self, credential: Credential) -> None:
        """Take over new values of one credential, e.g. after a refresh; its state stays.

        The other workers see it as `stale`.
        """
        slot = self._slots.get(credential.id)
        if slot:
            self._renew(slot, credential)
            generation = self._ring.announce(slot.index)
            if generation == slot.generation + 1:  # else another worker's is still unread
                slot.generation = generation

    def stale(self) -> list[tuple[int, int]]:
        """Return (id, generation) of what other workers have replaced. Cost: one load if none."""
        changes = self._ring.changes
        if changes == self._changes:
            return []
        now = [(slot, self._ring.generation(slot.index)) for slot in self._slots.values()]
        found = [(slot.credential.id, made) for slot, made in now if made != slot.generation]
        if not found:
            self._changes = changes
        return found

    def adopt(self, credential: Credential, generation: int) -> None:
        """Take over what another worker has replaced, as read from the file after `stale`."""
        slot = self._slots.get(credential.id)
        if slot:
            self._renew(slot, credential)
            slot.generation = generation

    def sync(self, credentials: Iterable[Credential]) -> None:
        """Become what the file holds now: new ones join, missing ones leave, state stays."""
        present = list(credentials)
        ids = {each.id for each in present}
        for id in self._slots.keys() - ids:
            self._slots.pop(id).disable(REMOVED, 0)  # requests in flight keep their lease on it
        self._admit(present)
        self._ring.announce_edition()

    def announce(self) -> None:
        """Have the other workers look at the files."""
        self._ring.announce_edition()

    def is_outdated(self) -> bool:
        """Say, once each time, whether some worker has taken over a change of a file."""
        seen, self._edition = self._edition, self._ring.edition
        return seen != self._edition

    def reset(self, id: int) -> None:
        """Forget a credential's faults and enable it, unless its entry cannot be used."""
        self._slots[id].reset()

    def set_quota_reset(self, id: int, at_ms: int) -> None:
        """Correct the guessed reset date of an exhausted plan; Kiro's usage answer has it."""
        slot = self._slots.get(id)
        if slot and slot.state.quota_until_ms:
            self._ring.exhaust(slot.index, at_ms)

    def _admit(self, credentials: Iterable[Credential]) -> None:
        try:
            for credential in credentials:
                slot = self._slots.get(credential.id)
                if slot:
                    slot.renew(credential)
                else:
                    self._slots[credential.id] = Slot(self._ring, credential)
        except RingFull as fault:
            raise ConfigError(
                f"more than {self._ring.capacity} credentials were configured since the start",
                remedy="Use fewer, or restart if many were replaced",
            ) from fault
        finally:
            self._arrange()

    def _renew(self, slot: Slot, credential: Credential) -> None:
        before = slot.credential
        slot.renew(credential)
        if _terms(before) != _terms(credential):
            self._arrange()

    def _arrange(self) -> None:
        """Put the order of choice together anew. Cost: O(slots log slots), on changes only."""
        self._order = sorted(
            self._slots.values(), key=lambda slot: (slot.credential.priority, slot.credential.id)
        )
        members = [(slot.index, *_terms(slot.credential)) for slot in self._order]
        self._roster = Roster(self._ring, members, PROBED, PROBE_AFTER_MS)

    # -- for health and admin --------------------------------------------------------------

    def get(self, id: int) -> Credential | None:
        """Return a credential's present values, None if there is none."""
        slot = self._slots.get(id)
        return slot.credential if slot else None

    def counts(self, now_ms: int) -> tuple[int, int]:
        """Return how many credentials there are, and how many could serve now."""
        return len(self._order), self._roster.usable(now_ms)

    def snapshot(self, now_ms: int = 0) -> Sequence[View]:
        """Return what is known of every credential, in the order they would be asked."""
        return [_view(slot, now_ms) for slot in self._order]


def _terms(credential: Credential) -> tuple[int, int, int]:
    """Return what of a credential the choice depends on."""
    return (credential.priority, credential.max_concurrency, credential.rpm)


def _view(slot: Slot, now_ms: int) -> View:
    state = slot.state
    return View(
        credential=slot.credential,
        in_flight=state.in_flight,
        successes=state.successes,
        failures=state.failures,
        refresh_failures=state.refresh_failures,
        last_used_ms=state.last_used_ms,
        cooling_until_ms=state.cooling_until_ms,
        quota_until_ms=state.quota_until_ms,
        disabled_reason=state.disabled_reason(now_ms),
        is_usable=state.is_usable(now_ms),
    )


def _seconds(until_ms: int, now_ms: int) -> float:
    return max(until_ms - now_ms, 0) / 1000
