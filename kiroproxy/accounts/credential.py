"""One credential: an object of credentials.json with the configuration applied to it.

Rules of this file: no I/O, no clock; nothing here raises for what a file holds: a fault makes
the credential unusable, not the service. No message, repr or str holds a secret's value.

Theory of operation. `parse` reads the wire names leniently (null and "" count as absent,
numbers may be strings), resolves what has a fallback in the configuration — regions, proxy,
machine id, endpoint — and keeps unknown fields in `extra`. Only the resolved values leave.

Source: the credentials.json contract in README.md; the family's files, as README.md's import
section lists them.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kiroproxy.accounts.expiry import parse_time
from kiroproxy.accounts.fields import REGION, Fields, is_cut
from kiroproxy.accounts.proxy import Proxy, parse_proxy
from kiroproxy.config import ENDPOINTS, MAX_CONCURRENCY, MAX_CREDITS, MAX_RPM, Config
from kiroproxy.errors import ConfigError
from kiroproxy.values import normal_machine_id

__all__ = ["Credential", "Parsed", "Proxy", "digest", "masked", "parse"]

_METHODS = {
    "social": "social",
    "idc": "idc",
    "builder-id": "idc",
    "builderid": "idc",
    "iam": "idc",
    "api_key": "api_key",
    "api-key": "api_key",
    "apikey": "api_key",
}
# fmt: off
KNOWN_KEYS = frozenset((
    "id", "accessToken", "refreshToken", "profileArn", "expiresAt", "authMethod", "clientId",
    "clientSecret", "priority", "region", "authRegion", "apiRegion", "machineId", "email",
    "proxyUrl", "proxyUsername", "proxyPassword", "endpoint", "kiroApiKey", "disabled",
    "maxConcurrency", "rpm", "minRemainingCredits", "minRemainingPercent",
))
# fmt: on
_API_KEY_PREFIX = "ksk_"


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Everything a call needs to know about the credential it is made with.

    Units: expires_at_ms in ms since epoch; None where the file names no time, 0 where it names
    one that cannot be read; both count as expired.
    """

    id: int  # 0 = from KIRO_API_KEY, which is in no file
    auth_method: str = "social"  # social, idc or api_key
    access_token: str = ""
    refresh_token: str = ""
    profile_arn: str = ""
    expires_at_ms: int | None = None
    client_id: str = ""
    client_secret: str = ""
    priority: int = 0  # smaller is asked first
    max_concurrency: int = 0  # requests in flight at most; 0 = no limit
    rpm: int = 0  # requests in any 60 s at most; 0 = no limit
    min_remaining_credits: float = 0.0  # with fewer left of its plan it rests until the reset
    min_remaining_percent: float = 0.0
    auth_region: str = "us-east-1"
    api_region: str = "us-east-1"
    machine_id: str = ""
    email: str = ""
    proxy: Proxy | None = None
    endpoint: str = "ide"
    kiro_api_key: str = ""
    disabled: bool = False
    fault: str = ""  # why it cannot be used at all; "" = it can
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Return what a log line calls it: never the mail address, never a token."""
        return f"#{self.id}" if self.id else "KIRO_API_KEY"

    def expires_in_ms(self, now_ms: int) -> int:
        """Return how long the access token lives on; 0 and less: it does not."""
        if self.auth_method == "api_key":
            return 2**62  # never refreshed; a revoked key says so itself
        return (self.expires_at_ms or 0) - now_ms if self.access_token else 0

    def __repr__(self) -> str:
        return (
            f"Credential({self.name}, {self.auth_method}, priority={self.priority}, "
            f"auth_region={self.auth_region}, api_region={self.api_region}, proxy={self.proxy}, "
            f"expires_at_ms={self.expires_at_ms}, disabled={self.disabled}, fault={self.fault!r})"
        )


class Parsed(NamedTuple):
    """A credential, what makes it unusable, and what deserves a warning."""

    credential: Credential
    faults: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


def masked(secret: str) -> str:
    """Return a form by which its owner knows a secret again: its two ends, or nothing of it."""
    return f"{secret[:4]}...{secret[-4:]}" if len(secret) > 16 else "***"


def digest(secret: str) -> str:
    """Return SHA-256 in hex: equal secrets compare equal without being shown."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def derived_machine_id(refresh_token: str, kiro_api_key: str) -> str:
    """Return the id that the Kiro family derives from a secret; "" where there is none.

    Source: the salts are what existing installations were first seen with.
    """
    if kiro_api_key:
        return digest("KiroAPIKey/" + kiro_api_key)
    return digest("KotlinNativeAPI/" + refresh_token) if refresh_token else ""


