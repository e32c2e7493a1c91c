"""The error tree: what went wrong, what the client is told, whether a try may follow.

    KiroproxyError
    ├── ConfigError                 start-up: file, line, key, reason, remedy
    └── GatewayError                anything that ends, or nearly ends, a request
        ├── RequestError            the client's fault; never retried
        │   ├── Unauthorized  Forbidden  NotFound  MethodNotAllowed
        │   └── RequestTimeout  PayloadTooLarge  UnsupportedMedia
        ├── UpstreamError           Kiro's answer, or the lack of one
        │   ├── ConnectFailed  ConnectionLost  UpstreamTimeout  ProxyFailed
        │   ├── BadFrame  ProtocolViolation  EmptyAnswer
        │   ├── Throttled  Overloaded  ServerFault  QuotaExhausted
        │   ├── TokenRejected  AccessDenied  WrongDoor  Suspended  WrongProfile
        │   ├── Refused  PromptTooLong  OutputTooLong  SignatureRefused  ModelRefused
        │   ├── Unmet
        │   └── RefreshFailed  CredentialDead
        ├── NoCredential            nobody left to ask
        └── InternalError           ours

Rules of this file: `message` may be published to any client, so it never holds upstream
text, an account id or a token; those go into `detail`, which only the log sees. Retry rules
are data here; counting tries is `upstream.dispatch`'s job.

Source: Anthropic's status table and Kiro's exception reasons, as BEHAVIOUR.md lists them.
"""

from enum import Enum


class Retry(Enum):
    """What another try needs in order to make sense."""

    NEVER = "never"  # the same request would be refused again
    SAME = "same"  # the same credential may answer next time
    NEXT = "next"  # this credential will not; another may


class KiroproxyError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(KiroproxyError):
    """Refuse to start: one fault in one of the operator's files."""

    def __init__(
        self, reason: str, *, file: str = "", line: int = 0, key: str = "", remedy: str = ""
    ) -> None:
        self.reason, self.file, self.line, self.key, self.remedy = reason, file, line, key, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line else "")
        head = ": ".join(part for part in (place, self.key, self.reason) if part)
        return f"{head}. {self.remedy}" if self.remedy else head


class GatewayError(KiroproxyError):
    """A request that ends without the answer it asked for.

    Shape: `status` and `kind` are what the client sees (HTTP status, Anthropic error type);
    `detail` is for the log only. `should_retry` overrides what clients make of the status.
    Units: retry_after_s in seconds, None where unknown.
    """

    status = 500
    kind = "api_error"
    retry = Retry.NEVER
    should_retry: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        retry_after_s: float | None = None,
        error_code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.error_code = error_code  # goes to error.details.error_code when set


class InternalError(GatewayError):
    """Our own fault: a bug, or a state that should not be reachable."""


# -- the client's fault ------------------------------------------------------------------


class RequestError(GatewayError):
    """A request that cannot be understood or must not be served."""

    status = 400
    kind = "invalid_request_error"


class Unauthorized(RequestError):
    """No key, or a key that is not ours."""

    status = 401
    kind = "authentication_error"


class Forbidden(RequestError):
    """A known client asking for what it may not have."""

    status = 403
    kind = "permission_error"


class NotFound(RequestError):
    """An unknown path or model."""

    status = 404
    kind = "not_found_error"


class MethodNotAllowed(RequestError):
    """A known path with the wrong method."""

    status = 405

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow  # value of the Allow header


class RequestTimeout(RequestError):
    """A request whose bytes did not arrive in time."""

    status = 408
    kind = "timeout_error"


class PayloadTooLarge(RequestError):
    """A body over the limit."""

    status = 413
    kind = "request_too_large"


class UnsupportedMedia(RequestError):
    """A body that is not JSON by its own headers."""

    status = 415


# -- Kiro's answer -----------------------------------------------------------------------


class UpstreamError(GatewayError):
    """A try that Kiro did not turn into an answer."""

    status = 502
    retry = Retry.NEXT


class ConnectFailed(UpstreamError):
    """DNS, TCP or TLS did not come up."""

    retry = Retry.SAME


