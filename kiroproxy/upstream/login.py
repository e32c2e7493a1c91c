"""The renewal calls of the two auth services, and what their answers mean.

Rules of this file: nothing is stored here; no text of an answer leaves but in `detail`, and no
token anywhere. This is the only place that matches the auth services' words.

Source: Kiro's social auth service `POST /refreshToken`; AWS SSO OIDC `POST /token`, whose body
is camelCase (snake_case is refused as invalid_client). Which refusals are final: the union of
what independent clients were seen to treat so, without a bare 403, which the CDN in front of
the social service also answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.expiry import parse_time, rfc3339
from kiroproxy.config import Config
from kiroproxy.errors import CredentialDead, GatewayError, RefreshFailed
from kiroproxy.upstream import endpoint, faults
from kiroproxy.upstream.control import Answer, ControlPlane

_LIFETIME_S = 3600  # what both services give where an answer does not say
_FINAL_STATUSES = (400, 401, 403)
_FINAL_WORDS = (
    "invalid_grant",
    "invalidgrantexception",
    "invalid grant provided",
    "invalid refresh token",
    "invalid_client",
    "invalidclientexception",
    "unauthorized_client",
    "unauthorizedclientexception",
    "expired_token",
    "expiredtokenexception",
    "invalidtokenexception",
    "expiredclientexception",
    "client is expired",
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A successful renewal. Shape: "" = the answer did not name it, the old one stays."""

    access_token: str = field(repr=False)
    expires_at_ms: int
    refresh_token: str = field(default="", repr=False)
    profile_arn: str = ""

    def as_fields(self) -> dict[str, str]:
        """Return what to write into credentials.json."""
        fields = {"accessToken": self.access_token, "expiresAt": rfc3339(self.expires_at_ms)}
        if self.refresh_token:
            fields["refreshToken"] = self.refresh_token
        if self.profile_arn:
            fields["profileArn"] = self.profile_arn
        return fields


async def renew(
    credential: Credential, control: ControlPlane, config: Config, call_id: str, now_ms: int
) -> Tokens:
    """Trade the refresh token for new tokens.

    Raises: CredentialDead — refused for good; RefreshFailed — anything else.
    """
    payload = {"refreshToken": credential.refresh_token}
    if credential.auth_method == "idc":
        target = endpoint.oidc_token(credential, config, invocation_id=call_id)
        payload |= {
            "clientId": credential.client_id,
            "clientSecret": credential.client_secret,
            "grantType": "refresh_token",
        }
    else:
        target = endpoint.social_refresh(credential, config)
    try:
        answer = await control.exchange(target, orjson.dumps(payload), credential.proxy)
    except GatewayError as fault:
        raise RefreshFailed(
            "The login service could not be asked", detail=f"{fault.message}: {fault.detail}"
        ) from fault
    if answer.status != 200:
        raise _refusal(answer, credential.auth_method)
    return _tokens(answer, now_ms)


def _refusal(answer: Answer, method: str) -> GatewayError:
    """Tell an ended login from a bad moment."""
    text = answer.body.decode("utf-8", "replace")
    detail = f"HTTP {answer.status} from the {method} login service: {_quoted(text)}"
    is_final = answer.status == 401 or any(word in text.lower() for word in _FINAL_WORDS)
    if is_final and answer.status in _FINAL_STATUSES:
        return CredentialDead("The login has ended; log in again", detail=detail)
    told = faults.classify(answer.status, answer.headers, answer.body)
    return RefreshFailed(
        "The login could not be renewed", detail=detail, retry_after_s=told.retry_after_s
    )


def _tokens(answer: Answer, now_ms: int) -> Tokens:
    try:
        fields = orjson.loads(answer.body)
    except orjson.JSONDecodeError as fault:
        raise RefreshFailed("The login service's answer is not JSON", detail=str(fault)) from None
    access_token = _visible(fields, "accessToken") if isinstance(fields, dict) else ""
    if not access_token:
        raise RefreshFailed("The login service's answer holds no access token")
    return Tokens(
        access_token=access_token,
        expires_at_ms=_expiry(fields, now_ms),
        refresh_token=_visible(fields, "refreshToken"),
        profile_arn=_visible(fields, "profileArn"),
    )


def _expiry(fields: Mapping[str, Any], now_ms: int) -> int:
    lifetime_s = fields.get("expiresIn")
    if isinstance(lifetime_s, str) and re.fullmatch(r"[0-9]{1,18}", lifetime_s):
        lifetime_s = int(lifetime_s)
    if isinstance(lifetime_s, (int, float)) and 0 < lifetime_s < 10**9:
        return now_ms + int(lifetime_s * 1000)
    return parse_time(fields.get("expiresAt")) or now_ms + _LIFETIME_S * 1000


def _visible(fields: Mapping[str, Any], key: str) -> str:
    """Return a token that can travel in a header and in a file, "" for anything else."""
    value = fields.get(key)
    good = isinstance(value, str) and all("!" <= char <= "~" for char in value)
    return str(value) if good else ""


def _quoted(text: str) -> str:
    """Keep the codes of a refusal, drop whatever else it might repeat of the request."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return f"{len(text)} characters that are not JSON"
    if not isinstance(fields, dict):
        return "no object"
    names = ("error", "error_description", "reason", "message", "__type")
    return ", ".join(f"{name}={str(fields[name])[:200]}" for name in names if name in fields)
