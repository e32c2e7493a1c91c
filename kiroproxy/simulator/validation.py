"""The gate: whom the simulator serves, and which bodies it takes.

Rules of this file: refuses exactly what `grammar` (S rules), `rules` (R rules) and the header
rules below name; every refusal tells its rule in `x-simulator-rule`.

    A1 the bearer is a token issued or accepted here, and has not expired
    A2 a ksk_ key comes with TokenType API_KEY and without a profileArn; no one else sends it so
    A3 a profileArn is the caller's own, of the region the host serves, and there if required:
       by "cli" and "kas" of every token
    A4 content type and target belong to the generation
    A6 an account whose credits are used up is told so; one without a model is refused it
    A5 each generation states its agent mode, opt-out, invocation id, attempt and identity in its
       own way: "ide" in headers, "kas" its mode and root conversation in the body, "cli" its origin
    A7 an account is served by the generations its subscription covers

Source: captured requests of the three client generations; answers recorded by gateways' users.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from kiroproxy.simulator import rules, shapes
from kiroproxy.simulator.conversation import read
from kiroproxy.simulator.grammar import check
from kiroproxy.simulator.refusals import (
    ARN_REQUIRED,
    BAD_ARN,
    BAD_BEARER,
    IMPROPER,
    NO_SUCH_MODEL,
    NOT_AUTHORIZED,
    USED_UP,
    WRONG_APPLICATION,
    Refusal,
    Violation,
    denied,
    from_violation,
)

REQUEST_CREDITS: Final = 0.1


class Caller(Protocol):
    """What is known of a bearer token: its own ARN ("" = any), its kind, its plan."""

    used: float
    doors: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def is_spent(self) -> bool: ...
    @property
    def profile_arn(self) -> str: ...
    @property
    def is_api_key(self) -> bool: ...


class State(Protocol):
    """What the checks need to know of the simulator."""

    region: str  # "" = every region is served
    require_profile_arn: bool

    def caller(self, token: str) -> Caller | None:
        """Return the caller of a live token, None for an unknown or expired one."""


def violations(body: dict[str, Any], generation: str = "ide") -> list[str]:
    """Name everything Kiro would refuse in a generateAssistantResponse body.

    Shape: one line a violation, its rule's number first; empty = accepted. The rules between
    messages are only looked at when every shape is right. `generation`: "ide", "cli" or "kas".
    Whether a replayed signature is genuine only `check_request` asks.
    """
    return [str(found) for found in find(body, generation)]


def find(body: dict[str, Any], generation: str = "ide") -> list[Violation]:
    """As `violations`, but as objects."""
    try:
        misshapen = list(check(shapes.request(generation), body, "body"))
        if misshapen:
            return misshapen
        talk = read(body, generation)
        return [found for rule in rules.EVERY for found in rule(talk)]
    except RecursionError:
        return [Violation("S4", "body", "is nested too deeply")]


def unseen(body: dict[str, Any]) -> list[str]:
    """Name what Kiro accepts and never shows to the model, in a body without violations."""
    found = []
    for turn in read(body, "ide").turns:
        if turn.context.get("additionalContext"):
            found.append(f"{turn.where}: additionalContext")
        found += [
            f"{turn.where}: image in the result of {result['toolUseId']}"
            for result in turn.results
            if any("image" in part for part in result["content"])
        ]
    return found


def check_request(
    body: dict[str, Any], headers: Mapping[str, str], state: State, region: str = ""
) -> Refusal | None:
    """Decide on a generateAssistantResponse call as Kiro would.

    Shape: header names in lower case; `region` is the one the host serves, "" = state's own.
    """
    generation = generation_of(headers)
    refusal = check_identity(headers) or check_caller(
        headers, state, body.get("profileArn", ""), region
    )
    if refusal:
        return refusal
    is_key = headers["authorization"].startswith("Bearer ksk_")
    wants_arn = state.require_profile_arn or generation != "ide"
    if wants_arn and not is_key and not body.get("profileArn"):
        return Refusal(400, "ValidationException", ARN_REQUIRED, rule="A3 profileArn missing")
    found = find(body, generation) or list(_dialect(body, generation))
    found = found or list(rules.genuineness(read(body, generation)))
    return from_violation(found[0]) if found else _check_plan(headers, state, body)


def _dialect(body: dict[str, Any], generation: str) -> Iterator[Violation]:
    """A5, as far as the body goes."""
    state = body["conversationState"]
    if generation == "kas" and "agentMode" not in body:
        yield Violation("A5", "body.agentMode", "is missing")
    if generation == "kas" and "rootConversationId" not in state:
        yield Violation("A5", "body.conversationState.rootConversationId", "is missing")
    if generation != "cli":
        return
    for entry in (*state.get("history", ()), state["currentMessage"]):
        origin = entry.get("userInputMessage", {"origin": "CLI"}).get("origin")
        if origin not in ("CLI", "KIRO_CLI"):
            yield Violation("A5", "userInputMessage.origin", f"is {origin}, not the client's")


def check_management(
    headers: Mapping[str, str], state: State, arn: object, region: str = ""
) -> Refusal | None:
    """The gate of usage and models: by RPC with the profile of every token."""
    if refusal := check_caller(headers, state, arn, region):
        return refusal
    if generation_of(headers) == "ide":
        return None
    if headers.get("content-type") != "application/x-amz-json-1.0":
        return Refusal(400, "ValidationException", IMPROPER, rule="A4 content type")
    if not arn and not headers["authorization"].startswith("Bearer ksk_"):
        return Refusal(400, "ValidationException", BAD_ARN, rule="A3 profileArn missing")
    return None


def _check_plan(headers: Mapping[str, str], state: State, body: dict[str, Any]) -> Refusal | None:
    """A6, and what an accepted request costs."""
    caller = state.caller(headers["authorization"].removeprefix("Bearer "))
    assert caller is not None, "the caller was checked"
    message = body["conversationState"]["currentMessage"]["userInputMessage"]
    if caller.models and message.get("modelId", "auto") not in caller.models:
        rule = "A6 the plan does not include the model"
        return Refusal(400, "ValidationException", NO_SUCH_MODEL, "INVALID_MODEL_ID", rule=rule)
    if caller.is_spent:
        kind, reason = "ServiceQuotaExceededException", "MONTHLY_REQUEST_COUNT"
        return Refusal(402, kind, USED_UP, reason, rule="A6 the credits are used up")
    caller.used += REQUEST_CREDITS
    return None


def generation_of(headers: Mapping[str, str]) -> str:
    """Tell the generation by the target's namespace: "ide", "cli" or "kas"."""
    target = headers.get("x-amz-target", "")
    if not target:
        return "ide"
    return "kas" if target.startswith("Kiro") else "cli"


