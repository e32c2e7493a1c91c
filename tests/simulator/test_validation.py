"""Each rule of the gate, with a body that breaks it and one that just does not."""

import base64
import copy
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from kiroproxy.simulator import validation
from kiroproxy.simulator.catalogue import MODELS
from kiroproxy.simulator.refusals import from_violation
from kiroproxy.simulator.signing import sign

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\0" * 20).decode()
ARN = "arn:aws:codewhisperer:us-east-1:638616132270:profile/AAAACCCCXXXX"


def user(content="hi", **members: Any) -> dict[str, Any]:
    return {"userInputMessage": {"content": content, "modelId": "claude-sonnet-4.5", **members}}


def assistant(content="hello", **members: Any) -> dict[str, Any]:
    return {"assistantResponseMessage": {"content": content, **members}}


def tool(name="read", description="reads", **schema: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}, **schema}
    specification = {"name": name, "description": description, "inputSchema": {"json": schema}}
    return {"toolSpecification": specification}


def use(tool_use_id="t1", name="read", value: Any = None) -> dict[str, Any]:
    return {"toolUseId": tool_use_id, "name": name, "input": value or {}}


def result(tool_use_id="t1", **members: Any) -> dict[str, Any]:
    return {"toolUseId": tool_use_id, "content": [{"text": "done"}], "status": "success", **members}


def context(**members: Any) -> dict[str, Any]:
    return {"userInputMessageContext": members}


def body(*history: dict[str, Any], current: dict[str, Any] | None = None, **top: Any) -> Any:
    state = {
        "conversationId": "c1",
        "chatTriggerType": "MANUAL",
        "currentMessage": current or user(origin="AI_EDITOR"),
    }
    if history:
        state["history"] = list(history)
    return {"conversationState": state, **top}


def tool_round(*, uses=None, results=None, tools=None) -> Any:
    """A question, the calls it led to, and a current message that answers them."""
    answer = context(
        tools=[tool()] if tools is None else tools,
        toolResults=[result()] if results is None else results,
    )
    asked = assistant("", toolUses=[use()] if uses is None else uses)
    return body(user(), asked, current=user("", **answer))


def state_with(**members: Any) -> Any:
    made = body()
    made["conversationState"].update(members)
    return made


def schema(**members: Any) -> Any:
    return body(current=user(**context(tools=[tool(**members)])))


def fields(model_id: str, **members: Any) -> Any:
    return body(current=user(modelId=model_id), additionalModelRequestFields=members)


