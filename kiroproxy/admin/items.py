"""A credential as the admin API shows it: the reference's fields and ours, never a secret.

Rules of this file: of a secret only its hash and a masked form leave. Everything here is made
of memory; nothing waits.

Source: the reference's credential list, whose names and types are kept exactly.
"""

from collections.abc import Mapping
from typing import Any

from kiroproxy.accounts.credential import Credential, digest, masked
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.slot import (
    INVALID_CONFIG,
    INVALID_REFRESH_TOKEN,
    QUOTA_EXCEEDED,
    State,
)
from kiroproxy.admin import schema as s

_EXPIRING_MS = 600_000  # the window in which tokens are renewed ahead

_NOTE = s.optional({"type": "object"})
ITEM = s.record(
    {
        "id": s.whole(),
        "priority": {"type": "integer"},
        "disabled": s.flag(),
        "failureCount": s.whole(),
        "isCurrent": s.flag(),
        "expiresAt": s.optional(s.text()),
        "authMethod": s.optional(s.one_of("social", "idc", "api_key")),
        "hasProfileArn": s.flag(),
        "refreshTokenHash": s.optional(s.text()),
        "apiKeyHash": s.optional(s.text()),
        "maskedApiKey": s.optional(s.text()),
        "email": s.optional(s.text()),
        "successCount": s.whole(),
        "lastUsedAt": s.optional(s.text()),
        "hasProxy": s.flag(),
        "proxyUrl": s.text(),
        "refreshFailureCount": s.whole(),
        "disabledReason": s.text(),
        "endpoint": s.text(),
        "authRegion": s.optional(s.text()),
        "apiRegion": s.optional(s.text()),
        "region": s.optional(s.text()),
        "effectiveAuthRegion": s.text(),
        "effectiveApiRegion": s.text(),
        "machineId": s.optional(s.text()),
        "profileArn": s.optional(s.text()),
        "proxyUsername": s.optional(s.text()),
        "hasProxyPassword": s.flag(),
        "maxConcurrency": s.optional(s.whole()),
        "rpm": s.optional(s.whole()),
        "minRemainingCredits": s.optional(s.number()),
        "minRemainingPercent": s.optional(s.number()),
        "inFlight": s.whole(),
        "requestsLastMinute": s.whole(),
        "state": s.one_of("ready", "cooling", "quota", "disabled", "invalid", "refreshing"),
        "cooldownUntil": s.optional(s.text()),
        "cooldownReason": s.optional(s.text()),
        "lastError": _NOTE,
        "tokenState": s.one_of("valid", "expiring", "expired", "none"),
        "disabledAt": s.optional(s.text()),
        "fault": s.optional(s.text()),
        "balance": _NOTE,
    },
    *("id", "priority", "disabled", "failureCount", "isCurrent", "expiresAt", "authMethod"),
    *("hasProfileArn", "refreshTokenHash", "apiKeyHash", "maskedApiKey", "email"),
    *("successCount", "lastUsedAt", "hasProxy", "refreshFailureCount", "endpoint", "state"),
)


