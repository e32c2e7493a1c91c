"""What the admin API says no with: one shape, a stable code, and what to do about it.

Rules of this file: `message` and `remedy` are for any holder of the admin key; upstream text and
secrets are not in them. A code, once published, keeps its meaning: the page translates by it.

Source: the reference's `{"error": {"type", "message"}}`, to which `code` and `remedy` are added.
"""

import re
import sqlite3
from typing import Any

from kiroproxy.errors import (
    ConfigError,
    CredentialDead,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestError,
    UpstreamError,
)

# type → HTTP status where nothing else is said; the first five are the reference's.
STATUSES = {
    "invalid_request": 400,
    "authentication_error": 401,
    "not_found": 404,
    "api_error": 502,
    "internal_error": 500,
    "rate_limited": 429,
}


class Refusal(Exception):
    """An answer that is an error. Units: retry_after_s in seconds."""

    def __init__(
        self,
        type: str,
        code: str,
        message: str,
        remedy: str = "",
        *,
        status: int = 0,
        retry_after_s: int | None = None,
        allow: str = "",
    ) -> None:
        super().__init__(message)
        self.type, self.code, self.message, self.remedy = type, code, message, remedy
        self.status = status or STATUSES[type]
        self.retry_after_s, self.allow = retry_after_s, allow

    def body(self) -> dict[str, Any]:
        """Return the JSON of the answer."""
        told = {"type": self.type, "message": self.message}
        return {"error": {**told, "code": self.code, "remedy": self.remedy}}


def invalid(code: str, message: str, remedy: str = "") -> Refusal:
    """Return a refusal of what was asked for."""
    return Refusal("invalid_request", code, message, remedy)


def no_such(what: str, id: object) -> Refusal:
    """Return a refusal for something that is not there."""
    return Refusal(
        "not_found", f"no_such_{what}", f"There is no {what.replace('_', ' ')} {id}",
        "It may have been deleted meanwhile: reload the list",
    )  # fmt: skip


def refusal_of(fault: Exception) -> Refusal | None:
    """Return how a fault of another layer is told, None for a bug of ours."""
    if isinstance(fault, Refusal):
        return fault
    if isinstance(fault, ConfigError):
        return _of_config(fault)
    if isinstance(fault, (sqlite3.Error, OSError)):
        return Refusal(
            "internal_error", "records_unavailable", "The file of records cannot be used now",
            "See the log of the gateway; is the disk full or read-only?", status=503,
        )  # fmt: skip
    return _of_gateway(fault) if isinstance(fault, GatewayError) else None


def _of_config(fault: ConfigError) -> Refusal:
    message = ": ".join(part for part in (fault.key, fault.reason) if part)
    if fault.reason == "is already here":
        return invalid("duplicate", "This credential is already here", "Edit the one that is here")
    if "cannot be written" in fault.reason or "is locked" in fault.reason:
        return Refusal("internal_error", "not_written", message, fault.remedy)
    return invalid("invalid_value", message, fault.remedy)


def _of_gateway(fault: GatewayError) -> Refusal:
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(fault).__name__).lower()
    if isinstance(fault, CredentialDead):
        return invalid(code, fault.message, "Log in again and put the new refresh token in")
    if isinstance(fault, NotFound):
        return Refusal("not_found", code, fault.message)
    if isinstance(fault, MethodNotAllowed):
        return Refusal("invalid_request", code, fault.message, status=405, allow=fault.allow)
    if isinstance(fault, RequestError):
        status = fault.status if isinstance(fault, PayloadTooLarge) or fault.status > 404 else 400
        return Refusal("invalid_request", code, fault.message, status=status)
    retry = None if fault.retry_after_s is None else max(1, round(fault.retry_after_s))
    remedy = "Try again; if it stays, look at the credential's state and the gateway's log"
    kind = "api_error" if isinstance(fault, UpstreamError) else "internal_error"
    return Refusal(kind, code, fault.message, remedy, retry_after_s=retry)
