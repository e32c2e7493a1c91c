"""Which generation of the API serves each credential: the one named, or the one that let it in.

Rules of this file: no I/O, no clock; memory of this process only. Nothing is remembered of a
door that has not answered.

Theory of operation. A credential begins at the door it names. Some accounts are let in by one
generation only, which nobody can tell beforehand; an error that may mean so makes the request
try the next door of `DOORS`, and the door that answers is kept for later requests and for usage,
models and search. A change of the named door in a file starts afresh.

Source: which credentials work where, as gateways found out by trying.
"""

from collections import Counter
from dataclasses import replace

from kiroproxy.accounts.credential import Credential
from kiroproxy.config import Config
from kiroproxy.upstream.generations import DOORS, GENERATIONS


class Doors:
    """What one worker found out."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, str]] = {}  # id → (named, the one that answered)
        self._guesses: Counter[int] = Counter()
        self._applied: dict[int, tuple[Credential, Credential]] = {}
        self.version = 0  # another one whenever `applied` may say something else

    def applied(self, credential: Credential) -> Credential:
        """Return the credential as it should be sent: through the door that let it in last.

        Cost: one dictionary lookup, as a rule; the same object for the same object.
        """
        found = self._found.get(credential.id)
        if found is None or found[0] != credential.endpoint:
            return credential
        kept = self._applied.get(credential.id)
        if kept is None or kept[0] is not credential or kept[1].endpoint != found[1]:
            kept = self._applied[credential.id] = (
                credential,
                replace(credential, endpoint=found[1]),
            )
        return kept[1]

    def keep(self, named: str, answered: Credential) -> None:
        """Remember the door that answered. Shape: `named` is the credential's own wish."""
        self.version += 1
        if answered.endpoint != named:
            self._found[answered.id] = named, answered.endpoint
        elif self._found.pop(answered.id, None):
            self._applied.pop(answered.id, None)

    def guess(self, credential: Credential, config: Config, *, without_arn: bool) -> str:
        """Return a door to try instead of the credential's, "" where there is none.

        Shape: another one each time, so that a request has to try only one; `without_arn` = one
        that asks for no profile.
        """
        is_ours = bool(config.upstream.api_url)  # the operator's host stands in every region
        others = [
            name
            for name in DOORS.get(credential.auth_method, ())
            if name != credential.endpoint
            and not (without_arn and GENERATIONS[name].needs_arn)
            and (is_ours or _is_served(name, credential.api_region))
        ]
        if not others:
            return ""
        self._guesses[credential.id] += 1
        return others[(self._guesses[credential.id] - 1) % len(others)]


def _is_served(name: str, region: str) -> bool:
    regions = GENERATIONS[name].regions
    return not regions or region in regions