def sized(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(head + bytes(9)).decode()


def image(kind="png", data=PNG) -> dict[str, Any]:
    return {"format": kind, "source": {"bytes": data}}


def document(name="a", kind="pdf") -> dict[str, Any]:
    return {"name": name, "format": kind, "source": {"bytes": PNG}}


def reasoning(**members: Any) -> Any:
    return body(user(), assistant(reasoningContent={"reasoningText": {"text": "hm", **members}}))


def without(made: Any, *path: str) -> Any:
    made = copy.deepcopy(made)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return made


UNDESCRIBED = without(tool(), "toolSpecification", "description")
BIG = "x" * (4 * 205_000)

REFUSED: list[tuple[str, str | None, Any]] = [
    ("S1", None, {}),
    ("S1", None, without(body(), "conversationState", "chatTriggerType")),
    ("S2", None, body(inferenceConfig={"maxTokens": 5})),
    ("S2", None, body(systemPrompt="be kind")),
    ("S2", None, body(agentMode="vibe")),
    ("S2", None, state_with(rootConversationId="x")),
    ("S2", None, body(current=user(reasoning={"effort": "high"}))),
    ("S3", None, body(current=user(images=None))),
    ("S3", None, body(profileArn=None)),
    ("S4", None, body(current=user(12))),
    ("S4", None, tool_round(uses=[{**use(), "input": "{}"}])),
    ("S4", None, body(current=user(**context(tools={})))),
    ("S5", None, state_with(conversationId="c" * 129)),
    ("S5", None, tool_round(tools=[tool("n" * 65)])),
    ("S5", None, tool_round(tools=[tool(), tool("b", "d" * 10_241)])),
    ("S5", "IMAGE_COUNT_EXCEEDED", body(current=user(images=[image()] * 11))),
    ("S5", "IMAGE_SIZE_EXCEEDED",
     body(current=user(images=[image(data=base64.b64encode(b"x" * 5_242_881).decode())]))),
    ("S5", None, body(current=user(images=[image(data="")]))),
    ("S6", None, state_with(chatTriggerType="AUTO")),
    ("S6", None, body(current=user(origin="EDITOR"))),
    ("S6", None, body(current=user(modelId="claude sonnet"))),
    ("S6", None, body(profileArn="arn:aws:iam::1:role/x")),
    ("S6", None, tool_round(tools=[tool(), tool("a.b")])),
    ("S6", None, tool_round(uses=[use("functions.read:4")], results=[result("functions.read:4")])),
    ("S6", None, tool_round(results=[result(status="ok")])),
    ("S6", None, body(current=user(documents=[document("two  spaces")]))),
    ("S6", None, body(current=user(documents=[document(kind="rtf")]))),
    ("S7", None, body({"systemMessage": {"content": "x"}})),
    ("S7", None, body({**user(), **assistant()}, assistant())),
    ("S7", None, body(current=assistant())),
    ("S8", None, body(current=user("half \ud83d"))),
    ("S8", None, tool_round(uses=[use(value={"k": ["\udc00"]})])),
    ("S9", None, body(current=user(images=[image(data="not base64!")]))),
    ("R1", None, body(current=user(""))),
    ("R1", None, body(user(), assistant(""))),
    ("R1", None, body(user(), assistant("", toolUses=[]))),
    ("R2", None, body(assistant(), user(), assistant())),
    ("R3", None, body(user(), user(), assistant())),
    ("R3", None, body(user(), assistant(), assistant())),
    ("R4", None, body(user())),
    ("R5", "TOOL_USE_RESULT_MISMATCH",
     body(user(), assistant("", toolUses=[use()]), current=user(**context(tools=[tool()])))),
    ("R5", "TOOL_USE_RESULT_MISMATCH", tool_round(results=[result(), result("t2")])),
    ("R5", "TOOL_USE_RESULT_MISMATCH", tool_round(uses=[use(), use("t2")])),
    ("R5", "TOOL_USE_RESULT_MISMATCH",
     body(current=user("", **context(tools=[tool()], toolResults=[result()])))),
    ("R5", "TOOL_USE_RESULT_MISMATCH",
     body(user(), assistant("", toolUses=[use()]), user("late"), assistant(),
          current=user("", **context(tools=[tool()], toolResults=[result()])))),
    ("R6", None, tool_round(results=[result(), result()])),
    ("R6", None, tool_round(uses=[use(), use()])),
    ("R7", "TOOL_CONFIG_MISSING", tool_round(tools=[])),
    ("R7", "TOOL_CONFIG_MISSING", tool_round(tools=[tool("Read")])),
    ("R8", "TOOL_DUPLICATE", tool_round(tools=[tool(), tool()])),
    ("R9", "TOOL_SCHEMA_INVALID", schema(type="array")),
    ("R9", "TOOL_SCHEMA_INVALID", schema(type=["object", "null"])),
    ("R9", "TOOL_SCHEMA_INVALID", schema(oneOf=[{"type": "object"}])),
    ("R9", "TOOL_SCHEMA_INVALID", schema(allOf=[{"type": "object"}])),
    ("R10", None, schema(required=None)),
    ("R10", None, schema(properties=None)),
    ("R10", None, schema(properties={"a": None})),
    ("R10", None, schema(properties={"a": {"type": "array", "items": None}})),
    ("R11", None, schema(required=[])),
    ("R11", None, schema(properties={"a": {"type": "object", "required": []}})),
    ("R14", None, schema(description=" ")),
    ("R15", None, tool_round(uses=[use(value={"a": [{"": 1}]})])),
    ("R18", "THINKING_SIGNATURE_INVALID", reasoning()),
    ("R18", "THINKING_SIGNATURE_INVALID", reasoning(signature="")),
    ("R19", None, body(user(**context(tools=[tool()])), assistant())),
    ("R23", "IMAGE_FORMAT_UNSUPPORTED", body(current=user(images=[image("bmp")]))),
    ("R23", "IMAGE_MIME_MISMATCH", body(current=user(images=[image("png", JPEG)]))),
    ("R23", "IMAGE_DIMENSION_EXCEEDED", body(current=user(images=[image(data=sized(8001, 9))]))),
    ("R23", "IMAGE_DIMENSION_EXCEEDED", body(current=user(images=[image(data=sized(9, 8001))]))),
    ("R24", "DOCUMENT_MODEL_NOT_SUPPORTED",
     body(current=user(documents=[document()], modelId="glm-5"))),
    ("R24", "DOCUMENT_DUPLICATE_NAME", body(current=user(documents=[document(), document()]))),
    ("R25", "INVALID_MODEL_ID", body(current=user(modelId="claude-opus-9"))),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-haiku-4.5", thinking={"type": "adaptive"})),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-5", thinking={"type": "enabled"})),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-5.5", thinking={"type": "disabled"})),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-4.6", output_config={"effort": "xhigh"})),
    ("R26", "REQUEST_BODY_INVALID",
     fields("claude-opus-5", thinking={"type": "adaptive", "budget_tokens": 5})),
    ("R26", "REQUEST_BODY_INVALID",
     fields("claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "low"})),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-5", max_tokens=1023)),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-5", max_tokens=True)),
    ("R26", "REQUEST_BODY_INVALID", fields("claude-opus-5", max_output_tokens=2000)),
    ("R26", "REQUEST_BODY_INVALID", fields("gpt-5.6-sol", output_config={"effort": "high"})),
    ("R27", "CONTENT_LENGTH_EXCEEDS_THRESHOLD", body(current=user(BIG))),
]  # fmt: skip

