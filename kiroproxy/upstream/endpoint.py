"""Kiro's endpoints as data: for each operation a URL, and the identity a credential shows there.

Rules of this file: no I/O, no clock, no randomness; nothing about an endpoint is decided
anywhere else. A new generation of the API is a new row of `GENERATIONS`, not a new branch.

Theory of operation. An `Operation` says where one call goes and what it looks like; a
`Generation` is a set of them that an official client uses together. Hosts hold `{region}`;
the operator's `upstream` templates replace them whole. The region of a call is the
credential's API region (or auth region, for the two logins), except where the row pins it.

Source: captures of Kiro IDE's REST generation: paths, header names, the user-agent grammar.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from kiroproxy.accounts.credential import Credential
from kiroproxy.config import Config
from kiroproxy.errors import InternalError

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """One call: where to and with which headers. Host and Content-Length are the transport's."""

    method: str
    url: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Sdk:
    """The client library an operation's user agent names."""

    version: str
    api: str  # the `api/…` label
    mode: str  # the `m/…` feature flags
    max_attempts: int  # what amz-sdk-request announces


@dataclass(frozen=True, slots=True)
class Operation:
    """How one operation of a generation is called."""

    method: str
    path: str
    host: str  # "api" or "management": which template of the generation, and of the operator
    sdk: Sdk
    content_type: str = ""
    target: str = ""  # x-amz-target, for RPC generations
    agent: bool = False  # carries the agent mode and the telemetry opt-out
    arn_header: bool = False  # the profile ARN travels in x-amzn-kiro-profile-arn
    region: str = ""  # pinned; "" = the credential's


@dataclass(frozen=True, slots=True)
class Generation:
    """One way an official client speaks to Kiro."""

    api_host: str
    management_host: str
    agent_mode: str
    operations: Mapping[str, Operation]


_JSON = "application/json"
_STREAMING = Sdk("1.0.34", "codewhispererstreaming", "E", max_attempts=3)
_RUNTIME = Sdk("1.0.0", "codewhispererruntime", "N,E", max_attempts=1)

GENERATIONS: Mapping[str, Generation] = {
    "ide": Generation(
        api_host="https://q.{region}.amazonaws.com",
        management_host="https://q.{region}.amazonaws.com",
        agent_mode="vibe",
        operations={
            "generate": Operation(
                "POST", "/generateAssistantResponse", "api", _STREAMING, _JSON, agent=True
            ),
            "mcp": Operation("POST", "/mcp", "api", _STREAMING, _JSON, arn_header=True),
            "usage": Operation("GET", "/getUsageLimits", "management", _RUNTIME),
            "models": Operation("GET", "/ListAvailableModels", "management", _RUNTIME),
            # Profiles are registered in us-east-1 for everybody: the EU host answers `[]`.
            "profiles": Operation(
                "POST", "/ListAvailableProfiles", "management", _RUNTIME, _JSON, region="us-east-1"
            ),
        },
    ),
}

SOCIAL_AUTH_HOST = "https://prod.{region}.auth.desktop.kiro.dev"
OIDC_HOST = "https://oidc.{region}.amazonaws.com"
_OIDC_SDK = "3.980.0"

# Builder IDs have no profile of their own, yet newer hosts demand one; this is what the
# official clients' back end accepts for them. For one request only, never written back.
BUILDER_ID_PROFILE_ARN = "arn:aws:codewhisperer:us-east-1:638616132270:profile/AAAACCCCXXXX"


def generate(
    credential: Credential, config: Config, *, invocation_id: str, attempt: int = 1
) -> Target:
    """Return the streaming call.

    Shape: `invocation_id` is a UUID that stays the same over the attempts of one call.
    """
    return _target("generate", credential, config, invocation_id, attempt)


def mcp(credential: Credential, config: Config, *, invocation_id: str, attempt: int = 1) -> Target:
    """Return the JSON-RPC call to Kiro's built-in tools."""
    return _target("mcp", credential, config, invocation_id, attempt)


def usage_limits(
    credential: Credential, config: Config, *, invocation_id: str, with_email: bool = True
) -> Target:
    """Return the call for a credential's quota and subscription."""
    query = {"origin": "AI_EDITOR", "resourceType": "AGENTIC_REQUEST"}
    if with_email:
        query["isEmailRequired"] = "true"
    return _target(
        "usage", credential, config, invocation_id, query=query | _arn_in_query(credential)
    )


def list_models(
    credential: Credential, config: Config, *, invocation_id: str, next_token: str = ""
) -> Target:
    """Return the call for one page of the models a credential may use."""
    query = {"origin": "AI_EDITOR", "maxResults": "50"}
    if next_token:
        query["nextToken"] = next_token
    return _target(
        "models", credential, config, invocation_id, query=query | _arn_in_query(credential)
    )


def list_profiles(credential: Credential, config: Config, *, invocation_id: str) -> Target:
    """Return the call for a credential's profiles; always asked in us-east-1."""
    return _target("profiles", credential, config, invocation_id)