def parse(raw: Mapping[str, Any], config: Config, *, id: int) -> Parsed:
    """Read one object of credentials.json and apply the configuration to it."""
    fields = Fields(raw)
    profile_arn = fields.secret("profileArn")
    refresh_token, kiro_api_key = fields.refresh_token(), fields.secret("kiroApiKey")
    method = _method(fields, kiro_api_key)
    machine_id = _machine_id(fields) or config.machine_id
    proxy = _proxy(fields, config)
    region = fields.region("region")
    auth_region = fields.region("authRegion") or region or config.auth_region or config.region
    api_region = fields.region("apiRegion") or _arn_region(profile_arn)
    values: dict[str, Any] = {
        "access_token": fields.secret("accessToken"),
        "client_id": fields.secret("clientId"),
        "client_secret": fields.secret("clientSecret"),
        "expires_at_ms": _expiry(fields),
        "priority": fields.whole("priority"),
        "max_concurrency": fields.limit("maxConcurrency", config.max_concurrency, MAX_CONCURRENCY),
        "rpm": fields.limit("rpm", config.rpm, MAX_RPM),
        "min_remaining_credits": fields.amount(
            "minRemainingCredits", config.min_remaining_credits, MAX_CREDITS
        ),
        "min_remaining_percent": fields.amount(
            "minRemainingPercent", config.min_remaining_percent, 100
        ),
        "email": fields.text("email"),
        "endpoint": _endpoint(fields, config),
        "disabled": fields.flag("disabled"),
    }
    _check_login(fields, method, refresh_token)
    _check_looks(fields, profile_arn)
    credential = Credential(
        id=id,
        auth_method=method,
        refresh_token=refresh_token,
        profile_arn=profile_arn,
        auth_region=auth_region,
        api_region=api_region or config.api_region or config.region,
        machine_id=machine_id or derived_machine_id(refresh_token, kiro_api_key),
        proxy=proxy,
        kiro_api_key=kiro_api_key,
        fault="; ".join(f"{fault.key} {fault.reason}" for fault in fields.faults),
        extra={key: value for key, value in raw.items() if key not in KNOWN_KEYS},
        **values,
    )
    return Parsed(credential, tuple(fields.faults), tuple(fields.warnings))


def _method(fields: Fields, kiro_api_key: str) -> str:
    named = fields.text("authMethod").lower()
    method = _METHODS.get(named, "")
    if named and not method:
        fields.fault("authMethod", "is not known", "Write social, idc or api_key")
    if kiro_api_key:
        return "api_key"
    both = fields.text("clientId") and fields.text("clientSecret")
    return method or ("idc" if both else "social")


