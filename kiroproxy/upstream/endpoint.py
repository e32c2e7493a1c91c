"""Kiro's calls made of the tables: for each operation a URL, an identity, a body.

Rules of this file: no I/O, no clock, no randomness; nothing about an endpoint is decided
anywhere else, and nothing here knows a generation by name: what differs is in `generations`.

Theory of operation. The operator's `upstream` templates replace the generations' hosts whole. The
region of a call is the credential's API region (or auth region, for the logins), except where
the row pins it.

Source: `generations`; captures of the two login services for the rest.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from kiroproxy._json import read, write
from kiroproxy.accounts.credential import Credential
from kiroproxy.config import Config
from kiroproxy.errors import InternalError
from kiroproxy.upstream.generations import GENERATIONS, Generation, Operation

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """One call: where to and with which headers. Host and Content-Length are the transport's."""

    method: str
    url: str
    headers: Headers
    body: bytes = b""  # of a call whose whole content is known here


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
    told = {"origin": "AI_EDITOR", "resourceType": "AGENTIC_REQUEST"}
    if with_email:
        told["isEmailRequired"] = "true"
    return _target("usage", credential, config, invocation_id, told=told)


def list_models(
    credential: Credential, config: Config, *, invocation_id: str, next_token: str = ""
) -> Target:
    """Return the call for one page of the models a credential may use."""
    told = {"origin": _generation(credential, config).origin, "maxResults": "50"}
    if next_token:
        told["nextToken"] = next_token
    return _target("models", credential, config, invocation_id, told=told)


def list_profiles(credential: Credential, config: Config, *, invocation_id: str) -> Target:
    """Return the call for a credential's profiles; always asked in us-east-1."""
    return _target("profiles", credential, config, invocation_id)


def needs_profile(credential: Credential, config: Config) -> bool:
    """Say whether the door a credential goes through refuses it for want of a profile."""
    is_key = credential.auth_method == "api_key"
    return _generation(credential, config).needs_arn and not credential.profile_arn and not is_key


def is_shaped(credential: Credential, config: Config) -> bool:
    """Say whether `shaped` would return a body as it is."""
    name = credential.endpoint
    return (name if name in GENERATIONS else config.default_endpoint) in _ORDINARY


def shaped(credential: Credential, config: Config, body: bytes, conversation_id: str) -> bytes:
    """Return a conversation's body in the words of the credential's generation.

    Shape: `body` is `ide`'s, with `conversationState` first. Cost: nothing for `ide`, one
    concatenation for `kas`, a parse and an encoding for `cli`.
    """
    if is_shaped(credential, config):
        return body
    generation = _generation(credential, config)
    if generation.states_agent:
        prefix = b'{"conversationState":{'
        if not body.startswith(prefix):
            raise InternalError("a body does not begin with its conversation")
        root = orjson.dumps(conversation_id)
        start = b'{"agentMode":"vibe","conversationState":{"rootConversationId":'
        return b"".join((start, root, b",", body[len(prefix) :]))
    told = read(body)  # keeps the digits that orjson would round
    state = told["conversationState"]
    for entry in (*state.get("history", ()), state["currentMessage"]):
        if message := entry.get("userInputMessage"):
            message["origin"] = generation.origin
    return write(told)


_ORDINARY = frozenset(
    name
    for name, generation in GENERATIONS.items()
    if generation.origin == "AI_EDITOR" and not generation.states_agent
)


