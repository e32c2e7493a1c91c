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

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kiroproxy._ring import Ring, RingFull
from kiroproxy._roster import Roster
from kiroproxy.accounts.balance import Balance
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.entitlement import Entitlements
from kiroproxy.accounts.page import private_ring
from kiroproxy.accounts.slot import (
    PROBE_AFTER_MS,
    PROBED,
    QUOTA_CAP_MS,
    REASONS,
    REMOVED,
    TOO_MANY_FAILURES,
    Slot,
    State,
    start_of_next_month,
)
from kiroproxy.errors import (
    ConfigError,
    GatewayError,
    ModelRefused,
    NoCredential,
    NotFound,
    QuotaExhausted,
    RefreshFailed,
    Throttled,
)

# A request ends, or a minute moves on: sooner than that is a guess.
_BUSY_S = 1.0
# A plan that Kiro refused although it has credits: how long before one request may try again.
_REFUSED_MS = 3_600_000
# What Kiro refused to an account is asked of it again after that: plans change, lists come late.
_DENIED_MS = 3_600_000
_MODELS_MAX = 1000
_LOOKED_AT = 64  # credentials, in order to say what everybody suffers from


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


@dataclass(frozen=True, slots=True)
class _Choice:
    """Who may be asked. Shape: `order` is by position in the roster."""

    order: list[Slot]
    roster: Roster


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
        # Called with a credential whose plan Kiro called used up without saying until when.
        self.on_exhausted: Callable[[Credential], None] = lambda credential: None
        self._ring = ring or private_ring()
        self._slots: dict[int, Slot] = {}
        self._everybody = _Choice([], Roster(self._ring, [], PROBED, PROBE_AFTER_MS))
        self._choices: dict[str, _Choice] = {}  # by model id, where somebody lacks the model
        self._knowledge = self.entitlements.version
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
        Raises: Throttled, RefreshFailed, QuotaExhausted, NoCredential — all are out, see
                `_why_nobody`;
            NotFound — none of them may use the model.
        Cost: see `Roster.take`; one lease is allocated. The first choice for a model that some
            lack costs O(slots), until something becomes known anew.
        """
        return Lease(*self.lease(model_id, conversation, now_ms, exclude))

    def lease(
        self, model_id: str, conversation: str, now_ms: int, exclude: Collection[int] = ()
    ) -> tuple[Slot, bool]:
        """Choose a credential as `acquire` does, for who gives it back to the ring himself.

        Shape: returns its slot, and whether this request is to prove it well.
        """
        known = self.entitlements
        known.expire(now_ms)
        choice = self._choices.get(model_id) if known.version == self._knowledge else None
        if choice is None:
            choice = self._choice(model_id)
        if not choice.order and self._slots:
            raise NotFound(f"model: {model_id} is not included in the plan of any credential")
        excluded = self._indices(exclude) if exclude else ()
        taken = choice.roster.take(now_ms, conversation, self.mode != "priority", excluded)
        if taken < 0:
            raise self._why_nobody(choice, excluded, now_ms)
        return choice.order[taken >> 1], bool(taken & 1)

    def report(self, lease: Lease, error: GatewayError | None, now_ms: int) -> None:
        """Note how a try ended; None = Kiro answered. May be called once for every try."""
        if error is None:
            lease.slot.succeeded(now_ms)
            return
        self.note(lease.credential.id, error, now_ms)

    def note(self, id: int, error: GatewayError, now_ms: int) -> None:
        """Note what happened to a credential outside of a request."""
        slot = self._slots.get(id)
        if slot is None:
            return
        slot.failed(error, now_ms)
        if isinstance(error, ModelRefused) and error.model_id:
            self.entitlements.deny(id, error.model_id, now_ms + _DENIED_MS)
        if isinstance(error, QuotaExhausted) and error.retry_after_s is None:
            self.on_exhausted(slot.credential)

    def _choice(self, model_id: str) -> "_Choice":
        """Return who may be asked for a model: everybody not known to lack it."""
        known = self.entitlements
        if known.version != self._knowledge:
            self._knowledge = known.version
            self._choices.clear()
        found = self._choices.get(model_id)
        if found is None:
            order = self._everybody.order
            able = [s for s in order if known.capable(s.credential.id, model_id) is not False]
            found = self._everybody if len(able) == len(order) else self._arranged(able)
            if len(self._choices) >= _MODELS_MAX:  # names are the catalogue's; this is a fuse
                self._choices.clear()
            self._choices[model_id] = found
        return found

    def _indices(self, ids: Collection[int]) -> list[int]:
        return [self._slots[id].index for id in ids if id in self._slots]

    def _why_nobody(
        self, choice: "_Choice", excluded: Collection[int], now_ms: int
    ) -> GatewayError:
        """Say what the client can do; what this request has not tried yet counts for more."""
        if not self._slots:
            return NoCredential(
                "No credential is configured. Add one to credentials.json or set KIRO_API_KEY"
            )
        enabled, wait_ms, quota_ms, reasons, probe_ms = choice.roster.outlook(now_ms, excluded)
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
                "Your credit balance is too low: the Kiro plan of every credential is used up",
                retry_after_s=_seconds(quota_ms, now_ms),
            )
        if wait_ms > now_ms and self._is_login_down(choice):
            return RefreshFailed(
                "The login service does not answer for any account; try again later",
                retry_after_s=_seconds(wait_ms, now_ms),
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

    def _is_login_down(self, choice: "_Choice") -> bool:
        """Say whether it is not Kiro that makes everybody wait. Cost: bounded, on failures only."""
        states = [slot.state for slot in choice.order[:_LOOKED_AT]]
        waiting = [state for state in states if not state.reason and not state.quota_until_ms]
        return bool(waiting) and all(state.refresh_failures for state in waiting)

    # -- changes from outside --------------------------------------------------------------

    def replace(self, credential: Credential) -> None:
        """Take over new values of one credential, e.g. after a refresh; its state stays.

        The other workers see it as `stale`.
        """
        slot = self._slots.get(credential.id)
        if slot:
            self._renew(slot, credential)
            self._announce(slot)

    def _announce(self, slot: Slot) -> None:
        generation = self._ring.announce(slot.index)
        if generation == slot.generation + 1:  # else another worker's is still unread
            slot.generation = generation

    def replace_many(self, credentials: Iterable[Credential]) -> None:
        """Take over new values of several credentials; the order is put together once."""
        for credential in credentials:
            slot = self._slots.get(credential.id)
            if slot:
                slot.renew(credential)
                self._announce(slot)
        self._arrange()

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

    def serving(self) -> list[Credential]:
        """Return the credentials in use, now or when some wait is over, in order of choice."""
        return [slot.credential for slot in self._everybody.order if self._may_serve(slot)]

    @staticmethod
    def _may_serve(slot: Slot) -> bool:
        return slot.reason in ("", TOO_MANY_FAILURES)

    def is_enabled(self, id: int) -> bool:
        """Say whether a credential is in use, now or when some wait is over."""
        slot = self._slots.get(id)
        return slot is not None and self._may_serve(slot)

    def is_exhausted(self, id: int, now_ms: int) -> bool:
        """Say whether a credential waits for its plan to begin anew."""
        slot = self._slots.get(id)
        return slot is not None and slot.state.quota_until_ms > now_ms

    def settle(
        self, id: int, balance: Balance, now_ms: int, *, after_refusal: bool = False
    ) -> bool:
        """Take a credential out, or let it prove itself, by what is left of its plan.

        Shape: returns whether it is out; `after_refusal` = Kiro has just called it used up.
        """
        slot = self._slots.get(id)
        if slot is None:
            return False
        kept = slot.credential.min_remaining_credits, slot.credential.min_remaining_percent
        if balance.is_spent or balance.is_below(*kept):
            later = balance.next_reset_ms
            # A date that is further away than any month is asked about again before it comes.
            until_ms = min(later, now_ms + QUOTA_CAP_MS)
            if later <= now_ms:
                until_ms = start_of_next_month(now_ms)
            self._ring.exhaust(slot.index, until_ms)
            return True
        if slot.state.quota_until_ms > now_ms:
            self._ring.exhaust(slot.index, now_ms + (_REFUSED_MS if after_refusal else 0))
        return after_refusal

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
        order = sorted(
            self._slots.values(), key=lambda slot: (slot.credential.priority, slot.credential.id)
        )
        self._everybody = self._arranged(order)
        self._choices.clear()

    def _arranged(self, order: list[Slot]) -> "_Choice":
        members = [(slot.index, *_terms(slot.credential)) for slot in order]
        return _Choice(order, Roster(self._ring, members, PROBED, PROBE_AFTER_MS))

    # -- for health and admin --------------------------------------------------------------

    def get(self, id: int) -> Credential | None:
        """Return a credential's present values, None if there is none."""
        slot = self._slots.get(id)
        return slot.credential if slot else None

    def counts(self, now_ms: int) -> tuple[int, int]:
        """Return how many credentials there are, and how many could serve now."""
        return len(self._everybody.order), self._everybody.roster.usable(now_ms)

    def state(self, id: int) -> State | None:
        """Return one credential's slot's values, None if there is none."""
        slot = self._slots.get(id)
        return slot.state if slot else None

    def states(self) -> list[tuple[Credential, State]]:
        """Return every credential and its slot's values, in the order they would be asked."""
        return [(slot.credential, slot.state) for slot in self._everybody.order]

    def snapshot(self, now_ms: int = 0) -> Sequence[View]:
        """Return what is known of every credential, in the order they would be asked."""
        return [_view(slot, now_ms) for slot in self._everybody.order]


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
