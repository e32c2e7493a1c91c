"""What a refused caller is told: Kiro's statuses, exception names, reasons and wordings.

Rules of this file: only words Kiro itself uses reach the wire body. Which rule was broken, and
where, travels in `x-simulator-rule`, a header the real service does not have.

Source: the runtime service's modelled exceptions and answers recorded by gateways' users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import orjson

IMPROPER: Final = "Improperly formed request."
BAD_BEARER: Final = "The bearer token included in the request is invalid"
ARN_REQUIRED: Final = "profileArn is required for this request."
USED_UP: Final = "You have reached the limit."
NO_SUCH_MODEL: Final = "Invalid model ID. Please select a different model to continue."
BAD_ARN: Final = "Invalid profileArn."
WRONG_APPLICATION: Final = "Your subscription does not support this application"
NOT_AUTHORIZED: Final = "User is not authorized to make this call."

NAMESPACES: Final = {
    "ide": "com.amazon.aws.codewhisperer",
    "cli": "com.amazon.aws.codewhisperer",
    "kas": "com.amazon.kiro.runtimeservice",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: its number, the place in the body, a sentence for the developer."""

    rule: str
    where: str
    what: str
    reason: str | None = None
    message: str = IMPROPER

    def __str__(self) -> str:
        reason = f" [{self.reason}]" if self.reason else ""
        return f"{self.rule}{reason} {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer that is not 200, in the shape all Kiro's operations share."""

    status: int
    kind: str  # exception name without namespace
    message: str
    reason: str | None = None
    rule: str = ""
    retry_after_s: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def body(self, generation: str = "ide") -> bytes:
        """Render the JSON body; `extra` members come last."""
        name = f"{NAMESPACES[generation]}#{self.kind}"
        base = {"message": self.message, "reason": self.reason, "__type": name}
        return orjson.dumps({**base, **self.extra})

    def headers(self) -> list[tuple[str, str]]:
        """Render the response headers."""
        out = [
            ("content-type", "application/json"),
            ("x-amzn-errortype", self.kind),
            ("x-amzn-requestid", str(uuid4())),
        ]
        if self.retry_after_s is not None:
            out.append(("retry-after", f"{self.retry_after_s:g}"))
        if self.rule:
            out.append(("x-simulator-rule", self.rule.encode("ascii", "replace").decode()[:400]))
        return out


def from_violation(violation: Violation) -> Refusal:
    """Turn the first broken rule into the 400 Kiro answers."""
    return Refusal(
        400, "ValidationException", violation.message, violation.reason, rule=str(violation)
    )


def denied(message: str, rule: str, status: int = 403) -> Refusal:
    """Refuse the caller, not the body."""
    return Refusal(status, "AccessDeniedException", message, rule=rule)
