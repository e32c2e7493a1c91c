"""Logging in with a code: the browser is anywhere, the tokens come here.

Rules of this file: nothing is stored, nothing waits but `complete`; no text of an answer leaves
but in `detail`. A `Pending` holds secrets and is shown only through `public`.

Theory of operation. All three logins are RFC 8628's: ask for a device code, show the user code,
ask again every few seconds until the person has said yes. Builder ID and IAM Identity Center go
through AWS SSO OIDC, where a client is registered first; Google and GitHub through Kiro's own
login service, whose answers differ in names and units.

Source: RFC 8628; SSO OIDC's camelCase bodies (client/register, device_authorization, token) and
the social service's oauth/device/{authorization,poll}, as the official clients call them.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from kiroproxy.accounts.credential import Proxy, digest
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.fields import REGION
from kiroproxy.config import Config
from kiroproxy.errors import GatewayError, RequestError, UpstreamError
from kiroproxy.upstream import endpoint
from kiroproxy.upstream.control import Answer, ControlPlane
from kiroproxy.upstream.endpoint import Target

METHODS: Final = ("builder-id", "idc", "social")
PROVIDERS: Final = {"google": "Google", "github": "Github"}
_BUILDER_ID_START_URL: Final = "https://view.awsapps.com/start"
_BUILDER_ID_REGION: Final = "us-east-1"  # the only one there is
_SCOPES: Final = [
    "codewhisperer:completions",
    "codewhisperer:analysis",
    "codewhisperer:conversations",
    "codewhisperer:transformations",
    "codewhisperer:taskassist",
]
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_MS: Final = 5_000  # RFC 8628, 3.5
_LONGEST_MS: Final = 3_600_000
_QUICKEST_MS: Final = 200
_TOKEN_LIFETIME_S: Final = 3600


class LoginEnded(GatewayError):
    """No tokens will come of this login. Shape: `state` is failed or expired."""

    status = 400
    kind = "invalid_request_error"

    def __init__(self, message: str, *, state: str = "failed", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.state = state


@dataclass(frozen=True, slots=True)
class Pending:
    """A login that waits for its person. Units: ms; expires_at_ms since epoch."""

    method: str
    region: str
    verification_uri: str
    verification_uri_complete: str
    user_code: str
    expires_at_ms: int
    interval_ms: int
    machine_id: str
    provider: str = ""
    start_url: str = ""
    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    device_code: str = field(default="", repr=False)
    proxy: Proxy | None = None

    def public(self) -> dict[str, object]:
        """Return what the person may see."""
        return {
            "method": self.method,
            "verificationUri": self.verification_uri,
            "verificationUriComplete": self.verification_uri_complete,
            "userCode": self.user_code,
            "expiresAt": rfc3339(self.expires_at_ms),
            "intervalMs": self.interval_ms,
        }


async def start(
    method: str,
    control: ControlPlane,
    config: Config,
    *,
    start_url: str = "",
    region: str = "",
    provider: str = "google",
    proxy: Proxy | None = None,
    now_ms: int | None = None,
) -> Pending:
    """Begin a login.

    Raises: RequestError — the arguments; UpstreamError, LoginEnded — the login service.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    machine_id = digest(secrets.token_hex(32))
    if method == "social":
        service = PROVIDERS.get(provider.lower())
        if not service:
            raise RequestError("provider: write google or github")
        region = region or _BUILDER_ID_REGION
        _check_region(region)
        return await _start_social(control, config, service, region, machine_id, proxy, now)
    if method not in METHODS:
        raise RequestError(f"method: write one of {', '.join(METHODS)}")
    if method == "builder-id":
        start_url, region = _BUILDER_ID_START_URL, _BUILDER_ID_REGION
    region = region or config.auth_region or config.region
    _check_region(region)
    _check_start_url(start_url)
    return await _start_oidc(control, config, method, start_url, region, machine_id, proxy, now)