def check_caller(
    headers: Mapping[str, str], state: State, arn: object, region: str = ""
) -> Refusal | None:
    """A1, A2, A3: the same on every operation that takes a bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    caller = state.caller(token) if scheme == "Bearer" else None
    kind = headers.get("tokentype", "")
    if caller is None:
        status = 401 if token.startswith("ksk_") and kind == "API_KEY" else 403
        return denied(BAD_BEARER, "A1 the bearer token is unknown or expired", status)
    if caller.is_api_key and kind != "API_KEY":
        rule = "A2 a ksk_ key needs TokenType: API_KEY"
        return Refusal(400, "ValidationException", ARN_REQUIRED, rule=rule)
    if caller.is_api_key and arn:
        return denied(NOT_AUTHORIZED, "A2 a ksk_ key comes without a profileArn")
    if not caller.is_api_key and kind == "API_KEY":
        return denied(BAD_BEARER, "A2 TokenType API_KEY with a token that is no ksk_ key")
    generation = generation_of(headers)
    if caller.doors and generation not in caller.doors:
        return denied(WRONG_APPLICATION, f"A7 the account is not served by {generation}")
    return _check_arn(caller, str(arn or ""), region or state.region)


def _check_arn(caller: Caller, arn: str, region: str) -> Refusal | None:
    if not arn:
        return None
    if region and arn.split(":")[3:4] != [region]:
        rule = f"A3 profileArn {arn} is not of the host's region {region}"
        return Refusal(400, "ValidationException", IMPROPER, rule=rule)
    if caller.profile_arn and arn != caller.profile_arn:
        return denied(NOT_AUTHORIZED, "A3 profileArn belongs to another account")
    return None


_UUID4: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_IDENTITY: Final = r"KiroIDE-\d+\.\d+\.\d+-[0-9a-f]{64}"
_IDE_HEADERS: Final = {
    "content-type": r"application/json",
    "x-amzn-kiro-agent-mode": r"vibe|spec",
    "x-amzn-codewhisperer-optout": r"true|false",
    "amz-sdk-invocation-id": _UUID4,
    "amz-sdk-request": r"attempt=\d+; max=\d+",
    "x-amz-user-agent": rf"aws-sdk-js/[\d.]+ {_IDENTITY}",
    "user-agent": rf"aws-sdk-js/[\d.]+ ua/2\.1 os/\S+ lang/js md/nodejs#[\d.]+ "
    rf"api/codewhispererstreaming#[\d.]+ m/\S+ {_IDENTITY}",
}
_RPC_HEADERS: Final = {
    "content-type": r"application/x-amz-json-1\.0",
    "amz-sdk-invocation-id": _UUID4,
    "amz-sdk-request": r"attempt=\d+; max=\d+.*",
    "x-amzn-codewhisperer-optout": r"true|false",
    "x-kiro-attempt": r"\d+;max=\d+",
}
_RUST: Final = (
    r"aws-sdk-rust/[\d.]+ ua/2\.1 api/\w+/[\d.]+ os/(macos|linux|windows) lang/rust/[\d.]+"
)
_KAS: Final = rf"{_IDENTITY}-KAS/[\d.]+"
_HEADERS: Final = {
    "ide": _IDE_HEADERS,
    "cli": _RPC_HEADERS
    | {
        "x-amz-user-agent": rf"{_RUST} m/\S+ app/AmazonQ-For-CLI",
        "user-agent": rf"{_RUST} md/appVersion-[\d.]+ app/AmazonQ-For-CLI",
    },
    "kas": _RPC_HEADERS
    | {
        "x-amzn-kiro-client-attribution": r"kiro-ide|unrecognized",
        "x-amz-user-agent": rf"aws-sdk-js/[\d.]+ {_KAS}",
        "user-agent": rf"aws-sdk-js/[\d.]+ ua/2\.1 os/\S+ lang/js md/nodejs#[\d.]+ "
        rf"api/kiroruntime#[\d.]+ m/\S+ {_KAS}",
    },
}


def check_identity(headers: Mapping[str, str]) -> Refusal | None:
    """A4 and A5 for generateAssistantResponse."""
    generation = generation_of(headers)
    if generation != "ide" and "x-amzn-kiro-agent-mode" in headers:
        rule = f"A5 {generation} has no header x-amzn-kiro-agent-mode"
        return Refusal(400, "ValidationException", IMPROPER, rule=rule)
    wanted = _HEADERS[generation]
    for name, pattern in wanted.items():
        value = headers.get(name)
        if value is None or not re.fullmatch(pattern, value):
            rule = f"{'A4' if name == 'content-type' else 'A5'} header {name}: {value!r}"
            return Refusal(400, "ValidationException", IMPROPER, rule=rule)
    return None
