"""Logins with a code: clients register, ask for codes, a person confirms, tokens come out.

Rules of this file: time comes from the accounts' clock. As strict as the two services: a client
that asks faster than it was told is told to slow down, a code works once, snake_case members are
absent ones, and a code of one service means nothing to the other.

Source: RFC 8628; SSO OIDC and the social login service as official clients call them.
"""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kiroproxy.simulator.refusals import Refusal

if TYPE_CHECKING:
    from kiroproxy.simulator.tokens import Account, TokenState

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_BUILDER_ID: Final = "https://view.awsapps.com/start"
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
_LIFETIME_S: Final = 600


@dataclass(slots=True)
class Device:
    """One code that waits for a person."""

    kind: str  # "idc" | "social"
    user_code: str
    provider: str
    client: str
    until: float
    state: str = "waiting"  # waiting, confirmed, denied, used
    asked_at: float = float("-inf")


class Devices:
    """Clients and codes of one TokenState. Units: interval_s between two polls."""

    def __init__(self, tokens: "TokenState", interval_s: float = 1.0) -> None:
        self._tokens, self.interval_s = tokens, interval_s
        self.url = ""  # where a person would confirm; the server knows it once it listens
        self._clients: dict[str, str] = {}
        self._codes: dict[str, Device] = {}

    def register(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /client/register."""
        told = body if isinstance(body, dict) else {}
        if told.get("clientType") != "public" or not isinstance(told.get("clientName"), str):
            return _invalid("InvalidClientMetadataException", "invalid_client_metadata")
        if GRANT not in told.get("grantTypes", [GRANT]) or not told.get("scopes"):
            return _invalid("InvalidScopeException", "invalid_scope")
        client, secret = f"simulated-{secrets.token_hex(8)}", secrets.token_hex(32)
        self._clients[client] = secret
        now = int(self._tokens.clock())
        return {
            "clientId": client,
            "clientSecret": secret,
            "clientIdIssuedAt": now,
            "clientSecretExpiresAt": now + 90 * 86_400,
        }

    def authorize(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /device_authorization."""
        told = body if isinstance(body, dict) else {}
        client, start_url = told.get("clientId"), told.get("startUrl")
        if not self._knows(client, told.get("clientSecret")):
            return _invalid("InvalidClientException", "invalid_client", 401)
        if not isinstance(start_url, str) or not start_url.startswith("https://"):
            return _invalid("InvalidRequestException", "invalid_request")
        provider = "BuilderId" if start_url == _BUILDER_ID else "Enterprise"
        return self._open("idc", provider, str(client))

    def authorize_social(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /oauth/device/authorization."""
        told = body if isinstance(body, dict) else {}
        if told.get("clientId") != "kiro-cli" or told.get("loginProvider") not in (
            "Google",
            "Github",
        ):
            return Refusal(400, "ValidationException", "clientId or loginProvider is not valid")
        answer = self._open("social", told["loginProvider"], "kiro-cli")
        answer["expiresInMilliseconds"] = answer.pop("expiresIn") * 1000
        answer["intervalInMilliseconds"] = int(answer.pop("interval") * 1000)
        return answer

    def token(self, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        """Answer POST /token with the device grant."""
        client = body.get("clientId")
        if not self._knows(client, body.get("clientSecret")):
            return _invalid("InvalidClientException", "invalid_client", 401)
        device = self._codes.get(str(body.get("deviceCode")))
        if device is None or device.kind != "idc" or device.client != client:
            return _invalid("InvalidGrantException", "invalid_grant")
        state = self._ask(device)
        if state != "confirmed":
            return _invalid(f"{state.title().replace('_', '')}Exception", state)
        account = self._tokens.add_idc("", device.provider)
        account.client_id, account.client_secret = str(client), self._clients[str(client)]
        return {**self._pair(account), "tokenType": "Bearer"}

    def poll_social(self, body: Any) -> dict[str, Any] | Refusal:
        """Answer POST /oauth/device/poll."""
        told = body if isinstance(body, dict) else {}
        device = self._codes.get(str(told.get("deviceCode")))
        if told.get("clientId") != "kiro-cli" or device is None or device.kind != "social":
            return Refusal(400, "ValidationException", "Invalid device code")
        state = self._ask(device)
        if state == "authorization_pending":
            return {"status": state}
        if state != "confirmed":
            return Refusal(400, "ValidationException", state, extra={"error": state})
        account = self._tokens.add_social()
        account.provider = device.provider
        pair = self._pair(account)
        return {**pair, "profileArn": account.profile_arn, "identityProvider": device.provider}

    def decide(self, user_code: str, *, confirm: bool = True) -> bool:
        """Be the person in the browser. False: no such code, or it is over."""
        for device in self._codes.values():
            if device.user_code == user_code and device.state == "waiting":
                device.state = "confirmed" if confirm else "denied"
                return self._tokens.clock() < device.until
        return False

    def confirm(self, query: dict[str, str]) -> dict[str, Any] | Refusal:
        """Answer GET /device, the page a person opens."""
        if not self.decide(query.get("user_code", ""), confirm="deny" not in query):
            return Refusal(404, "ResourceNotFoundException", "This code is not known, or used.")
        return {"message": "Simulated: the login is decided. You may close this page."}

    def _knows(self, client: object, secret: object) -> bool:
        return isinstance(client, str) and self._clients.get(client, "") == secret != ""

    def _open(self, kind: str, provider: str, client: str) -> dict[str, Any]:
        code = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(2))
        device_code = secrets.token_urlsafe(48)
        until = self._tokens.clock() + _LIFETIME_S
        self._codes[device_code] = Device(kind, code, provider, client, until)
        page = f"{self.url}/device"
        return {
            "deviceCode": device_code,
            "userCode": code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?user_code={code}",
            "expiresIn": _LIFETIME_S,
            "interval": self.interval_s,
        }

    def _ask(self, device: Device) -> str:
        """Return "confirmed" once, else RFC 8628's word for the state."""
        now = self._tokens.clock()
        too_soon = now - device.asked_at < self.interval_s * 0.9
        device.asked_at = now
        if now >= device.until:
            return "expired_token"
        if device.state == "waiting":
            return "slow_down" if too_soon else "authorization_pending"
        if device.state != "confirmed":
            return "access_denied" if device.state == "denied" else "expired_token"
        device.state = "used"
        return "confirmed"

    def _pair(self, account: "Account") -> dict[str, Any]:
        return {
            "accessToken": account.access_token,
            "refreshToken": account.refresh_token,
            "expiresIn": int(self._tokens.lifetime_s),
        }


def _invalid(kind: str, error: str, status: int = 400) -> Refusal:
    words = error.replace("_", " ")
    return Refusal(status, kind, words, extra={"error": error, "error_description": words})
