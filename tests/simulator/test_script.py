"""Every scripted behaviour, as a client sees it through a real socket."""

import asyncio
import json

import httpx
import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

from kiroproxy.simulator import Simulator, answer, frames, refuse
from kiroproxy.simulator import script as s
from kiroproxy.simulator.render import Scene, render_body
from kiroproxy.simulator.signing import is_genuine

HARD_TEXT = 'Ünïcödé "quotes" \\ \n\t<thinking>x</thinking> 🦊 中文 \x01 ' * 3


def events(response: httpx.Response) -> list[tuple[str, dict]]:
    return [
        (str(frame.headers.get(":event-type", frame.headers.get(":exception-type"))), frame.json())
        for frame in frames.decode(response.content)
    ]


def said(response: httpx.Response) -> str:
    texts = [told["content"] for name, told in events(response) if name == "assistantResponseEvent"]
    return "".join(texts).encode("utf-16", "surrogatepass").decode("utf-16")


async def played(caller, script) -> httpx.Response:
    async with Simulator(script) as sim:
        return await caller.ask(sim)


async def test_an_ordinary_answer_has_kiros_opening_and_tail_in_order(caller):
    response = await played(caller, answer("Hello"))
    assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert [name for name, _ in events(response)] == [
        "messageMetadataEvent",
        "assistantResponseEvent",
        "metadataEvent",
        "contextUsageEvent",
        "meteringEvent",
    ]
    raw = frames.decode(response.content)[1].payload
    assert raw == b'{"content":"Hello","modelId":"claude-sonnet-4.5"}'


@pytest.mark.parametrize("escape", ["plain", "html", "ascii"])
@pytest.mark.parametrize("size", [0, 1, 2, 5])
async def test_text_survives_every_cut_and_escape(caller, escape, size):
    response = await played(caller, answer(s.Text(HARD_TEXT, size=size, escape=escape)))
    assert said(response) == HARD_TEXT
    assert (b"\\u003c" in response.content) == (escape == "html")


async def test_utf16_cuts_put_the_halves_of_a_pair_into_two_frames(caller):
    response = await played(caller, answer(s.Text("a🦊b", size=1, unit="utf16")))
    payloads = [frame.payload for frame in frames.decode(response.content)]
    assert payloads[2].startswith(b'{"content":"\\ud83e"')
    assert payloads[3].startswith(b'{"content":"\\udd8a"')


async def test_byte_cuts_put_parts_of_a_character_into_two_frames(caller):
    response = await played(caller, answer(s.Text("é", size=1, unit="byte")))
    payloads = [frame.payload for frame in frames.decode(response.content)][1:3]
    assert b"".join(raw.split(b'"')[3] for raw in payloads) == "é".encode()
    with pytest.raises(UnicodeDecodeError):
        payloads[0].decode()


async def test_reasoning_ends_with_a_genuine_signature_or_begins_with_it(caller):
    late = events(await played(caller, answer(s.Reasoning("deep thought", size=5))))
    assert [told.get("text") for _, told in late[1:5]] == ["deep ", "thoug", "ht", None]
    assert is_genuine(late[4][1]["signature"], "deep thought")
    early = events(await played(caller, answer(s.Reasoning("x", signature_first=True))))
    assert "signature" in early[1][1] and early[2][1] == {"text": "x"}
    bare = events(await played(caller, answer(s.Reasoning("x", signature=""))))
    assert all("signature" not in told for _, told in bare)
    hidden = events(await played(caller, answer(s.Redacted("abcd"))))
    assert hidden[1] == ("reasoningContentEvent", {"redactedContent": "abcd"})


async def test_a_tool_call_comes_as_name_fragments_and_stop(caller):
    script = answer(s.Tool("read", '{"path":"a"}', "t1", size=5))
    calls = [told for name, told in events(await played(caller, script)) if name == "toolUseEvent"]
    assert calls[0] == {"name": "read", "toolUseId": "t1"}
    assert "".join(call.get("input", "") for call in calls) == '{"path":"a"}'
    assert [call.get("stop") for call in calls] == [None] * 4 + [True]


async def test_a_call_without_arguments_never_has_an_input_key(caller):
    told = events(await played(caller, answer(s.Tool("now", tool_use_id="t"))))
    calls = [call for name, call in told if name == "toolUseEvent"]
    assert calls == [
        {"name": "now", "toolUseId": "t"},
        {"name": "now", "toolUseId": "t", "stop": True},
    ]


