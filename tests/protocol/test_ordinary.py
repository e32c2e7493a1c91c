"""The quick way to a plan: the plan that `convert` makes, to the byte, or none."""

import functools
import json
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kiroproxy._sse import UNSIGNED_SIGNATURE
from kiroproxy.errors import GatewayError
from kiroproxy.protocol import ordinary
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.offers import Offers
from kiroproxy.protocol.request import Plan, convert, parse_body
from kiroproxy.simulator.catalogue import MODELS

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
CATALOGUE = Catalogue.from_live(model.entry() for model in MODELS.values())
SEEN = [field.name for field in fields(Plan) if field.name not in ("_parts", "written_calls")]


def both(raw: bytes, session_id: str = "", **terms: Any) -> tuple[Plan | None, Plan | None]:
    """Return the plans of the quick way and of the long one; None: not ordinary, or refused."""
    terms = {"catalogue": CATALOGUE, "ids": lambda: "an-id", "session_id": session_id, **terms}
    quick = ordinary.plan(raw, **terms, offers=Offers())
    terms.pop("offers", None)
    try:
        return quick and quick[0], convert(parse_body(raw), **terms)
    except GatewayError:
        return quick and quick[0], None


def assert_same(quick: Plan, full: Plan) -> None:
    for name in SEEN:
        assert getattr(quick, name) == getattr(full, name), name
    assert (quick.written_calls is None) == (full.written_calls is None)
    if quick.written_calls and full.written_calls:
        assert quick.written_calls._find() == full.written_calls._find()
    assert (quick._parts is None) == (full._parts is None)
    for again in (
        Plan.without_reasoning,
        functools.partial(Plan.corrected, said="x", correction="y"),
    ):
        if quick._parts is not None:
            one, other = again(quick), again(full)
            assert (one and one._open) == (other and other._open)


def is_quick(raw: bytes, **terms: Any) -> bool:
    """Plan both ways and compare; say whether there was a quick way."""
    quick, full = both(raw, **terms)
    if quick is None:
        return False
    assert full is not None, "the quick way took what is to be refused"
    assert_same(quick, full)
    return True


def body(*messages: Any, **members: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": list(messages),
        "tools": TOOLS,
        **members,
    }


