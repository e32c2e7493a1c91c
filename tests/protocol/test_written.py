"""Written calls, understood: which texts are calls, with which arguments."""

import json
from typing import Any

import pytest

from kiroproxy.protocol.written import WrittenCalls

BASH = {
    "type": "object",
    "properties": {
        "command": {"type": "string"},
        "timeout": {"type": "integer"},
        "env": {"type": "object"},
        "note": {"type": ["string", "null"]},
    },
    "required": ["command"],
    "additionalProperties": False,
}
FREE: dict[str, Any] = {"type": "object"}
READER = WrittenCalls(
    lambda: {"Bash": ("Bash", BASH), "mcp_x_1234": ("mcp.x", FREE), "mcp.x": ("mcp.x", FREE)}
)
ANTML = "antml:"


def invoke(name: str = "Bash", prefix: str = "", **parameters: str) -> str:
    inner = "".join(
        f'<{prefix}parameter name="{key}">{value}</{prefix}parameter>\n'
        for key, value in parameters.items()
    )
    return f'<{prefix}invoke name="{name}">\n{inner}</{prefix}invoke>'


def wrapped(*calls: str, tag: str = "function_calls") -> str:
    return f"<{tag}>\n" + "\n".join(calls) + f"\n</{tag}>"


def read(text: str, final: bool = True) -> Any:
    found = READER.read(text.encode(), final)
    if not isinstance(found, tuple):
        return found
    return [(name, json.loads(arguments)) for name, arguments in found[1]]


LS = [("Bash", {"command": "ls"})]
FORMS = {
    "an invocation": invoke(command="ls"),
    "with a prefix": invoke(prefix=ANTML, command="ls"),
    "in a wrapper": wrapped(invoke(prefix=ANTML, command="ls"), tag=f"{ANTML}function_calls"),
    "in another wrapper": wrapped(invoke(command="ls"), tag="minimax:tool_call"),
    "in a dialect": wrapped(
        '<｜DSML｜invoke name="Bash">\n<｜DSML｜parameter name="command" string="true">ls'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>",
        tag="｜DSML｜function_calls",
    ),
    "on lines of its own": invoke(command="\nls\n"),
    "in brackets": '[Called Bash with args: {"command": "ls"}]',
    "in brackets, said otherwise": '[Called the tool `Bash` with {"command": "ls"} ]',
    "as JSON": '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>',
    "as other JSON": '<tool_use>{"name": "Bash", "input": {"command": "ls"}}</tool_use>',
}


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_call_is_read(form: str) -> None:
    assert read(FORMS[form]) == read(FORMS[form], final=False) == LS


@pytest.mark.parametrize("form", FORMS)
def test_a_call_takes_exactly_its_own_bytes(form: str) -> None:
    taken = READER.read((FORMS[form] + "\nbehind é").encode(), False)
    assert isinstance(taken, tuple)
    assert (FORMS[form] + "\n").encode()[: taken[0]].strip() == FORMS[form].encode()


@pytest.mark.parametrize("form", FORMS)
def test_a_beginning_is_waited_for_and_never_a_call_at_the_end(form: str) -> None:
    text = FORMS[form]
    wrapper_end = text.rindex("</") if text.count("</") > 2 else len(text)
    for size in range(9, len(text)):
        assert read(text[:size], final=False) is None, text[:size]
        if size < wrapper_end - 1:
            assert read(text[:size]) is False, text[:size]


def test_several_calls_share_a_wrapper() -> None:
    text = wrapped(invoke(command="a"), invoke("mcp.x", q="b"))
    assert read(text) == [("Bash", {"command": "a"}), ("mcp.x", {"q": "b"})]


def test_a_wrapper_that_nobody_closed_holds_its_whole_calls() -> None:
    text = "<function_calls>\n" + invoke(command="ls") + "\n"
    assert read(text, final=False) is None
    assert read(text) == LS


def test_a_tool_is_known_by_both_names_and_called_by_the_clients() -> None:
    assert (
        read(invoke("mcp_x_1234", q="1")) == read(invoke("mcp.x", q="1")) == [("mcp.x", {"q": "1"})]
    )


def test_a_value_is_what_its_schema_says() -> None:
    text = invoke(command="5", timeout="5", env='{"A": [1]}', note="null")
    assert read(text) == [
        ("Bash", {"command": "5", "timeout": 5, "env": {"A": [1]}, "note": "null"})
    ]


def test_a_text_may_hold_what_looks_like_its_end() -> None:
    value = 'echo "</parameter>" </invoke>\n  <b>'
    assert read(invoke(command=value)) == [("Bash", {"command": value})]


def test_numbers_keep_their_digits() -> None:
    digits = "123456789012345678901234567890"
    found = READER.read(f'[Called mcp.x with {{"n": {digits}}}]'.encode(), True)
    assert isinstance(found, tuple) and digits.encode() in found[1][0][1]


@pytest.mark.parametrize(
    "text",
    [
        invoke("Nope", command="ls"),
        invoke(),
        invoke(command="ls", more="1"),
        invoke(command="ls", timeout="soon"),
        invoke(command="ls", timeout="1.5"),
        '<invoke name="Bash"> well, that is how it is written',
        '[Called Bash with args: {"command": 5}]',
        '[Called Bash with args: {"command": "ls"} and so on]',
        "[Called up by nobody]\nmore",
        "[Called Bash with args: none]",
        '<tool_call>{"name": "Bash"}</tool_call>',
        '<tool_call>{"name": ["Bash"], "input": {}}</tool_call>',
        '<tool_call>{"name": "Bash", "input": {"command": "\\ud800"}}</tool_call>',
        "<tool_call>Bash</tool_call>",
        "<function_calls>\nnone\n</function_calls>",
    ],
)
def test_what_is_no_call_of_an_offered_tool_is_text(text: str) -> None:
    assert read(text) is False
    assert read(text, final=False) is False


def test_no_depth_of_nesting_is_more_than_text() -> None:
    calls = WrittenCalls(lambda: {"f": ("f", {})})
    for depth in range(800, 1010):  # around what Python's reader takes from here
        nested = '{"a":' * depth + "1" + "}" * depth
        text = f'<tool_call>{{"name":"f","input":{nested}}}</tool_call>'
        assert calls.read(text.encode(), True) is not None