async def test_interleaved_calls_deal_their_frames_out_in_turn(caller):
    tools = (s.Tool("a", '{"x":1}', "1", size=4), s.Tool("b", "{}", "2", size=1))
    told = events(await played(caller, answer(s.Interleaved(tools))))
    ids = [call["toolUseId"] for name, call in told if name == "toolUseEvent"]
    assert ids == ["1", "2", "1", "2", "1", "2", "1", "2"]


async def test_an_unfinished_call_has_no_stop_and_no_tail_follows(caller):
    script = s.Script((s.Start(), s.Tool("write", '{"a":', stop=False)))
    told = events(await played(caller, script))
    assert [name for name, _ in told] == ["messageMetadataEvent", "toolUseEvent", "toolUseEvent"]
    assert all("stop" not in call for _, call in told[1:])


async def test_an_object_input_comes_parsed(caller):
    told = events(await played(caller, answer(s.Tool("a", '{"x":[1]}', as_object=True))))
    assert told[2][1]["input"] == {"x": [1]}


async def test_exceptions_and_errors_come_as_their_own_frames(caller):
    script = s.Script((s.Text("a"), s.Throw("ThrottlingException", "slow", "R"), s.Error("E", "m")))
    _, thrown, failed = frames.decode((await played(caller, script)).content)
    assert thrown.headers[":exception-type"] == "ThrottlingException"
    assert thrown.json() == {"message": "slow", "reason": "R"}
    assert (failed.headers[":error-code"], failed.payload) == ("E", b"")


@pytest.mark.parametrize("offset", [0, 10, 40, -6, -1])
async def test_damage_breaks_exactly_the_next_frame(caller, offset):
    response = await played(caller, s.Script((s.Text("a"), s.Damage(offset), s.Text("b"))))
    buffer = EventStreamBuffer()
    buffer.add_data(response.content)
    assert next(buffer).payload.startswith(b'{"content":"a"')
    with pytest.raises(ChecksumMismatch):
        next(buffer)


@pytest.mark.parametrize("how", ["reset", "close", "end"])
async def test_a_cut_delivers_exactly_that_many_bytes_at_every_offset(caller, how):
    steps = (s.Start(), s.Text("ab"))
    whole = render_body(steps, Scene(conversation_id="c1"))
    async with Simulator(lambda _: next(scripts)) as sim:
        cuts = range(0, len(whole), 17)
        scripts = iter([s.Script(steps, cut_after=cut, cut=how) for cut in cuts])
        for cut in cuts:
            got, ended = b"", "end"
            try:
                async with caller.stream(sim) as response:
                    async for chunk in response.aiter_raw():
                        got += chunk
            except (httpx.ReadError, httpx.RemoteProtocolError) as error:
                ended = "reset" if isinstance(error, httpx.ReadError) else "close"
            assert len(got) == cut
            assert ended == how
            assert sim.requests[-1].outcome == ("done" if how == "end" else "dropped")


async def test_bodies_are_the_same_whatever_the_chunk_sizes(caller):
    steps = answer(s.Text("The quick brown fox. " * 20, size=3)).steps
    bodies = [
        (await played(caller, s.Script(steps, chunk_sizes=sizes))).content
        for sizes in ((), (1, 2, 7), (64,), (100_000,))
    ]
    strip = [[frame.payload for frame in frames.decode(body)] for body in bodies]
    assert strip[0] == strip[1] == strip[2] == strip[3]


async def test_chunk_sizes_are_what_goes_into_each_write():
    async with Simulator(s.Script((s.Raw(b"x" * 10),), chunk_sizes=(3, 1)), strict=False) as sim:
        reader, writer = await asyncio.open_connection(sim.host, sim.port)
        writer.write(
            b"POST /generateAssistantResponse HTTP/1.1\r\ncontent-length: 2\r\n"
            b"connection: close\r\n\r\n{}"
        )
        raw = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert raw.endswith(b"\r\n\r\n3\r\nxxx\r\n1\r\nx\r\n3\r\nxxx\r\n1\r\nx\r\n2\r\nxx\r\n0\r\n\r\n")


