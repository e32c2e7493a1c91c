"""Which models each credential may use, as far as Kiro has said.

Rules of this file: memory of this process only; it knows ids and nothing else. What was never
asked is unknown, which is neither yes nor no: a choice may not pass by a credential for it. A
refusal outweighs a listing, for a while: lists have named models that were refused.

Source: Kiro's ListAvailableModels, whose answer depends on plan, region and egress address.
"""

from collections.abc import Collection


class Entitlements:
    """The model ids by credential. Order: `learn` whenever a listing came, from one loop."""

    def __init__(self) -> None:
        self._models: dict[int, frozenset[str]] = {}
        self._denied_until_ms: dict[tuple[int, str], int] = {}
        self._next_expiry_ms = 2**62
        self.version = 0  # changes whenever an answer of `capable` may

    def learn(self, credential_id: int, model_ids: Collection[str]) -> None:
        """Take over a listing; an empty one says nothing, for no account is offered nothing."""
        known = frozenset(model_ids)
        if known and self._models.get(credential_id) != known:
            self._models[credential_id] = known
            self.version += 1

    def deny(self, credential_id: int, model_id: str, until_ms: int) -> None:
        """Note that Kiro refused a model to a credential."""
        self._denied_until_ms[credential_id, model_id] = until_ms
        self._next_expiry_ms = min(self._next_expiry_ms, until_ms)
        self.version += 1

    def expire(self, now_ms: int) -> None:
        """Forget refusals whose time is over. Cost: one comparison, as a rule."""
        if now_ms < self._next_expiry_ms:
            return
        left = {key: until for key, until in self._denied_until_ms.items() if until > now_ms}
        self._denied_until_ms = left
        self._next_expiry_ms = min(left.values(), default=2**62)
        self.version += 1

    def forget(self, credential_id: int) -> None:
        """Know nothing of a credential any more: it is gone, or another account's by now."""
        self._models.pop(credential_id, None)
        for key in [key for key in self._denied_until_ms if key[0] == credential_id]:
            del self._denied_until_ms[key]
        self.version += 1

    def capable(self, credential_id: int, model_id: str) -> bool | None:
        """Tell whether a credential may use a model, by Kiro's id. None: nobody knows."""
        if (credential_id, model_id) in self._denied_until_ms:
            return False
        offered = self._models.get(credential_id)
        return None if offered is None or not model_id else model_id in offered
