"""Taking a credential in: kept only when Kiro has proven it, and never lost on the way.

Rules of this file: a token that was traded for a new one is on disk before anything else
happens; what must not serve yet is there as disabled. Nothing is removed whose refresh token
only the file holds.

Theory of operation. An entry is added as disabled, so that no request meets it. One refresh
shows that the login lives, one usage query that the account may be used; then it is switched
on. A refused refresh leaves the entry's source as good as it was: the entry goes. A refused
query after a refresh is another matter, for the old token is spent: the entry stays, disabled.

Source: README.md, adding credentials.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.store import Store
from kiroproxy.errors import (
    AccessDenied,
    ConfigError,
    GatewayError,
    Suspended,
    TokenRejected,
)
from kiroproxy.upstream import endpoint
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.profile import Profiles
from kiroproxy.upstream.refresh import Refresher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A credential that is in the file now.

    Shape: `problem` says why it is disabled there although it should not be, "" = all is well.
    """

    credential: Credential
    email: str = ""
    subscription: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What Kiro says of a credential that works."""

    email: str = ""
    subscription: str = ""


class Enrolment:
    """Takes credentials in, one call each. Blocking work runs in threads."""

    def __init__(self, store: Store, refresher: Refresher, control: ControlPlane) -> None:
        self._store, self._refresher, self._control = store, refresher, control

    async def keep(
        self, fields: Mapping[str, Any], *, verify: bool = True, renew: bool = True
    ) -> Kept:
        """Add a credential to the file.

        Shape: `renew` False where the login has just given its first tokens.
        Raises: ConfigError — unusable, here already, or not written; GatewayError — Kiro refused
        it, or could not be asked; nothing of it is in the file then.
        """
        if not verify:
            return Kept(await asyncio.to_thread(self._store.add, fields))
        entry = await asyncio.to_thread(self._store.add, {**fields, "disabled": True})
        switch, renewed = True if fields.get("disabled") else None, False
        try:
            if renew and entry.auth_method != "api_key":
                entry = await self._refresher.fresh(entry, force=True)
                renewed = True
            proof = await self.prove(entry)
        except (GatewayError, ConfigError) as fault:
            only_here = renewed or (not renew and entry.auth_method != "api_key")
            return await self._not_proven(entry, fault, only_here, switch)
        except BaseException:  # cancelled: what was not renewed is as good at its source
            if not renewed and renew:
                await asyncio.shield(self._withdraw(entry))
            raise
        changes: dict[str, Any] = {"disabled": switch}
        if proof.email and not entry.email:
            changes["email"] = proof.email
        saved = await asyncio.to_thread(self._store.update, entry.id, changes)
        return Kept(saved, proof.email or saved.email, proof.subscription)

    async def prove(self, credential: Credential) -> Proof:
        """Ask Kiro what the account may use. Raises: GatewayError."""
        profiles = Profiles(self._control)
        if endpoint.needs_profile(credential, self._store.config):
            await profiles.resolve(credential)
        told = await self._control.usage_limits(profiles.applied(credential))
        user, plan = told.get("userInfo"), told.get("subscriptionInfo")
        return Proof(_member(user, "email"), _member(plan, "subscriptionTitle"))

    async def _withdraw(self, entry: Credential) -> None:
        """Take an entry out again, unless its token was traded, or is being traded right now."""
        if not self._refresher.is_renewing(entry.id):
            found = await asyncio.to_thread(self._store.reload_one, entry.id)
            if found is not None and found.refresh_token == entry.refresh_token:
                await asyncio.to_thread(self._store.remove, entry.id)
                return
        log.warning("credential %s stays, disabled: its token was renewed already", entry.name)

    async def _not_proven(
        self, entry: Credential, fault: Exception, only_here: bool, switch: bool | None
    ) -> Kept:
        if not only_here:
            await asyncio.to_thread(self._store.remove, entry.id)
            raise fault
        # Its refresh token is new, and nowhere else: removing the entry would lose the login.
        if not isinstance(fault, (Suspended, AccessDenied, TokenRejected)):
            saved = await asyncio.to_thread(self._store.update, entry.id, {"disabled": switch})
            return Kept(saved, saved.email)
        log.warning("credential %s was refused and stays disabled: %s", entry.name, fault)
        found = await asyncio.to_thread(self._store.reload_one, entry.id)
        return Kept(found or entry, entry.email, problem=str(fault))


def _member(value: object, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""
