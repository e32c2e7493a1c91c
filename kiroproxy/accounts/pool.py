"""The choice of a credential for each try, and what its outcome means for the next choice.

Rules of this file: one event loop, so no locks; no clock, no I/O, no randomness: `now_ms` is an
argument. All live state is in `Slot`; what a fault leads to is the table there.

Theory of operation. `acquire` takes the least used of the best class: in `priority` mode a
class is a priority, in `balanced` mode there is one class. Within it: fewest requests in
flight, then longest not chosen, then smallest id. Never "fewest successes": a credential that
fails would win every choice.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.slot import Slot
from kiroproxy.errors import GatewayError, NoCredential, QuotaExhausted, Throttled


class Lease:
    """The right to use a credential for one request. Order: `release()` always, at the end."""

    __slots__ = ("_is_probe", "_released", "slot")

    def __init__(self, slot: Slot, is_probe: bool) -> None:
        self.slot = slot
        self._is_probe = is_probe
        self._released = False
        slot.in_flight += 1
        if is_probe:
            slot.is_probing = True

    @property
    def credential(self) -> Credential:
        """The present values: a refresh during the lease shows."""
        return self.slot.credential

    def release(self) -> None:
        """Give it back; the second time does nothing."""
        if self._released:
            return
        self._released = True
        self.slot.in_flight -= 1
        if self._is_probe:
            self.slot.is_probing = False


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
    """All credentials with their live state."""

    def __init__(self, credentials: Iterable[Credential], mode: str = "priority") -> None:
        self.mode = mode  # "priority" or "balanced"; may be changed at any time
        self._slots: dict[int, Slot] = {each.id: Slot(each) for each in credentials}
        self._turn = 0

    # -- one request -----------------------------------------------------------------------

    def acquire(self, *, model_id: str, exclude: Collection[int] = (), now_ms: int) -> Lease:
        """Choose a credential. Shape: `exclude` holds ids that this request has used up.

        Raises: Throttled, QuotaExhausted, NoCredential — all are out; see `_why_nobody`.
        Cost: O(slots), one small tuple each.
        """
        best: Slot | None = None
        best_rank: tuple[int, ...] = ()
        for slot in self._slots.values():
            if slot.credential.id in exclude or not slot.is_usable(now_ms):
                continue
            rank = self._rank(slot, now_ms)
            if best is None or rank < best_rank:
                best, best_rank = slot, rank
        if best is None:
            raise self._why_nobody(exclude, now_ms)
        self._turn += 1
        best.turn, best.last_used_ms = self._turn, now_ms
        return Lease(best, is_probe=bool(best.reason))

    def report(self, lease: Lease, error: GatewayError | None, now_ms: int) -> None:
        """Note how a try ended; None = Kiro answered. May be called once for every try."""
        if error is None:
            lease.slot.succeeded(now_ms)
        else:
            lease.slot.failed(error, now_ms)

    def _rank(self, slot: Slot, now_ms: int) -> tuple[int, ...]:
        priority = slot.credential.priority if self.mode == "priority" else 0
        avoided = slot.avoided_until_ms > now_ms
        return (avoided, priority, slot.in_flight, slot.turn, slot.credential.id)

    def _why_nobody(self, exclude: Collection[int], now_ms: int) -> GatewayError:
        enabled = [slot for slot in self._slots.values() if not slot.reason]
        # What this request has not tried yet says more than what it has.
        slots = [s for s in enabled if s.credential.id not in exclude] or enabled
        if not self._slots:
            return NoCredential(
                "No credential is configured. Add one to credentials.json or set KIRO_API_KEY"
            )
        if not slots:
            reasons = sorted({slot.reason for slot in self._slots.values()})
            probes = [s.probe_at_ms for s in self._slots.values() if s.probe_at_ms]
            return NoCredential(
                "Every credential is disabled. Run `kiroproxy check`, see the log, and log in"
                " again or enable one",
                detail="reasons: " + ", ".join(reasons),
                retry_after_s=_seconds(min(probes), now_ms) if probes else None,
            )
        waits = [s.cooling_until_ms for s in slots if s.quota_until_ms <= now_ms]
        if not waits:
            first_ms = min(slot.quota_until_ms for slot in slots)
            return QuotaExhausted(
                "The plan of every credential is used up", retry_after_s=_seconds(first_ms, now_ms)
            )
        if min(waits) <= now_ms:  # usable, but this request has used it up
            return NoCredential("Every usable credential has failed this request")
        return Throttled(
            "Every credential is cooling down; try again later",
            retry_after_s=_seconds(min(waits), now_ms),
        )

    # -- changes from outside --------------------------------------------------------------

    def replace(self, credential: Credential) -> None:
        """Take over new values of one credential, e.g. after a refresh; its state stays."""
        slot = self._slots.get(credential.id)
        if slot:
            slot.renew(credential)

    def sync(self, credentials: Iterable[Credential]) -> None:
        """Become what the file holds now: new ones join, missing ones leave, state stays."""
        present = {each.id: each for each in credentials}
        for id in self._slots.keys() - present.keys():
            del self._slots[id]  # requests in flight keep their lease on the slot
        for id, credential in present.items():
            if id in self._slots:
                self._slots[id].renew(credential)
            else:
                self._slots[id] = Slot(credential)

    def reset(self, id: int) -> None:
        """Forget a credential's faults and enable it, unless its entry cannot be used."""
        self._slots[id].reset()

    def set_quota_reset(self, id: int, at_ms: int) -> None:
        """Correct the guessed reset date of an exhausted plan; Kiro's usage answer has it."""
        slot = self._slots.get(id)
        if slot and slot.quota_until_ms:
            slot.quota_until_ms = at_ms

    # -- for health and admin --------------------------------------------------------------

    def get(self, id: int) -> Credential | None:
        """Return a credential's present values, None if there is none."""
        slot = self._slots.get(id)
        return slot.credential if slot else None

    def snapshot(self, now_ms: int = 0) -> Sequence[View]:
        """Return what is known of every credential, in the order they would be asked."""
        slots = sorted(
            self._slots.values(), key=lambda slot: (slot.credential.priority, slot.credential.id)
        )
        return [_view(slot, now_ms) for slot in slots]


def _view(slot: Slot, now_ms: int) -> View:
    return View(
        credential=slot.credential,
        in_flight=slot.in_flight,
        successes=slot.successes,
        failures=slot.failures,
        refresh_failures=slot.refresh_failures,
        last_used_ms=slot.last_used_ms,
        cooling_until_ms=slot.cooling_until_ms,
        quota_until_ms=slot.quota_until_ms,
        disabled_reason=slot.disabled_reason(now_ms),
        is_usable=slot.is_usable(now_ms),
    )


def _seconds(until_ms: int, now_ms: int) -> float:
    return max(until_ms - now_ms, 0) / 1000
