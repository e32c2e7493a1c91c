"""The demo's answers, and the magic words that ask for faults."""

import json
import re

import httpx
import pytest

from kiroproxy.simulator import Simulator, frames, magic
from kiroproxy.simulator.signing import is_genuine

BASH = {
    "toolSpecification": {
        "name": "Bash",
        "description": "runs",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {
                    "command": {"type": "string"},
                    "description": {"type": "string"},
                    "timeout": {"type": "number"},
                },
                "required": ["command"],
            }
        },
    }
}
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "inner": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "size": {"$ref": "#/$defs/size"},
        "next": {"$ref": "#"},
        "optional": {"type": "boolean"},
    },
    "required": ["title", "kind", "tags", "inner", "maybe", "size"],
    "$defs": {"size": {"type": "integer", "minimum": 3}},
}


class Reply:
    """What a response says, by kind of event."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.text
        told = [(str(f.headers[":event-type"]), f.json()) for f in frames.decode(response.content)]
        self.names = [name for name, _ in told]
        self.text = "".join(e["content"] for n, e in told if n == "assistantResponseEvent")
        thoughts = [e for n, e in told if n == "reasoningContentEvent"]
        self.thought = "".join(e.get("text", "") for e in thoughts)
        self.signature = "".join(e.get("signature", "") for e in thoughts)
        self.calls = [e for n, e in told if n == "toolUseEvent"]
        self.stop_reason = next(e["stopReason"] for n, e in told if n == "metadataEvent")

    @property
    def input(self):
        return json.loads("".join(call.get("input", "") for call in self.calls))


@pytest.fixture
async def ask(caller, make_body):
    async with Simulator(pace_s=0) as sim:

        async def ask(prompt, *, history=(), top=None, **members):
            body = {**make_body(prompt, **members), **(top or {})}
            if history:
                body["conversationState"]["history"] = list(history)
            return Reply(await caller.ask(sim, body))

        yield ask


def before(prompt="hello", reply="hi", **members):
    return [
        {"userInputMessage": {"content": prompt}},
        {"assistantResponseMessage": {"content": reply, **members}},
    ]


async def test_a_greeting_says_plainly_that_it_is_the_simulator_and_how_to_go_on(ask):
    reply = await ask("hi")
    assert "built-in simulator" in reply.text and "`credentials.json`" in reply.text
    assert reply.names.count("assistantResponseEvent") > 40  # streamed, not dumped
    assert reply.stop_reason == "END_TURN"
    assert not reply.thought and not reply.calls


async def test_chinese_is_answered_in_chinese(ask):
    reply = await ask("你好，请介绍一下自己")
    assert "内置的模拟器" in reply.text and "凭据" in reply.text
    assert reply.names.count("assistantResponseEvent") > 60


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("Please count to 5.", "1, 2, 3, 4, 5."),
        ("从 1 数到 3", "1, 2, 3。"),
        ("What is 17 + 25?", "17 + 25 = 42"),
        ("6 * 7", "6 * 7 = 42"),
        ("since 2026-11-22 it hangs", "You wrote"),
        ("Say hello.", "Hello!"),
        ("Thanks a lot", "welcome"),
        ("谢谢", "不客气"),
        ("Who are you?", "simulator"),
        ("Explain monads", "“Explain monads”"),
    ],
)
async def test_small_prompts_get_a_sensible_answer(ask, prompt, part):
    assert part in (await ask(prompt)).text


async def test_system_prompt_and_reminders_are_not_taken_for_the_users_words(ask):
    prompt = (
        "You are a coding agent. 中文。 Count to 9.\n\n<system-reminder>\nwho are you\n\nx\n"
        "</system-reminder>\n\nWhat is 2 + 3?\n\n<system-reminder>\nthanks\n</system-reminder>"
    )
    reply = await ask(prompt)
    assert reply.text.startswith("2 + 3 = 5")


async def test_it_thinks_where_thinking_is_asked_for_and_signs_what_it_thought(ask):
    adaptive = {"thinking": {"type": "adaptive", "display": "summarized"}}
    top = {"additionalModelRequestFields": adaptive}
    reply = await ask("hi", top=top, modelId="claude-opus-5")
    assert reply.thought and is_genuine(reply.signature, reply.thought)
    assert "<thinking>" not in reply.text
    adaptive["thinking"]["display"] = "omitted"
    reply = await ask("hi", top=top, modelId="claude-opus-5")
    assert not reply.thought and is_genuine(reply.signature, "")


async def test_it_thinks_in_tags_where_the_prompt_asks_for_tags(ask):
    reply = await ask("<thinking_mode>enabled</thinking_mode>\n\nhi")
    assert re.match(r"<thinking>.+?</thinking>\n\nHello!", reply.text, re.DOTALL)


async def test_the_first_turn_calls_the_shell_with_a_harmless_echo(ask):
    reply = await ask("hi", userInputMessageContext={"tools": [BASH]})
    assert {call["name"] for call in reply.calls} == {"Bash"}
    assert reply.input == {"command": "echo 'Hello from kiroproxy!'", "description": "Say hello"}
    assert reply.stop_reason == "TOOL_USE"


async def test_later_turns_call_it_only_when_tools_are_spoken_of(ask):
    members = {"userInputMessageContext": {"tools": [BASH]}}
    assert not (await ask("nice weather", history=before(), **members)).calls
    assert (await ask("run it again", history=before(), **members)).calls


async def test_calls_of_different_turns_have_different_ids(ask):
    members = {"userInputMessageContext": {"tools": [BASH]}}
    histories = [[], before(), before() * 2]
    replies = [await ask("run it", history=history, **members) for history in histories]
    assert len({reply.calls[0]["toolUseId"] for reply in replies}) == 3


async def test_a_shell_it_could_not_satisfy_is_left_alone(ask):
    schema = BASH["toolSpecification"]["inputSchema"]["json"]
    strange = {**schema, "required": ["command", "approval"]}
    specification = {**BASH["toolSpecification"], "inputSchema": {"json": strange}}
    tools = [{"toolSpecification": specification}]
    assert not (await ask("hi", userInputMessageContext={"tools": tools})).calls


@pytest.mark.parametrize(("status", "part"), [("success", "It worked"), ("error", "not run")])
async def test_a_tool_result_is_followed_by_a_closing_answer(ask, status, part):
    use = {"toolUseId": "t1", "name": "Bash", "input": {"command": "echo hi"}}
    result = {"toolUseId": "t1", "content": [{"text": "hi there"}], "status": status}
    context = {"tools": [BASH], "toolResults": [result]}
    reply = await ask("", history=before("x", "", toolUses=[use]), userInputMessageContext=context)
    assert part in reply.text and "> hi there" in reply.text
    assert not reply.calls and reply.stop_reason == "END_TURN"


async def test_a_wish_for_json_gets_a_value_of_that_schema_and_nothing_else(ask):
    wish = f"It must validate against this JSON schema: {json.dumps(SCHEMA)}"
    reply = await ask(f"{wish}\n\nWrite a title")
    told = json.loads(reply.text)
    assert set(told) == set(SCHEMA["required"])
    assert told["size"] == 3
    assert told["kind"] == "a" and told["inner"] == {"n": 1} and told["maybe"] is None
    assert [type(told["title"]), type(told["tags"][0])] == [str, str]
    old = await ask("Answer with 'isNewTopic' and 'title'")
    assert json.loads(old.text) == {"isNewTopic": True, "title": "Trying out kiroproxy"}
    later = await ask("and now?", history=before(f"{wish}\n\nhello"))
    assert set(json.loads(later.text)) == set(SCHEMA["required"])


async def test_a_demanded_tool_is_called_with_what_its_schema_wants(ask):
    for demand in ("the tool Bash", "at least one of the tools"):
        members = {"userInputMessageContext": {"tools": [BASH]}}
        reply = await ask(f"Hello\n\nAnswer by calling {demand}.", history=before(), **members)
        assert {call["name"] for call in reply.calls} == {"Bash"}
        assert reply.input == {"command": "simulated command"}


@pytest.mark.parametrize("word", sorted(magic.TABLE.keys() - {"slow", "silent"}))
async def test_every_magic_word_does_something_of_its_own(caller, make_body, word):
    async with Simulator(pace_s=0) as sim:
        try:
            response = await caller.ask(sim, make_body(f"please [simulate: {word}] now"))
            plain = await caller.ask(sim, make_body("please now"))
            assert (response.status_code, response.content) != (200, plain.content)
        except httpx.HTTPError:
            assert sim.requests[0].outcome == "dropped"


async def test_an_unknown_magic_word_lists_the_known_ones(ask):
    reply = await ask("[simulate: dragons]")
    assert all(word in reply.text for word in magic.TABLE)