class ProxyFailed(ConnectFailed):
    """The operator's proxy refused the tunnel."""


class ConnectionLost(UpstreamError):
    """The connection ended before the answer did."""

    retry = Retry.SAME


class UpstreamTimeout(UpstreamError):
    """Kiro was silent for longer than the setting named in `setting` allows."""

    status = 504
    kind = "timeout_error"

    def __init__(self, message: str, *, setting: str, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.setting = setting


class BadFrame(UpstreamError):
    """Bytes that are not an event-stream message."""

    retry = Retry.SAME

    def __init__(self, fault: str, *, expected: int = 0, actual: int = 0, offset: int = 0) -> None:
        super().__init__(
            "Kiro sent a damaged stream",
            detail=f"{fault}: expected {expected:#x}, got {actual:#x} at byte {offset}",
        )
        self.fault, self.expected, self.actual, self.offset = fault, expected, actual, offset


class ProtocolViolation(UpstreamError):
    """Whole messages in an order, or with a content, that Kiro's model does not allow."""

    retry = Retry.SAME


class EmptyAnswer(UpstreamError):
    """A 200 without a single content event."""

    retry = Retry.SAME


class Throttled(UpstreamError):
    """This credential asked too often; another one may ask now."""

    status = 429
    kind = "rate_limit_error"


class Overloaded(UpstreamError):
    """Kiro lacks capacity for the model; no credential is to blame."""

    status = 529
    kind = "overloaded_error"


class ServerFault(UpstreamError):
    """A 5xx that names no reason."""

    retry = Retry.SAME


class QuotaExhausted(UpstreamError):
    """The credential's plan is used up until its reset date."""

    status = 402
    kind = "billing_error"


class TokenRejected(UpstreamError):
    """The access token is not (or no longer) valid: refresh once, then give up on it."""

    retry = Retry.SAME
    should_retry = False  # here and below: the operator's to mend, not a matter of time


class AccessDenied(UpstreamError):
    """The credential is valid and still may not do this."""

    should_retry = False


class WrongDoor(AccessDenied):
    """This generation of the API does not serve the account; another one may."""


class WrongProfile(UpstreamError):
    """The profile ARN is missing, foreign, or of another region: resolve it and ask again."""

    retry = Retry.SAME
    should_retry = False


class Suspended(UpstreamError):
    """Kiro locked the account. Asking again makes it worse."""

    should_retry = False


class Refused(UpstreamError):
    """Kiro says the request itself is wrong; it would say so again."""

    status = 400
    kind = "invalid_request_error"
    retry = Retry.NEVER


class ModelRefused(Refused):
    """This credential may not use the model; another one may."""

    status = 404
    kind = "not_found_error"
    retry = Retry.NEXT
    model_id = ""  # Kiro's id, set by who knows what was asked for


class PromptTooLong(Refused):
    """The conversation does not fit the model's context window."""


class OutputTooLong(Refused):
    """The conversation fits, but not with the room it asks for its answer."""


class SignatureRefused(Refused):
    """Replayed reasoning was not accepted: ask once more without it."""

    retry = Retry.SAME


class Unmet(UpstreamError):
    """The model did not do what the request demands of its answer, though told so twice."""

    retry = Retry.NEVER
    should_retry = False  # clients would have it answered, and charged, twice more each time


class RefreshFailed(UpstreamError):
    """The token could not be renewed for a reason that passes by itself."""

    status = 503


class CredentialDead(UpstreamError):
    """The refresh token is revoked or malformed; only a new login helps."""

    should_retry = False


class NoCredential(GatewayError):
    """Nobody left to ask: none configured, none enabled, or all cooling down."""

    status = 503

    def __init__(
        self, message: str, *, detail: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, detail=detail, retry_after_s=retry_after_s)
        self.should_retry = None if retry_after_s is not None else False


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that a handled error came through, and of its causes.

    Cost: they hold the request, body and all, and lead back to the error, so that only the
    collector would free them; it looks rarely.
    """
    each: BaseException | None = error
    while each is not None:
        following = each.__cause__ or each.__context__
        each.__traceback__ = each.__cause__ = each.__context__ = None
        each = following