async def poll(
    pending: Pending, control: ControlPlane, config: Config, *, now_ms: int | None = None
) -> dict[str, Any] | Pending:
    """Ask once. Returns the fields of credentials.json, or what to ask with the next time.

    Order: not sooner than `interval_ms` after the call before.
    Raises: LoginEnded — denied or expired; UpstreamError — ask again.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if now >= pending.expires_at_ms:
        raise LoginEnded("Nobody confirmed the code in time", state="expired")
    if pending.method == "social":
        target = _social(pending.region, pending.machine_id, config, "/oauth/device/poll")
        payload = {"clientId": "kiro-cli", "deviceCode": pending.device_code}
    else:
        target = _oidc(pending.region, config, "/token")
        payload = {
            "clientId": pending.client_id,
            "clientSecret": pending.client_secret,
            "deviceCode": pending.device_code,
            "grantType": _GRANT,
        }
    answer = await control.exchange(target, orjson.dumps(payload), pending.proxy)
    told = _object(answer)
    code = str(told.get("error") or told.get("status") or "").lower()
    if code == "authorization_pending":
        return pending
    if code == "slow_down":
        return replace(pending, interval_ms=pending.interval_ms + _SLOWER_MS)
    if code == "expired_token":
        raise LoginEnded("Nobody confirmed the code in time", state="expired")
    if code == "access_denied":
        raise LoginEnded("The login was refused in the browser")
    if answer.status in (408, 429) or answer.status >= 500:
        raise UpstreamError("The login service has a bad moment", detail=f"HTTP {answer.status}")
    if answer.status != 200 or not _text(told, "accessToken"):
        raise _refused(answer, told)
    return _fields(pending, told, now)


async def complete(
    pending: Pending,
    control: ControlPlane,
    config: Config,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> dict[str, Any]:
    """Ask until the person has answered. Returns the fields of credentials.json.

    Raises: LoginEnded.
    """
    while True:
        await sleep(pending.interval_ms / 1000)
        try:
            found = await poll(pending, control, config, now_ms=clock_ms())
        except UpstreamError:
            continue  # a bad moment; the code's own end bounds this
        if isinstance(found, dict):
            return found
        pending = found


# -- the two services ----------------------------------------------------------------------


async def _start_oidc(
    control: ControlPlane,
    config: Config,
    method: str,
    start_url: str,
    region: str,
    machine_id: str,
    proxy: Proxy | None,
    now: int,
) -> Pending:
    client = await _ask(
        control,
        _oidc(region, config, "/client/register"),
        {
            "clientName": "Kiro IDE",
            "clientType": "public",
            "scopes": _SCOPES,
            "grantTypes": [_GRANT, "refresh_token"],
            "issuerUrl": start_url,
        },
        proxy,
    )
    client_id, client_secret = _text(client, "clientId"), _text(client, "clientSecret")
    told = await _ask(
        control,
        _oidc(region, config, "/device_authorization"),
        {"clientId": client_id, "clientSecret": client_secret, "startUrl": start_url},
        proxy,
    )
    pending = Pending(
        method=method,
        region=region,
        start_url=start_url,
        client_id=client_id,
        client_secret=client_secret,
        machine_id=machine_id,
        proxy=proxy,
        **_shown(told, config),
        expires_at_ms=now + _ms(told.get("expiresIn"), 1000, 600_000),
        interval_ms=_ms(told.get("interval"), 1000, 5_000),
    )
    return _checked(pending)


async def _start_social(
    control: ControlPlane,
    config: Config,
    provider: str,
    region: str,
    machine_id: str,
    proxy: Proxy | None,
    now: int,
) -> Pending:
    target = _social(region, machine_id, config, "/oauth/device/authorization")
    told = await _ask(control, target, {"clientId": "kiro-cli", "loginProvider": provider}, proxy)
    pending = Pending(
        method="social",
        region=region,
        provider=provider,
        machine_id=machine_id,
        proxy=proxy,
        **_shown(told, config),
        expires_at_ms=now + _ms(told.get("expiresInMilliseconds"), 1, 600_000),
        interval_ms=_ms(told.get("intervalInMilliseconds"), 1, 5_000),
    )
    return _checked(pending)


def _oidc(region: str, config: Config, path: str) -> Target:
    host = (config.upstream.oidc_url or endpoint.OIDC_HOST).replace("{region}", region)
    return Target("POST", host + path, [(b"content-type", b"application/json")])


def _social(region: str, machine_id: str, config: Config, path: str) -> Target:
    host = config.upstream.social_auth_url or endpoint.SOCIAL_AUTH_HOST
    agent = f"KiroIDE-{config.kiro_version}-{machine_id}"
    return Target(
        "POST",
        host.replace("{region}", region) + path,
        [
            (b"accept", b"application/json, text/plain, */*"),
            (b"content-type", b"application/json"),
            (b"user-agent", agent.encode("ascii")),
        ],
    )


async def _ask(
    control: ControlPlane, target: Target, payload: Mapping[str, Any], proxy: Proxy | None
) -> dict[str, Any]:
    answer = await control.exchange(target, orjson.dumps(payload), proxy)
    told = _object(answer)
    if answer.status != 200:
        raise _refused(answer, told)
    return told


def _fields(pending: Pending, told: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    lifetime_ms = _ms(told.get("expiresIn"), 1000, _TOKEN_LIFETIME_S * 1000, 10**12)
    fields: dict[str, Any] = {
        "authMethod": "social" if pending.method == "social" else "idc",
        "accessToken": _text(told, "accessToken"),
        "refreshToken": _text(told, "refreshToken"),
        "expiresAt": rfc3339(now_ms + lifetime_ms),
        "authRegion": pending.region,
        "machineId": pending.machine_id,
        "profileArn": _text(told, "profileArn"),
        "clientId": pending.client_id,
        "clientSecret": pending.client_secret,
        "startUrl": pending.start_url,
        "provider": pending.provider or {"idc": "Enterprise"}.get(pending.method, "BuilderId"),
    }
    return {key: value for key, value in fields.items() if value}


# -- answers -------------------------------------------------------------------------------


def _shown(told: Mapping[str, Any], config: Config) -> dict[str, str]:
    """Return what the person is shown, and the code that is ours alone."""
    uri, whole = _text(told, "verificationUri"), _text(told, "verificationUriComplete")
    # An operator clicks on these. Anything but https comes from a test's own loopback service.
    allowed = ("https",) + (("http",) if config.upstream.oidc_url else ())
    for link in (uri, whole):
        if link and urlsplit(link).scheme not in allowed:
            raise LoginEnded("The login service named an address that is not https")
    return {
        "verification_uri": uri or whole,
        "verification_uri_complete": whole or uri,
        "user_code": _text(told, "userCode"),
        "device_code": _text(told, "deviceCode"),
    }


def _checked(pending: Pending) -> Pending:
    if not pending.device_code or not pending.verification_uri:
        raise LoginEnded("The login service's answer holds no code")
    return pending


def _object(answer: Answer) -> dict[str, Any]:
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {}


def _refused(answer: Answer, told: Mapping[str, Any]) -> LoginEnded:
    words = ", ".join(
        f"{key}={str(told[key])[:200]}"
        for key in ("error", "error_description", "message", "reason")
        if key in told
    )
    return LoginEnded(
        "The login service refused the login", detail=f"HTTP {answer.status}: {words}"
    )


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    good = isinstance(value, str) and all("!" <= char <= "~" for char in value)
    return str(value) if good else ""


def _ms(value: object, unit_ms: int, default_ms: int, most_ms: int = _LONGEST_MS) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return default_ms
    return int(min(max(value * unit_ms, _QUICKEST_MS), most_ms))


def _check_region(region: str) -> None:
    # It becomes part of a host name.
    if not REGION.fullmatch(region):
        raise RequestError('region: write an AWS region like "us-east-1"')


def _check_start_url(start_url: str) -> None:
    parts = urlsplit(start_url)
    if parts.scheme != "https" or not parts.hostname:
        raise RequestError(
            "startUrl: write your organisation's, like https://example.awsapps.com/start"
        )
