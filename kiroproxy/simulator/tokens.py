"""Tokens: who may call, until when, and how a refresh turns one pair into the next.

Rules of this file: time comes in as a clock. Access tokens expire; each refresh hands out a new
pair, and the refresh token before it is dead from then on, so a gateway that loses one, or uses
one twice, is found out. Every refusal of a refresh is counted with its cause.

Source: the desktop auth service (POST /refreshToken) and SSO OIDC (POST /token), as clients of
both recorded them.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kiroproxy.simulator.devices import Devices
from kiroproxy.simulator.refusals import Refusal

SOCIAL_ARN: Final = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"
REFRESH_TOKEN_LENGTH: Final = 120  # gateways take anything below 100 for a cut-off copy


@dataclass(slots=True)
class Account:
    """One user's standing: the only live refresh token, and every access token of theirs."""

    method: str  # "social" | "idc" | "api_key"
    refresh_token: str = ""
    access_token: str = ""
    profile_arn: str = ""
    provider: str = "Google"
    client_id: str = ""
    client_secret: str = ""
    api_key: str = ""
    rotations: int = 0
    used: float = 0.0  # credits of the plan
    plan: float = 50.0
    trial: float = 500.0  # credits beside the plan, used after it
    doors: tuple[str, ...] = ()  # generations that serve it: "ide", "cli", "kas"; () = all
    is_metered: bool = False  # its credits may run out; the demo's never do
    models: tuple[str, ...] = ()  # which it may use; () = all there are
    spent: list[str] = field(default_factory=list)  # refresh tokens of the past, oldest first

    @property
    def is_spent(self) -> bool:
        """Tell whether every credit is used."""
        return self.is_metered and self.used >= self.plan + self.trial

    @property
    def is_api_key(self) -> bool:
        """Tell whether the account calls with a ksk_ key instead of tokens."""
        return self.method == "api_key"