ACCEPTED: dict[str, Any] = {
    "the smallest body": without(body(), "conversationState", "conversationId"),
    "a profile": body(profileArn=ARN),
    "limits met exactly": state_with(
        conversationId="c" * 128, agentContinuationId=str(uuid4()), agentTaskType="vibe"
    ),
    "a tool round with empty contents": tool_round(),
    "results in another order": tool_round(
        uses=[use("a"), use("b")], results=[result("b"), result("a")]
    ),
    "a null inside a tool's input": tool_round(uses=[use(value={"limit": None})]),
    "the longest names and texts": tool_round(
        uses=[use("i" * 64)],
        results=[result("i" * 64)],
        tools=[tool(), tool("n" * 64, "d" * 10_240)],
    ),
    "an image of 8000 pixels a side": body(current=user(images=[image(data=sized(8000, 8000))])),
    "ten images": body(current=user(images=[image()] * 10)),
    "an image of exactly 5 MiB": body(
        current=user(images=[image(data=base64.b64encode(b"x" * 5_242_880).decode())])
    ),
    "two documents": body(current=user(documents=[document("a (1)"), document("b", "md")])),
    "an image inside a result": tool_round(results=[result(content=[{"image": image()}])]),
    "a property named required, a null default": schema(
        properties={"required": {"type": "array", "default": None, "enum": [None, 1]}},
        required=["required"],
        additionalProperties=False,
    ),
    "combinators below the top": schema(
        properties={"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    ),
    "a description left out": body(current=user(**context(tools=[UNDESCRIBED]))),
    "signed reasoning": reasoning(signature="anything"),
    "opus thinking": fields(
        "claude-opus-5",
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "xhigh"},
        max_tokens=1024,
    ),
    "thinking switched off": fields("claude-opus-5", thinking={"type": "disabled"}),
    "gpt effort": fields("gpt-5.6-sol", reasoning={"effort": "none"}),
    "just below the window": body(current=user("x" * (4 * 199_000))),
    "an image that would fill the window as text": body(
        current=user(images=[image(data=base64.b64encode(b"y" * 1_000_000).decode())])
    ),
    "no text but blank": body(user(" "), assistant(" ")),
}


@pytest.mark.parametrize(("rule", "reason", "made"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_broken_rule_is_the_first_one_named(rule, reason, made):
    first = validation.find(made)[0]
    assert (first.rule, first.reason) == (rule, reason), str(first)


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_conforming_body_is_accepted(name):
    assert validation.violations(ACCEPTED[name]) == []


def test_the_newest_generation_is_lenient_where_it_was_seen_to_be():
    loose = body(assistant(), user(), user(), agentMode="vibe")
    loose["conversationState"]["rootConversationId"] = "sess_x"
    assert validation.violations(loose, "kas") == []
    assert len(validation.violations(loose, "ide")) == 2  # unknown members
    long = schema(description="d" * 20_000)
    assert validation.violations(long, "kas") == []
    assert validation.violations(long, "ide") != []


@pytest.mark.parametrize("model_id", [m.model_id for m in MODELS.values() if m.efforts])
def test_every_published_schema_accepts_every_effort_it_lists(model_id):
    for effort in MODELS[model_id].efforts:
        name = "output_config" if MODELS[model_id].family == "claude" else "reasoning"
        assert validation.violations(fields(model_id, **{name: {"effort": effort}})) == []


def test_a_refusal_speaks_in_kiros_words_and_tells_the_rule_in_a_header():
    refusal = from_violation(validation.find(tool_round(tools=[tool(), tool()]))[0])
    assert refusal.status == 400
    assert b'"reason":"TOOL_DUPLICATE"' in refusal.body()
    assert b'"__type":"com.amazon.aws.codewhisperer#ValidationException"' in refusal.body()
    assert b"kiro.runtimeservice#" in refusal.body("kas")
    headers = dict(refusal.headers())
    assert headers["x-amzn-errortype"] == "ValidationException"
    assert headers["x-simulator-rule"].startswith("R8")
    assert headers["x-amzn-requestid"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, part in inner:
        deeper = (*path, key)
        found += places(part, deeper) if isinstance(part, dict | list) else [deeper]
    return found


WHOLE = {
    **tool_round(uses=[use("a"), use("b", value={"x": [1]})], results=[result("a"), result("b")]),
    "profileArn": ARN,
    "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
}
WHOLE["conversationState"]["currentMessage"]["userInputMessage"] |= {
    "modelId": "claude-opus-5",
    "images": [image()],
    "documents": [document()],
}


@pytest.mark.parametrize("path", places(WHOLE), ids=lambda path: "/".join(map(str, path))[-60:])
def test_any_value_in_any_place_is_judged_without_a_crash(path):
    for value in (None, True, 7, 1.5, "", "text", [], [None], [[]], {}, {"": None}, {"a": {}}):
        made = copy.deepcopy(WHOLE)
        inner: Any = made
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        validation.violations(made)
        if value is None and "input" not in path:
            assert validation.violations(made) != [], path


def test_what_never_reaches_the_model_is_named():
    extra = [{"name": "a", "description": "b", "innerContext": "c"}]
    hidden = tool_round(results=[result(content=[{"text": "t"}, {"image": image()}])])
    assert validation.unseen(hidden) == [
        "conversationState.currentMessage.userInputMessage: image in the result of t1"
    ]
    made = body(current=user(**context(additionalContext=extra)))
    assert (validation.violations(made), len(validation.unseen(made))) == ([], 1)
    assert validation.unseen(tool_round()) == []


def test_a_body_nested_too_deeply_is_refused():
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert "nested" in validation.violations(tool_round(uses=[use(value=deep)]))[0]


@dataclass
class Someone:
    profile_arn: str = ""
    is_api_key: bool = False
    used: float = 0.0
    doors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    is_spent: bool = False


@dataclass
class Gate:
    region: str = "us-east-1"
    require_profile_arn: bool = False
    callers: dict[str, Someone] = field(default_factory=lambda: {"good": Someone()})

    def caller(self, token: str) -> Someone | None:
        return self.callers.get(token)


IDENTITY = "KiroIDE-0.11.107-" + "a" * 64
HEADERS = {
    "authorization": "Bearer good",
    "content-type": "application/json",
    "x-amzn-kiro-agent-mode": "vibe",
    "x-amzn-codewhisperer-optout": "true",
    "amz-sdk-invocation-id": str(uuid4()),
    "amz-sdk-request": "attempt=1; max=3",
    "x-amz-user-agent": f"aws-sdk-js/1.0.34 {IDENTITY}",
    "user-agent": "aws-sdk-js/1.0.34 ua/2.1 os/darwin#24.6.0 lang/js md/nodejs#22.22.0 "
    f"api/codewhispererstreaming#1.0.34 m/E {IDENTITY}",
}
KEY_HEADERS = {**HEADERS, "authorization": "Bearer ksk_1", "tokentype": "API_KEY"}
WITH_KEY = {"good": Someone(ARN), "ksk_1": Someone(is_api_key=True)}


def test_a_complete_ide_request_passes():
    assert validation.check_request(body(profileArn=ARN), HEADERS, Gate()) is None


@pytest.mark.parametrize(
    ("header", "value", "rule"),
    [
        ("content-type", "application/x-amz-json-1.0", "A4"),
        *((name, None, "A5") for name in list(HEADERS)[2:]),
        ("x-amzn-kiro-agent-mode", "chat", "A5"),
        ("amz-sdk-invocation-id", "1234", "A5"),
        ("amz-sdk-request", "attempt=1", "A5"),
        ("user-agent", "python-httpx/0.28", "A5"),
    ],
)
def test_a_wrong_identity_header_is_refused(header, value, rule):
    headers = {**HEADERS, header: value} if value else without(HEADERS, header)
    refusal = validation.check_request(body(), headers, Gate())
    assert refusal and (refusal.status, refusal.rule[:2]) == (400, rule)


@pytest.mark.parametrize("value", [None, "Basic good", "Bearer other", "Bearer "])
def test_a_bearer_the_service_does_not_know_is_refused_with_403(value):
    headers = {**HEADERS, "authorization": value} if value else without(HEADERS, "authorization")
    refusal = validation.check_request(body(), headers, Gate())
    assert refusal and refusal.status == 403
    assert refusal.message == "The bearer token included in the request is invalid"


@pytest.mark.parametrize(
    ("headers", "arn", "status", "message"),
    [
        (KEY_HEADERS, None, 0, ""),
        (without(KEY_HEADERS, "tokentype"), None, 400, "profileArn is required for this request."),
        (KEY_HEADERS, ARN, 403, "User is not authorized to make this call."),
        ({**HEADERS, "tokentype": "API_KEY"}, None, 403, "The bearer token included"),
        ({**KEY_HEADERS, "authorization": "Bearer ksk_9"}, None, 401, "The bearer token included"),
        (HEADERS, ARN, 0, ""),
        (HEADERS, None, 400, "profileArn is required for this request."),
        (HEADERS, ARN.replace("us-east-1", "eu-central-1"), 400, "Improperly formed request."),
        (HEADERS, ARN.replace("AAAA", "BBBB"), 403, "User is not authorized to make this call."),
    ],
)
def test_credentials_and_profiles_must_fit(headers, arn, status, message):
    gate = Gate(require_profile_arn=True, callers=WITH_KEY)
    made = body(profileArn=arn) if arn else body()
    refusal = validation.check_request(made, headers, gate)
    assert (refusal.status if refusal else 0) == status
    assert (refusal.message if refusal else "").startswith(message)


@pytest.mark.parametrize(
    ("signature", "status"), [(sign("hm"), 0), (sign("ha"), 400), ("c2ln", 400), ("ü", 400)]
)
def test_only_its_own_signature_of_the_same_text_is_accepted(signature, status):
    refusal = validation.check_request(reasoning(signature=signature), HEADERS, Gate())
    assert (refusal.status if refusal else 0) == status
    assert not refusal or refusal.reason == "THINKING_SIGNATURE_INVALID"


def test_gpt_reasoning_is_not_asked_for_a_signature():
    foreign = reasoning(signature="theirs")
    current = foreign["conversationState"]["currentMessage"]["userInputMessage"]
    current["modelId"] = "gpt-5.6-sol"
    assert validation.check_request(foreign, HEADERS, Gate()) is None