def mcp_body(
    credential: Credential, config: Config, payload: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a JSON-RPC call to Kiro's tools in the words of the credential's generation."""
    operation = _generation(credential, config).operations["mcp"]
    if operation.arn == "body" and credential.profile_arn and credential.auth_method != "api_key":
        return {**payload, "profileArn": credential.profile_arn}
    return payload


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


def _generation(credential: Credential, config: Config) -> Generation:
    # An endpoint name that is not in the table was reported when the credential was loaded.
    return GENERATIONS.get(credential.endpoint or "") or GENERATIONS[config.default_endpoint]


def _target(
    name: str,
    credential: Credential,
    config: Config,
    invocation_id: str,
    attempt: int = 1,
    told: Mapping[str, str] | None = None,
) -> Target:
    generation = _generation(credential, config)
    operation = generation.operations[name]
    region = operation.region or credential.api_region
    url = _host(generation, operation, config).replace("{region}", region) + operation.path
    body = b""
    if told is not None:
        told = {**told, **_arn(operation, credential)}
        if operation.method == "GET":
            url += "?" + urlencode(told)
        else:
            body = orjson.dumps({key: _member(value) for key, value in told.items()})
    headers = _headers(generation, operation, credential, config)
    headers.append((b"amz-sdk-invocation-id", _wire(invocation_id)))
    announced = f"attempt={attempt}; max={operation.sdk.max_attempts}"
    headers.append((b"amz-sdk-request", _wire(announced)))
    return Target(operation.method, url, headers, body)


def _member(text: str) -> object:
    """Return the JSON value that a query's text stands for."""
    return int(text) if text.isdecimal() else {"true": True}.get(text, text)


def _host(generation: Generation, operation: Operation, config: Config) -> str:
    """Pick the template; the management calls of a one-host set-up follow `apiUrl`."""
    urls = config.upstream
    if operation.host == "api":
        return urls.api_url or generation.api_host
    return urls.management_url or urls.api_url or generation.management_host


def _headers(
    generation: Generation, operation: Operation, credential: Credential, config: Config
) -> Headers:
    identity = _identity(generation, credential, config)
    is_api_key = credential.auth_method == "api_key"
    token = credential.kiro_api_key if is_api_key else credential.access_token
    headers = [
        (b"authorization", _wire(f"Bearer {token}")),
        (b"x-amz-user-agent", _wire(operation.sdk.amz_agent.format_map(identity))),
        (b"user-agent", _wire(operation.sdk.agent.format_map(identity))),
        (b"connection", b"keep-alive"),  # the reference says close, and pays a handshake a call
    ]
    if generation.accept:
        headers.insert(0, (b"accept", _wire(generation.accept)))
    if operation.content_type:
        headers.append((b"content-type", _wire(operation.content_type)))
    if operation.target:
        headers.append((b"x-amz-target", _wire(operation.target)))
    headers += [(_wire(name), _wire(value)) for name, value in operation.headers]
    if is_api_key:
        headers.append((b"tokentype", b"API_KEY"))
    elif operation.arn == "header" and credential.profile_arn:
        headers.append((b"x-amzn-kiro-profile-arn", _wire(credential.profile_arn)))
    return headers


_DEFAULT_VERSION = Config().kiro_version
_OS = {"darwin": "macos", "win32": "windows"}


def _identity(generation: Generation, credential: Credential, config: Config) -> Mapping[str, str]:
    """Return what the templates of an identity are filled with."""
    system = config.system_version
    # An operator who names a version means it for every generation.
    named = config.kiro_version if config.kiro_version != _DEFAULT_VERSION else ""
    version = named or generation.version or config.kiro_version
    return {
        "system": system,
        "os": _OS.get(system.partition("#")[0], "linux"),
        "node": config.node_version,
        "client": generation.client.format(version=version, machine=credential.machine_id),
    }


def _arn(operation: Operation, credential: Credential) -> dict[str, str]:
    """Return the profile where the operation takes one beside its other members."""
    is_social, is_key = credential.auth_method == "social", credential.auth_method == "api_key"
    wanted = operation.arn == "body" or (operation.arn == "social query" and is_social)
    return (
        {"profileArn": credential.profile_arn}
        if wanted and credential.profile_arn and not (is_key)
        else {}
    )


_UNSENDABLE = re.compile(r"[^\x20-\x7e]")


def _wire(text: str) -> bytes:
    """Encode one header value. Raises: InternalError — it could not be one header."""
    if _UNSENDABLE.search(text):
        # Not repeated in the message: the value may be a token.
        raise InternalError("a setting or credential holds characters no HTTP header can carry")
    return text.encode("ascii")
