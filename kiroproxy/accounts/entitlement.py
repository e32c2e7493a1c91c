"""Which models each credential may use, as far as Kiro has said.

Rules of this file: memory of this process only; it knows ids and nothing else. What was never
asked is unknown, which is neither yes nor no: a choice may not pass by a credential for it.

Source: Kiro's ListAvailableModels, whose answer depends on plan, region and egress address.
"""

from collections.abc import Collection


class Entitlements:
    """The model ids by credential. Order: `learn` whenever a listing came, from one loop."""

    def __init__(self) -> None:
        self._models: dict[int, frozenset[str]] = {}

    def learn(self, credential_id: int, model_ids: Collection[str]) -> None:
        """Take over a listing; an empty one says nothing, for no account is offered nothing."""
        if model_ids:
            self._models[credential_id] = frozenset(model_ids)

    def forget(self, credential_id: int) -> None:
        """Know nothing of a credential any more: it is gone, or another account's by now."""
        self._models.pop(credential_id, None)

    def capable(self, credential_id: int, model_id: str) -> bool | None:
        """Tell whether a credential may use a model, by Kiro's id. None: nobody knows."""
        offered = self._models.get(credential_id)
        return None if offered is None or not model_id else model_id in offered