def social_refresh(credential: Credential, config: Config) -> Target:
    """Return the call that renews a Google, GitHub or Cognito login."""
    host = config.upstream.social_auth_url or SOCIAL_AUTH_HOST
    return Target(
        "POST",
        host.replace("{region}", credential.auth_region) + "/refreshToken",
        [
            (b"accept", b"application/json, text/plain, */*"),
            (b"content-type", b"application/json"),
            (b"user-agent", _wire(f"KiroIDE-{config.kiro_version}-{credential.machine_id}")),
        ],
    )


def oidc_token(credential: Credential, config: Config, *, invocation_id: str) -> Target:
    """Return the call that renews a Builder ID or IAM Identity Center login."""
    host = config.upstream.oidc_url or OIDC_HOST
    agent = (
        f"aws-sdk-js/{_OIDC_SDK} ua/2.1 os/{config.system_version} lang/js "
        f"md/nodejs#{config.node_version} api/sso-oidc#{_OIDC_SDK} m/E KiroIDE"
    )
    return Target(
        "POST",
        host.replace("{region}", credential.auth_region) + "/token",
        [
            (b"accept", b"*/*"),
            (b"content-type", b"application/json"),
            (b"x-amz-user-agent", _wire(f"aws-sdk-js/{_OIDC_SDK} KiroIDE")),
            (b"user-agent", _wire(agent)),
            (b"amz-sdk-invocation-id", _wire(invocation_id)),
            (b"amz-sdk-request", b"attempt=1; max=4"),
        ],
    )


def _target(
    name: str,
    credential: Credential,
    config: Config,
    invocation_id: str,
    attempt: int = 1,
    query: Mapping[str, str] | None = None,
) -> Target:
    # An endpoint name that is not in the table was reported when the credential was loaded.
    generation = GENERATIONS.get(credential.endpoint or "") or GENERATIONS[config.default_endpoint]
    operation = generation.operations[name]
    region = operation.region or credential.api_region
    url = _host(generation, operation, config).replace("{region}", region) + operation.path
    if query:
        url += "?" + urlencode(query)
    headers = _headers(generation, operation, credential, config)
    headers.append((b"amz-sdk-invocation-id", _wire(invocation_id)))
    announced = f"attempt={attempt}; max={operation.sdk.max_attempts}"
    headers.append((b"amz-sdk-request", _wire(announced)))
    return Target(operation.method, url, headers)


def _host(generation: Generation, operation: Operation, config: Config) -> str:
    """Pick the template; the management calls of a one-host set-up follow `apiUrl`."""
    urls = config.upstream
    if operation.host == "api":
        return urls.api_url or generation.api_host
    return urls.management_url or urls.api_url or generation.management_host


def _headers(
    generation: Generation, operation: Operation, credential: Credential, config: Config
) -> Headers:
    client = f"KiroIDE-{config.kiro_version}-{credential.machine_id}"
    library = operation.sdk
    sdk = f"aws-sdk-js/{library.version}"
    agent = (
        f"{sdk} ua/2.1 os/{config.system_version} lang/js md/nodejs#{config.node_version} "
        f"api/{library.api}#{library.version} m/{library.mode} {client}"
    )
    is_api_key = credential.auth_method == "api_key"
    token = credential.kiro_api_key if is_api_key else credential.access_token
    headers = [
        (b"accept", b"*/*"),
        (b"authorization", _wire(f"Bearer {token}")),
        (b"x-amz-user-agent", _wire(f"{sdk} {client}")),
        (b"user-agent", _wire(agent)),
        (b"connection", b"keep-alive"),  # the reference says close, and pays a handshake a call
    ]
    if operation.content_type:
        headers.append((b"content-type", _wire(operation.content_type)))
    if operation.target:
        headers.append((b"x-amz-target", _wire(operation.target)))
    if operation.agent:
        headers.append((b"x-amzn-kiro-agent-mode", _wire(generation.agent_mode)))
        headers.append((b"x-amzn-codewhisperer-optout", b"true"))
    if is_api_key:
        headers.append((b"tokentype", b"API_KEY"))
    elif operation.arn_header and credential.profile_arn:
        headers.append((b"x-amzn-kiro-profile-arn", _wire(credential.profile_arn)))
    return headers


def _arn_in_query(credential: Credential) -> dict[str, str]:
    """Name the profile of social logins only: enterprise ones are refused for naming it."""
    if credential.auth_method == "social" and credential.profile_arn:
        return {"profileArn": credential.profile_arn}
    return {}


_UNSENDABLE = re.compile(r"[^\x20-\x7e]")


def _wire(text: str) -> bytes:
    """Encode one header value. Raises: InternalError — it could not be one header."""
    if _UNSENDABLE.search(text):
        # Not repeated in the message: the value may be a token.
        raise InternalError("a setting or credential holds characters no HTTP header can carry")
    return text.encode("ascii")