async def test_an_empty_answer_is_200_with_no_bytes(caller):
    response = await played(caller, s.Script())
    assert (response.status_code, response.content) == (200, b"")


async def test_a_plain_answer_is_sent_as_it_is(caller):
    script = s.Script((s.Plain(502, "<p>bad</p>", "text/html", {"x-a": "b"}),))
    response = await played(caller, script)
    assert (response.status_code, response.text) == (502, "<p>bad</p>")
    assert (response.headers["content-type"], response.headers["x-a"]) == ("text/html", "b")


async def test_a_refusal_has_kiros_form_and_its_retry_time(caller):
    script = refuse(
        429, "ThrottlingException", "Too many", "USER_REQUEST_RATE_EXCEEDED", retry_after_s=7,
        extra={"retryAfterMilliseconds": 7000},
    )  # fmt: skip
    response = await played(caller, script)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.headers["x-amzn-errortype"] == "ThrottlingException"
    assert response.json() == {
        "message": "Too many",
        "reason": "USER_REQUEST_RATE_EXCEEDED",
        "__type": "com.amazon.aws.codewhisperer#ThrottlingException",
        "retryAfterMilliseconds": 7000,
    }


@pytest.mark.parametrize(
    ("how", "error"), [("reset", httpx.ReadError), ("close", httpx.RemoteProtocolError)]
)
async def test_a_drop_before_the_head_leaves_the_client_without_an_answer(caller, how, error):
    with pytest.raises(error):
        await played(caller, s.Script((s.Drop(how),)))


async def test_silence_lasts_until_the_client_leaves_and_the_record_says_who_left(caller):
    async with Simulator(s.Script((s.Silence(),))) as sim:
        task = asyncio.create_task(caller.ask(sim))
        request = await sim.wait_for(1)
        assert request.outcome == ""
        task.cancel()
        await request.finished.wait()
        assert (request.outcome, request.status) == ("left", 0)


async def test_hold_waits_for_its_release_with_everything_before_it_delivered(caller):
    script = s.Script((s.Text("before"), s.Hold("go"), s.Text("after")))
    async with Simulator(script) as sim, caller.stream(sim) as response:
        chunks = response.aiter_raw()
        first = await anext(chunks)
        assert frames.decode(first)[0].json()["content"] == "before"
        sim.release("go")
        assert b"after" in b"".join([chunk async for chunk in chunks])


async def test_head_alone_can_be_sent_before_any_frame(caller):
    script = s.Script((s.Head(), s.Hold(), s.Text("late")))
    async with Simulator(script) as sim, caller.stream(sim) as response:
        assert response.status_code == 200
        sim.release()
        assert b"late" in await response.aread()


async def test_pace_and_waits_change_nothing_but_time(caller):
    script = s.Script((s.Wait(0.001), s.Text("abc", size=1), s.Wait(0.001)), pace_s=0.001)
    assert said(await played(caller, script)) == "abc"


def test_a_script_reads_back_from_json():
    told = {
        "steps": [
            {"do": "start"},
            "plain text",
            {"do": "text", "text": "abc", "size": 1, "escape": "html"},
            {"do": "interleaved", "tools": [{"name": "a"}, {"name": "b", "input": "{}"}]},
            {"do": "raw", "data": "AAE="},
            {"do": "refuse", "status": 403, "kind": "AccessDeniedException"},
        ],
        "chunk_sizes": [1, 2],
        "cut_after": 9,
    }
    assert s.from_json(json.loads(json.dumps(told))) == s.Script(
        (
            s.Start(),
            s.Text("plain text"),
            s.Text("abc", 1, escape="html"),
            s.Interleaved((s.Tool("a"), s.Tool("b", "{}"))),
            s.Raw(b"\x00\x01"),
            s.Refuse(403, "AccessDeniedException"),
        ),
        chunk_sizes=(1, 2),
        cut_after=9,
    )
    assert s.from_json({"answer": True, "steps": ["hi"]}) == answer("hi")


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"steps": [{"do": "sing"}]},
        {"steps": [5]},
        {"steps": [{"do": "text", "colour": "red"}]},
        {"steps": [{"do": "tool"}]},
        {"speed": 1},
    ],
)
def test_json_that_is_no_script_is_refused(told):
    with pytest.raises(s.BadScript):
        s.from_json(told)