class TokenState:
    """All accounts, tokens and the log of refreshes.

    Order: `add_*` before the first call of that account.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        lifetime_s: float = 3600,
        rotate: bool = True,
        region: str = "",
        require_profile_arn: bool = False,
    ) -> None:
        self.clock, self.lifetime_s, self.rotate = clock, lifetime_s, rotate
        self.region, self.require_profile_arn = region, require_profile_arn
        self.accounts: list[Account] = []
        self.calls: Counter[str] = Counter()
        self.refused: list[str] = []
        self.devices = Devices(self)
        self._live: dict[str, tuple[Account, float]] = {}  # access token → account, expiry

    def add_social(self, profile_arn: str = SOCIAL_ARN, refresh_token: str = "") -> Account:
        """Add a social account whose first token pair is alive."""
        return self._add(
            Account("social", refresh_token or _secret("aorSimulated"), profile_arn=profile_arn)
        )

    def add_idc(
        self, profile_arn: str = "", provider: str = "BuilderId", refresh_token: str = ""
    ) -> Account:
        """Add an account behind SSO OIDC, with a registered client of its own."""
        account = Account("idc", refresh_token or _secret("aorSimulated"))
        account.profile_arn, account.provider = profile_arn, provider
        account.client_id = f"simulated-{secrets.token_hex(8)}"
        account.client_secret = secrets.token_hex(32)
        return self._add(account)

    def add_api_key(self, key: str = "") -> Account:
        """Add an account that calls with a ksk_ key."""
        account = Account("api_key", api_key=key or f"ksk_simulated_{secrets.token_hex(16)}")
        self.accounts.append(account)
        self._live[account.api_key] = (account, float("inf"))
        return account

    def accept(self, token: str, lifetime_s: float = float("inf")) -> None:
        """Take one more access token for good, as if it had been issued to a new account."""
        self._live[token] = (Account("social", access_token=token), self.clock() + lifetime_s)

    def expire(self, token: str) -> None:
        """Let an access token, or a ksk_ key, be invalid from now on."""
        self._live.pop(token, None)

    def expire_all(self) -> None:
        """Let every access token be invalid from now on; ksk_ keys live on."""
        self._live = {key: value for key, value in self._live.items() if value[0].is_api_key}

    def caller(self, token: str) -> Account | None:
        """Return the account of a token that is alive."""
        account, until = self._live.get(token, (None, 0.0))
        return account if account and self.clock() < until else None

    def credentials(self) -> list[dict[str, Any]]:
        """Describe the accounts as credentials.json entries, with their current tokens."""
        return [self.credential(account) for account in self.accounts]

    def credential(self, account: Account) -> dict[str, Any]:
        """Describe one account as a credentials.json entry."""
        if account.is_api_key:
            return {"authMethod": "api_key", "kiroApiKey": account.api_key}
        _, until = self._live.get(account.access_token, (None, 0.0))
        entry = {
            "accessToken": account.access_token,
            "refreshToken": account.refresh_token,
            "expiresAt": datetime.fromtimestamp(until, UTC).isoformat().replace("+00:00", "Z"),
            "authMethod": account.method,
        }
        optional = {
            "profileArn": account.profile_arn,
            "clientId": account.client_id,
            "clientSecret": account.client_secret,
        }
        return {**entry, **{name: value for name, value in optional.items() if value}}

    def refresh_social(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /refreshToken."""
        self.calls["refresh_social"] += 1
        token = body.get("refreshToken") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            return self._refuse(Refusal(400, "ValidationException", "refreshToken is required"))
        account = self._owner(token, "social")
        if account is None:
            return self._refuse(_invalid_grant("Invalid refresh token provided"), token)
        pair = self._issue(account)
        return {**pair, "profileArn": account.profile_arn} if account.profile_arn else pair

    def refresh_oidc(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /token; members in snake_case are as good as absent ones."""
        self.calls["refresh_oidc"] += 1
        told = body if isinstance(body, dict) else {}
        client, secret = told.get("clientId"), told.get("clientSecret")
        known = [account for account in self.accounts if account.client_id and
                 (account.client_id, account.client_secret) == (client, secret)]  # fmt: skip
        if not known:
            return self._refuse(_oauth(401, "invalid_client", "InvalidClientException"))
        if told.get("grantType") != "refresh_token":
            return self._refuse(_oauth(400, "unsupported_grant_type", "UnsupportedGrantType"))
        token = told.get("refreshToken")
        if not isinstance(token, str) or not token:
            return self._refuse(_oauth(400, "invalid_request", "InvalidRequestException"))
        account = self._owner(token, "idc")
        if account is None or account not in known:
            return self._refuse(_invalid_grant("Invalid refresh token provided"), token)
        return {**self._issue(account), "tokenType": "Bearer"}

    def _add(self, account: Account) -> Account:
        self.accounts.append(account)
        self._grant(account)
        return account

    def _grant(self, account: Account) -> None:
        account.access_token = _secret("aoaSimulated")
        self._live[account.access_token] = (account, self.clock() + self.lifetime_s)

    def _issue(self, account: Account) -> dict[str, Any]:
        """Hand out the next pair; access tokens of before live on until their own end."""
        self._grant(account)
        pair: dict[str, Any] = {
            "accessToken": account.access_token,
            "expiresIn": int(self.lifetime_s),
        }
        if self.rotate:
            account.spent.append(account.refresh_token)
            account.refresh_token = _secret("aorSimulated")
            account.rotations += 1
            pair["refreshToken"] = account.refresh_token
        self.calls["refreshed"] += 1
        return pair

    def _owner(self, token: str, method: str) -> Account | None:
        found = (a for a in self.accounts if a.method == method and a.refresh_token == token)
        return next(found, None)

    def _refuse(self, refusal: Refusal, token: str = "") -> Refusal:
        is_spent = any(token in account.spent for account in self.accounts)
        self.refused.append("spent refresh token" if token and is_spent else refusal.message)
        self.calls["refused"] += 1
        return refusal


def _secret(prefix: str) -> str:
    return (prefix + secrets.token_hex(REFRESH_TOKEN_LENGTH))[:REFRESH_TOKEN_LENGTH]


def _invalid_grant(description: str) -> Refusal:
    return _oauth(400, "invalid_grant", "InvalidGrantException", description)


def _oauth(status: int, error: str, kind: str, description: str = "") -> Refusal:
    told = {"error": error, "error_description": description or error.replace("_", " ")}
    return Refusal(status, kind, told["error_description"], extra=told)