def said(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(name: str = "Bash", use: str = "toolu_1", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": use, "name": name, "input": arguments}


def result(content: Any = "done", use: str = "toolu_1", **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": use, "content": content, **members}


TOOLS = [
    {"name": "Bash", "description": "Runs.", "input_schema": {"type": "object", "properties": {}}},
    {"name": "Read", "input_schema": {"type": "object"}},
    {"name": "mcp.odd name", "description": "x" * 12_000, "input_schema": {"type": "array"}},
]
HELLO = {"role": "user", "content": "hello"}
LATER = [
    HELLO,
    said("assistant", text("I look."), call(command="ls", timeout=5)),
    said("user", result(is_error=True), text("and?")),
]


# -- captured clients ------------------------------------------------------------------------


def captured() -> list[Any]:
    found = []
    for path in sorted(CAPTURES.glob("*.json")):
        capture = json.loads(path.read_text())
        if isinstance(capture, dict) and capture["path"].partition("?")[0] == "/v1/messages":
            found.append(pytest.param(capture["body"], id=path.stem))
    return found


@pytest.mark.parametrize("sent", captured())
def test_a_captured_request_has_the_plan_that_convert_makes(sent: Any) -> None:
    ways = [
        is_quick(json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode()),
        is_quick(json.dumps(sent).encode()),
        is_quick(json.dumps(sent, indent=2).encode(), session_id="of the client"),
    ]
    assert len(set(ways)) == 1


def test_most_captured_sessions_are_ordinary() -> None:
    """Else the quick way would be of no use, whatever else is true of it."""
    bodies = [param.values[0] for param in captured()]
    assert sum(is_quick(json.dumps(sent).encode()) for sent in bodies) > len(bodies) * 0.7


# -- what is ordinary ------------------------------------------------------------------------

ORDINARY: list[dict[str, Any]] = [
    body(HELLO),
    body(*LATER),
    body(*LATER, system="Be brief.", stream=True, stop_sequences=["x"]),
    body(*LATER, system=[text("x-anthropic-billing-header: 1"), text("a"), text("b")]),
    body(*LATER, model="claude-opus-4-8", thinking={"type": "adaptive"}),
    body(*LATER, thinking={"type": "enabled", "budget_tokens": 4096}),
    body(*LATER, tool_choice={"type": "auto"}),
    body(*LATER, tool_choice={"type": "any"}),
    body(*LATER, tool_choice={"type": "tool", "name": "Read"}),
    body(*LATER, tool_choice={"type": "none"}),
    body(*LATER, tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
    body(*LATER, tools=None),
    body(*LATER, tools=[]),
    body(*LATER, tools=[*TOOLS, {"type": "bash_20250124", "name": "bash"}]),
    body(*LATER, tools=[*TOOLS, {"type": "web_fetch_20250910", "name": "web_fetch"}]),
    body(*LATER, tools=[TOOLS[0], {**TOOLS[1], "defer_loading": True}]),
    body(*LATER, tools=[{**TOOLS[0], "defer_loading": True}, TOOLS[1]]),
    body(*LATER, output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}),
    body(HELLO, said("assistant", call("bash")), said("user", result())),
    body(HELLO, said("assistant", call("mcp.odd name")), said("user", result())),
    body(HELLO, said("assistant", call("Gone")), said("user", result())),
    body(HELLO, said("assistant", call()), said("user", result(""))),
    body(HELLO, said("assistant", call()), said("user", result(None))),
    body(HELLO, said("assistant", call()), said("user", result([]))),
    body(HELLO, said("assistant", call()), said("user", result([text("a"), text(""), text("b")]))),
    body(
        HELLO,
        said("assistant", call(use="a"), text("between"), call("Read", use="b")),
        said("user", text("first"), result("B", use="b"), result("A", use="a"), text("last")),
    ),
    body(
        HELLO,
        said("assistant", text(""), text("a"), text("b"), call(), text("c"), text("")),
        said("assistant", text(""), text("d")),
        said("user", result()),
        {"role": "system", "content": "Mind the gap."},
        said("system", text("one"), text("two")),
        said("system", text("<system-reminder>as it is</system-reminder>"), text("")),
        said("user", text("go on")),
    ),
    body(
        HELLO,
        {"role": "system", "content": "x", "output_config": {"effort": "high"}},
        model="claude-opus-4-8",
        output_config={"effort": "low"},
    ),
    body(
        HELLO,
        {"role": "system", "content": "x", "output_config": {"effort": "high"}},
        {"role": "assistant", "content": "y", "type": "message", "id": "msg_1"},
        {"role": "user", "content": "z"},
        model="claude-opus-4-8",
    ),
    *(
        body(
            HELLO,
            said(
                "assistant",
                {"type": "thinking", "thinking": "hm", "signature": "first"},
                {"type": "thinking", "thinking": "so \u2028", "signature": signature},
                text("a"),
            ),
            said("user", text("b")),
            model=model,
        )
        for signature in ("Ep8CCkYIBxgC", UNSIGNED_SIGNATURE, "")
        for model in ("claude-opus-4-8", "claude-sonnet-4-5")
    ),
    body(
        HELLO,
        said(
            "assistant",
            call(
                a=[1, -2, 0, 1.5, True, False, None, [], {}, [[]], {"b": {"c": "d"}}],
                b='"quoted" \\ \n\t\r\b\f \x1b \x7f / é 中 👋',
                c=18446744073709551615,
                d=-9223372036854775808,
            ),
        ),
        said("user", result("é 中 👋 \x01 \u2028")),
    ),
    body(HELLO, metadata={"user_id": "user_a_session_3b241101-e2bb-4255-8caf-4136c566a962"}),
]


@pytest.mark.parametrize("sent", ORDINARY)
def test_an_ordinary_request_has_the_plan_that_convert_makes(sent: Any) -> None:
    assert is_quick(json.dumps(sent).encode())
    assert is_quick(json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode())
    assert is_quick(bytes(bytearray(json.dumps(sent, indent=1).encode())))


def test_members_may_stand_in_any_order() -> None:
    sent = dict(reversed(body(*LATER, system="x").items()))
    sent["messages"] = [
        {
            key: [dict(reversed(block.items())) for block in value]
            if isinstance(value, list)
            else value
            for key, value in reversed(message.items())
        }
        for message in sent["messages"]
    ]
    assert is_quick(json.dumps(sent).encode())


@pytest.mark.parametrize(
    "literal", [r"\/", r"\u0041", r"\u00e9", r"\ud83d\udc4b", r"\u001b", r"\u001F", r"\u000a"]
)
def test_an_escape_that_kiro_is_not_sent_is_written_as_the_other_way_writes_it(
    literal: str,
) -> None:
    sent = json.dumps(body(*LATER)).replace("ls", literal).replace("done", literal)
    assert is_quick(sent.replace("hello", literal).encode())


def test_long_texts_are_read_with_the_interpreter_let_go() -> None:
    long = "a line of text, é\n" * 10_000
    sent = body(
        HELLO, said("assistant", text(long), call(command=long)), said("user", result(long))
    )
    assert is_quick(json.dumps(sent, ensure_ascii=False).encode())
    assert is_quick(json.dumps(sent).encode())


# -- what is not -----------------------------------------------------------------------------

PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
EXTRAORDINARY: list[dict[str, Any]] = [
    body(HELLO, thread={"id": "x"}),
    body(HELLO, model="no-such-model"),
    body(HELLO, max_tokens=-1),
    body(HELLO, stop_sequences=[" "]),
    body(HELLO, system=5),
    body(HELLO, tools={"name": "x"}),
    body(HELLO, tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    body(HELLO, tools=[{"description": "nameless"}]),
    body(HELLO, tool_choice={"type": "tool", "name": "nobody"}),
    body(),
    body({"role": "user"}),
    body({"role": "user", "content": ""}),
    body({"role": "user", "content": None}, HELLO),
    body({"role": "user", "content": "word " * 400_000}),
    body({"role": "developer", "content": "x"}, HELLO),
    body({"role": "assistant", "content": "x"}, HELLO),
    body(HELLO, {"role": "assistant", "content": "prefill"}),
    body(HELLO, said("assistant", text("")), said("user", text("x"))),
    body(said("user", "a bare string")),
    body(said("user", PICTURE)),
    body(said("user", {**text("x"), "name": "y"})),
    body(said("user", {"type": "search_result"})),
    body(said("user", call())),
    body(said("user", result())),
    body(HELLO, said("assistant", result()), HELLO),
    body(HELLO, said("assistant", call()), HELLO),
    body(HELLO, said("assistant", call()), said("user", result(use="other"))),
    body(HELLO, said("assistant", call()), said("user", result(), result())),
    body(HELLO, said("assistant", call(), call()), said("user", result(), result())),
    body(HELLO, said("assistant", call(use="not legal!")), said("user", result(use="not legal!"))),
    body(HELLO, said("assistant", call(use="x" * 65)), said("user", result(use="x" * 65))),
    body(HELLO, said("assistant", call(**{"": 1})), said("user", result())),
    body(HELLO, said("assistant", call(a=[{"": 1}])), said("user", result())),
    body(HELLO, said("assistant", {**call(), "input": "{}"}), said("user", result())),
    body(HELLO, said("assistant", {**call(), "input": None}), said("user", result())),
    body(HELLO, said("assistant", {**call(), "name": ""}), said("user", result())),
    body(HELLO, said("assistant", call()), said("user", result([PICTURE]))),
    body(HELLO, said("assistant", call()), said("user", result([{"type": "tool_reference"}]))),
    body(HELLO, said("assistant", {"type": "redacted_thinking", "data": "eA=="}, text("a")), HELLO),
    body(HELLO, said("assistant", {"type": "server_tool_use", "id": "a", "name": "b"}), HELLO),
    body(HELLO, said("assistant", {"type": "thinking", "thinking": None}, text("a")), HELLO),
]


@pytest.mark.parametrize("sent", EXTRAORDINARY)
def test_anything_more_is_left_to_convert(sent: Any) -> None:
    assert not is_quick(json.dumps(sent).encode())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"hello"', b'"\\ud83d"'),
        (b'"hello"', b'"\\u0000"'),
        (b'"hello"', b'"\xff"'),
        (b'"hello"', b'"\xed\xa0\x80"'),
        (b'"hello"', b'"raw\ncontrol"'),
        (b'"hello"', b'"unfinished'),
        (b'"done"', b'"\\x"'),
        (b'"ls"', b'"\\ud83d"'),
        (b'"ls"', b"1e400"),
        (b'"ls"', b"1e5"),
        (b'"ls"', b"-0"),
        (b'"ls"', b"01"),
        (b'"ls"', b"-"),
        (b'"ls"', b"1.0.0"),
        (b'"ls"', b"123456789012345678901234567890"),
        (b'"ls"', b"[" * 70 + b"]" * 70),
        (b'"ls"', b'"ls","command":"again"'),
        (b'"command"', b'"\\u0063ommand"'),
        (b'"ls"', b"nul"),
        (b'"ls"', b"[1,]"),
        (b'"role": "assistant"', b'"role": "user", "role": "assistant"'),
        (b'"messages"', b'"messages": [], "messages"'),
        (b'"tools"', b'"tools": [], "tools"'),
        (b'"tools"', b'"tools": 5, "tools"'),
    ],
)
def test_what_is_not_plainly_right_is_left_to_the_other_reader(before: bytes, after: bytes) -> None:
    raw = json.dumps(body(*LATER)).encode()
    assert before in raw
    assert not is_quick(raw.replace(before, after, 1))


def test_a_request_that_ends_early_or_late_is_left_to_the_other_reader() -> None:
    raw = json.dumps(body(*LATER)).encode()
    assert is_quick(raw + b" \n")
    for end in range(len(raw)):
        assert ordinary.plan(raw[:end], catalogue=CATALOGUE, ids=lambda: "an-id") is None
    assert not is_quick(raw + b"x")


def test_a_conversation_with_a_cut_call_is_left_to_convert() -> None:
    raw = json.dumps(body(*LATER)).encode()
    assert not is_quick(raw, cut_calls=lambda conversation: {b"mark": "Read"})


def test_the_estimate_is_corrected_here_too() -> None:
    raw = json.dumps(body(*LATER)).encode()
    assert is_quick(raw, correct=lambda model, tokens: tokens * 2 + len(model))


def test_the_members_beside_the_messages_are_returned() -> None:
    found = ordinary.plan(
        json.dumps(body(*LATER, stream=True)).encode(), catalogue=CATALOGUE, ids=lambda: "an-id"
    )
    assert found is not None
    assert found[1] == {"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": True}


# -- any conversation at all -----------------------------------------------------------------

WORDS = [
    "a",
    "Hello, world",
    "",
    "x\ny",
    '"',
    "\\",
    "é",
    "中文",
    "👋",
    "\x1b[0m",
    "/",
    "    if x:\n",
    " ",
]
NAMES = ["Bash", "bash", "Read", "mcp.odd name", "Gone", "", "Näme"]


class Invention:
    """Bodies by chance: mostly ordinary, and now and then with something else in them."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def seldom(self) -> bool:
        return self.random.random() < 0.01

    def words(self) -> str:
        return "".join(self.random.choices(WORDS, k=self.random.randint(1, 6)))

    def value(self, depth: int = 0) -> Any:
        kind = self.random.randint(0, 7 if depth < 3 else 5)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        if kind == 7:
            return {self.words() or "k": self.value(depth + 1) for _ in range(2)}
        known = (self.words(), self.random.randint(-5, 10**12), 1.25, None, True, 10**19)
        return known[kind]

    def text(self) -> Any:
        extra = {"cache_control": {"type": "ephemeral"}} if self.random.random() < 0.2 else {}
        return {**text(self.words()), **extra}

    def call(self, use: str) -> Any:
        name = self.random.choice(NAMES if self.seldom() else NAMES[:5])
        made = call(name, use)
        made["input"] = {f"k{n}": self.value() for n in range(self.random.randint(0, 3))}
        return made

    def result(self, use: str) -> Any:
        inner = [self.text() for _ in range(self.random.randint(0, 2))]
        made = result(self.random.choice([self.words(), inner, ""]), use)
        if self.random.random() < 0.3:
            made["is_error"] = self.random.choice([True, False, None])
        return made

    def answer(self, uses: list[str]) -> Any:
        blocks = [self.call(use) for use in uses]
        for _ in range(self.random.randint(0 if uses else 1, 2)):
            blocks.insert(self.random.randint(0, len(blocks)), self.text())
        if self.random.random() < 0.3:
            thought = {"type": "thinking", "thinking": self.words(), "signature": "c2ln"}
            blocks.insert(0, thought)
        return said("assistant", *blocks)

    def messages(self) -> list[Any]:
        found: list[Any] = [said("user", self.text(), text("x"))]
        for turn in range(self.random.randint(0, 4)):
            uses = [f"toolu_{turn}_{n}" for n in range(self.random.randint(0, 3))]
            found.append(self.answer(uses))
            if self.seldom():
                uses = uses[1:]
            self.random.shuffle(uses)
            found.append(said("user", *map(self.result, uses), text(self.words() or "x")))
            if self.random.random() < 0.2:
                found.append({"role": "system", "content": self.words() or "x"})
        if self.seldom():
            found.append({"role": "assistant", "content": self.words()})
        return found

    def body(self) -> dict[str, Any]:
        made = body(*self.messages(), system=self.words())
        made["model"] = self.random.choice(["claude-sonnet-4-5", "claude-opus-4-8"])
        made["thinking"] = self.random.choice([None, {"type": "adaptive"}, {"type": "disabled"}])
        return {name: value for name, value in made.items() if value is not None}

    def written(self) -> bytes:
        raw = json.dumps(
            self.body(),
            ensure_ascii=self.random.random() < 0.5,
            indent=self.random.choice([None, None, 1]),
            separators=self.random.choice([None, (",", ":")]),
        )
        return (raw.replace("/", "\\/") if self.random.random() < 0.1 else raw).encode()


def test_any_conversation_has_the_plan_that_convert_makes() -> None:
    random = Random(20)
    invention = Invention(random)
    quick = sum(is_quick(invention.written()) for _ in range(600))
    assert quick > 300, "else the comparison says little"


def test_no_damage_to_a_body_makes_the_two_ways_disagree() -> None:
    random = Random(21)
    invention = Invention(random)
    quick = 0
    for _ in range(1200):
        raw = bytearray(invention.written())
        for _ in range(random.randint(1, 2)):
            at = random.randrange(len(raw))
            kind = random.randint(0, 3)
            if kind == 0:
                raw[at] = random.choice(b'"\\{}[],:0 \n\xc3\x80ntfx')
            elif kind == 1:
                del raw[at : at + random.randint(1, 4)]
            elif kind == 2:
                raw[at:at] = bytes(random.choices(b'"\\u0,:{}[] 1-e.\xe4', k=random.randint(1, 3)))
            else:
                raw[at:at] = raw[max(0, at - 20) : at]
        quick += is_quick(bytes(raw))
    assert quick > 100, "else the comparison says little"
