"""Profile ARNs that Kiro wants named and the credentials file does not know.

Rules of this file: what is found lives in this process's memory only. The Builder ID stand-in
above all is never written back: it names no profile of the account's own.

Theory of operation. Enterprise logins carry no ARN; their profiles are asked for once and
remembered. A profile lives in one region, and its calls go to that region's host. Builder IDs
have none, which the service says by refusing the question.

Source: ListAvailableProfiles as Kiro IDE calls it.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Protocol

from kiroproxy.accounts.credential import Credential
from kiroproxy.errors import AccessDenied, Refused, TokenRejected, UpstreamError, WrongProfile
from kiroproxy.upstream.endpoint import BUILDER_ID_PROFILE_ARN


class ProfileSource(Protocol):
    """Who knows a credential's profiles; `control.ControlPlane` does."""

    def list_profiles(self, credential: Credential) -> Awaitable[list[dict[str, Any]]]: ...


class Profiles:
    """The ARNs found so far, by credential id."""

    def __init__(self, source: ProfileSource) -> None:
        self._source = source
        self._found: dict[int, str] = {}
        self._applied: dict[int, tuple[Credential, Credential]] = {}
        self.version = 0  # another one whenever `applied` may say something else

    def applied(self, credential: Credential) -> Credential:
        """Return the credential as it should be sent: with the ARN found for it, if any."""
        arn = self._found.get(credential.id, "")
        if not arn or arn == credential.profile_arn:
            return credential
        kept = self._applied.get(credential.id)
        if kept is None or kept[0] is not credential or kept[1].profile_arn != arn:
            region = arn.split(":")[3] or credential.api_region
            sent = replace(credential, profile_arn=arn, api_region=region)
            kept = self._applied[credential.id] = credential, sent
        return kept[1]

    async def resolve(self, credential: Credential) -> bool:
        """Look for the ARN of a credential whose present one, or lack of one, was refused.

        Shape: False = nothing better was found; asking again would be refused again.
        """
        if credential.auth_method == "api_key":
            return False  # keys name no profile, ever
        self._found.pop(credential.id, None)
        self.version += 1
        try:
            arns = [
                arn
                for entry in await self._source.list_profiles(credential)
                if isinstance(arn := entry.get("arn"), str) and arn.count(":") >= 5
            ]
        except (Refused, AccessDenied, WrongProfile, TokenRejected):
            arns = []  # "not supported for this operation": a Builder ID
        except UpstreamError:
            return False
        here = [arn for arn in arns if arn.split(":")[3] == credential.api_region]
        stand_in = [BUILDER_ID_PROFILE_ARN] if credential.auth_method == "idc" else []
        best = (here + arns + stand_in)[:1]
        if not best or best[0] == credential.profile_arn:
            return False
        self._found[credential.id] = best[0]
        self.version += 1
        return True