def item(
    credential: Credential,
    state: State,
    entry: Mapping[str, Any],
    *,
    now_ms: int,
    is_current: bool,
    is_renewing: bool = False,
    requests_last_minute: int = 0,
    fault: Mapping[str, Any] | None = None,
    balance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe one credential. Shape: `entry` is its object in credentials.json."""
    reason = state.disabled_reason(now_ms)
    cooldown = _cooldown(state, now_ms)
    found = {
        "id": credential.id,
        "priority": credential.priority,
        "disabled": bool(reason),
        "failureCount": state.failures,
        "isCurrent": is_current,
        "expiresAt": rfc3339(credential.expires_at_ms) if credential.expires_at_ms else None,
        "authMethod": credential.auth_method,
        "hasProfileArn": bool(credential.profile_arn),
        "refreshTokenHash": _hash(credential.refresh_token),
        "apiKeyHash": _hash(credential.kiro_api_key),
        "maskedApiKey": masked(credential.kiro_api_key) if credential.kiro_api_key else None,
        "email": credential.email or None,
        "successCount": state.successes,
        "lastUsedAt": _time(state.last_used_ms),
        "hasProxy": bool(_own(entry, "proxyUrl")),
        "refreshFailureCount": state.refresh_failures,
        "endpoint": credential.endpoint,
        "authRegion": _own(entry, "authRegion"),
        "apiRegion": _own(entry, "apiRegion"),
        "region": _own(entry, "region"),
        "effectiveAuthRegion": credential.auth_region,
        "effectiveApiRegion": credential.api_region,
        "machineId": credential.machine_id or None,
        "profileArn": _masked_arn(credential.profile_arn),
        "proxyUsername": _own(entry, "proxyUsername"),
        "hasProxyPassword": bool(_own(entry, "proxyPassword")),
        "maxConcurrency": _number(entry, "maxConcurrency"),
        "rpm": _number(entry, "rpm"),
        "minRemainingCredits": _number(entry, "minRemainingCredits"),
        "minRemainingPercent": _number(entry, "minRemainingPercent"),
        "inFlight": state.in_flight,
        "requestsLastMinute": requests_last_minute,
        "state": state_of(state, now_ms, is_renewing),
        "cooldownUntil": _time(cooldown[0]),
        "cooldownReason": cooldown[1],
        "lastError": fault,
        "tokenState": token_state(credential, now_ms),
        "disabledAt": _time(state.disabled_at_ms) if reason else None,
        "fault": credential.fault or None,
        "balance": balance,
    }
    if proxy := _own(entry, "proxyUrl"):
        found["proxyUrl"] = without_login(proxy)
    if reason:
        found["disabledReason"] = reason
    return found


def state_of(state: State, now_ms: int, is_renewing: bool = False) -> str:
    """Return the one word for how a credential is."""
    reason = state.disabled_reason(now_ms)
    if reason in (INVALID_CONFIG, INVALID_REFRESH_TOKEN):
        return "invalid"
    if reason:
        return "quota" if reason == QUOTA_EXCEEDED else "disabled"
    if is_renewing:
        return "refreshing"
    return "cooling" if _cooldown(state, now_ms)[1] else "ready"


def is_throttled(state: State, now_ms: int) -> bool:
    """Say whether Kiro told a credential to slow down."""
    return _cooldown(state, now_ms)[1] == "rate"


def without_login(url: str) -> str:
    """Return a proxy's URL without user and password, however badly it is written.

    An entry that cannot be used is shown as well, so nothing may be taken for a URL here: what
    stands before the last @ goes, but for the scheme.
    """
    before, at, rest = url.rpartition("@")
    scheme, colon, _ = before.partition("://")
    return (scheme + colon if colon else "") + rest if at else url


def _cooldown(state: State, now_ms: int) -> tuple[int, str | None]:
    if state.cooling_until_ms > now_ms:
        if state.refresh_failures and not state.throttles:
            return state.cooling_until_ms, "refresh"
        return state.cooling_until_ms, "rate"
    if state.avoided_until_ms > now_ms:  # others first; it still serves where it is alone
        return state.avoided_until_ms, "network"
    return 0, None


def token_state(credential: Credential, now_ms: int) -> str:
    """Return the one word for how a credential's access token is."""
    if credential.auth_method == "api_key":
        return "valid" if credential.kiro_api_key else "none"
    if not credential.access_token:
        return "none"
    left_ms = credential.expires_in_ms(now_ms)
    if left_ms <= 0:
        return "expired"
    return "expiring" if left_ms < _EXPIRING_MS else "valid"


def _masked_arn(arn: str) -> str | None:
    """Keep the region, which is worth knowing, and the end of the profile's name."""
    if not arn:
        return None
    parts = arn.split(":")
    region = parts[3] if len(parts) > 3 else ""
    return f"{region}:…{arn[-4:]}" if region else f"…{arn[-4:]}"


def _own(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    return value if is_number else None


def _hash(secret: str) -> str | None:
    return digest(secret) if secret else None


def _time(at_ms: int) -> str | None:
    return rfc3339(at_ms) if at_ms > 0 else None