def _check_login(fields: Fields, method: str, refresh_token: str) -> None:
    """Report what is missing for the method, and a refresh token that was copied cut."""
    if method == "api_key":
        key = fields.text("kiroApiKey")
        if not key and not fields.is_faulty("kiroApiKey"):
            fields.fault("kiroApiKey", "is missing", "Create one at app.kiro.dev (ksk_...)")
        elif key and not key.startswith(_API_KEY_PREFIX):
            fields.warn("kiroApiKey", "does not start with ksk_", "Check that it is a Kiro API key")
        return
    if not refresh_token:
        if not fields.is_faulty("refreshToken"):
            fields.fault("refreshToken", "is missing", "Log in to Kiro and copy it")
    elif is_cut(refresh_token):
        fields.fault(
            "refreshToken",
            f"is a truncated copy ({len(refresh_token)} characters"
            + (', with "..."' if "..." in refresh_token or "…" in refresh_token else "")
            + ")",
            "Copy the whole token, of several hundred characters, from "
            "~/.aws/sso/cache/kiro-auth-token.json; a display shortens it",
        )
    if method == "idc":
        for key in ("clientId", "clientSecret"):
            if not fields.text(key) and not fields.is_faulty(key):
                fields.fault(
                    key,
                    "is missing, and authMethod idc needs it",
                    "Copy it from ~/.aws/sso/cache/<clientIdHash>.json",
                )


def _check_looks(fields: Fields, profile_arn: str) -> None:
    """Warn of what loads and is hardly meant: a misspelt name, an example's value, no ARN."""
    for key in fields.raw:
        if key not in KNOWN_KEYS and (meant := _nearest(key)) and meant not in fields.raw:
            fields.warn(key, "is not known and only kept", f'Did you mean "{meant}"?')
    for key in ("refreshToken", "kiroApiKey", "clientId", "clientSecret"):
        if "EXAMPLE" in fields.text(key) and "REPLACE" in str(fields.raw):
            fields.warn(key, "is the example's", "Put your own there")
    if profile_arn and not _arn_region(profile_arn):
        fields.warn(
            "profileArn",
            "is not an ARN with a region in it",
            "Leave it out to have it looked up",
        )


def _nearest(key: str) -> str:
    """Return the known key that another spelling stands for, "" where it is one of its own."""
    plain = {_plain(known): known for known in KNOWN_KEYS}
    near = difflib.get_close_matches(
        _plain(key), plain, 1, cutoff=0.86
    )  # clientIdHash is no clientId
    return plain[near[0]] if near else ""


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _expiry(fields: Fields) -> int | None:
    value = fields.raw.get("expiresAt")
    if value is None or value == "":
        return None
    at_ms = parse_time(value)
    if at_ms is None:
        fields.warn(
            "expiresAt",
            "is not a time; the token counts as expired and is renewed",
            'Write one like "2026-01-31T12:00:00Z", or leave it out',
        )
        return 0
    return at_ms


def _machine_id(fields: Fields) -> str:
    text = fields.text("machineId")
    try:
        return normal_machine_id(text) if text else ""
    except ValueError:
        fields.warn(
            "machineId",
            "is neither 64 hex digits nor a UUID and is replaced",
            "Leave it out to have it derived",
        )
        return ""


def _proxy(fields: Fields, config: Config) -> Proxy | None:
    """Credential over config over none; a user without a URL is another login at config's."""
    url, user = fields.text("proxyUrl"), fields.text("proxyUsername")
    password = fields.text("proxyPassword")
    if not url:
        url = config.proxy_url
        if not user:
            user, password = config.proxy_username, config.proxy_password
    try:
        return parse_proxy(url, user, password)
    except ValueError:
        # Not ignored: going out directly would show Kiro the address the operator hides.
        fields.fault(
            "proxyUrl",
            "is not a proxy URL",
            'Write http://, https://, socks5:// or socks5h://host:port, or "direct"',
        )
        return None


def _endpoint(fields: Fields, config: Config) -> str:
    name = fields.text("endpoint") or config.default_endpoint
    if name not in ENDPOINTS:
        fields.fault("endpoint", "is not known", "Write one of " + ", ".join(ENDPOINTS))
    return name


def _arn_region(profile_arn: str) -> str:
    """Return the fourth part of arn:aws:codewhisperer:<region>:..., "" where it is none."""
    parts = profile_arn.split(":")
    return parts[3] if len(parts) > 3 and REGION.fullmatch(parts[3]) else ""
