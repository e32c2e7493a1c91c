"""A model that writes its tool calls out, through real sockets, against the simulator."""

from typing import Any

from kiroproxy.simulator.script import Text, answer

TOOLS = [
    {
        "name": "mcp.files/read",
        "description": "Read",
        "input_schema": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    }
]
CALL = '<invoke name="mcp.files/read">\n<parameter name="path">a.txt</parameter>\n</invoke>'
SAID = f"I read it.\n\n<function_calls>\n{CALL}\n</function_calls>"


async def test_a_written_call_of_an_offered_tool_is_a_tool_use(
    run_gateway: Any, read_stream: Any
) -> None:
    gateway = await run_gateway(answer(Text(SAID, size=5)), answer(SAID))
    streamed = read_stream((await gateway.ask(stream=True, tools=TOOLS)).content).message
    whole = (await gateway.ask(tools=TOOLS)).json()
    for message in (streamed, whole):
        said, call = message["content"]
        assert said == {"type": "text", "text": "I read it.\n\n"}
        assert (call["name"], call["input"]) == ("mcp.files/read", {"path": "a.txt"})
        assert call["id"].startswith("toolu_") and message["stop_reason"] == "tool_use"


async def test_its_result_comes_back_as_one_of_a_real_call(run_gateway: Any) -> None:
    gateway = await run_gateway(answer(SAID), answer("It is empty."))
    first = (await gateway.ask(tools=TOOLS)).json()
    call = first["content"][1]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "hello"}
    messages = [
        {"role": "user", "content": "Read a.txt"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result]},
    ]
    second = await gateway.ask(tools=TOOLS, messages=messages)
    assert second.json()["content"] == [{"type": "text", "text": "It is empty."}]
    (answered,) = gateway.sim.of("generate")[1].tool_results
    assert answered["toolUseId"] == call["id"]


async def test_it_stays_text_where_no_such_tool_is_offered(run_gateway: Any) -> None:
    said = "As in:\n" + CALL
    other = [TOOLS[0] | {"name": "Other"}]
    for changes in ({}, {"tools": other}, {"tools": TOOLS, "tool_choice": {"type": "none"}}):
        gateway = await run_gateway(answer(said))
        message = (await gateway.ask(**changes)).json()
        assert message["content"] == [{"type": "text", "text": said}]
        assert message["stop_reason"] == "end_turn"


async def test_a_demanded_call_may_be_written(run_gateway: Any) -> None:
    gateway = await run_gateway(answer(SAID))
    message = (await gateway.ask(tools=TOOLS, tool_choice={"type": "any"})).json()
    assert message["stop_reason"] == "tool_use" and len(gateway.sim.of("generate")) == 1
