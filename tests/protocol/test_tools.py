"""Tools: names, descriptions, deferral, choice; one test for each cause of refusal."""

import pytest

from kiroproxy.errors import RequestError

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def tool(name="Read", **more):
    return {"name": name, "description": f"{name}s.", "input_schema": SCHEMA, **more}


def user(*content):
    return {"role": "user", "content": list(content)}


def text(words):
    return {"type": "text", "text": words}


def used(name, call_id="t1"):
    """A finished round of one tool call."""
    return (
        user(text("go")),
        {"role": "assistant",
         "content": [{"type": "tool_use", "id": call_id, "name": name, "input": {}}]},
        user({"type": "tool_result", "tool_use_id": call_id, "content": "ok"}),
    )  # fmt: skip


HELLO = user(text("hello"))


# -- declarations ------------------------------------------------------------------------------


def test_a_tool_is_declared_with_name_description_and_schema(translate):
    wire = translate(HELLO, tools=[tool()])
    assert wire.tools == [
        {"name": "Read", "description": "Reads.", "inputSchema": {"json": SCHEMA}}
    ]
    assert wire.plan.tool_names == {}


def test_no_tools_means_no_context(translate):
    for none in ([], None):
        assert "userInputMessageContext" not in translate(HELLO, tools=none).current


def test_a_tool_of_history_that_is_no_longer_offered_gets_a_stub(translate):
    wire = translate(*used("OldTool"), tools=[tool()])
    assert wire.names == ["Read", "OldTool"]
    assert "no longer available" in wire.tools[1]["description"]


def test_a_stub_keeps_the_case_of_the_history(translate):
    assert translate(*used("camelCase")).names == ["camelCase"]


def test_a_name_of_history_apart_only_in_case_means_the_declared_tool(translate):
    wire = translate(*used("read"), tools=[tool("Read")])
    assert wire.names == ["Read"]
    assert wire.history[1]["toolUses"][0]["name"] == "Read"


def test_only_the_current_message_declares_tools(translate):
    wire = translate(*used("Read"), tools=[tool()])
    assert "userInputMessageContext" not in wire.history[0]
    assert wire.names == ["Read"]


def test_a_duplicate_tool_name_is_declared_once(translate):
    wire = translate(HELLO, tools=[tool(description="first"), tool(description="second")])
    assert [entry["description"] for entry in wire.tools] == ["first"]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({}, "tools: Input should be a valid list"),
        ([5], "tools.0: Input should be a valid dictionary"),
        ([tool(), {"input_schema": SCHEMA}], "tools.1.custom.name: Field required"),
        ([tool("")], "tools.0.custom.name: Input should be a valid string"),
    ],
)
def test_a_malformed_definition_is_refused_with_its_path(translate, tools, message):
    with pytest.raises(RequestError) as refusal:
        translate(HELLO, tools=tools)
    assert refusal.value.message == message


# -- names -------------------------------------------------------------------------------------

LONG = "mcp__server__" + "x" * 80


@pytest.mark.parametrize(
    "name",
    [LONG, "a.b", "with space", "日本語", "1st", "_private", "a" * 65, "mcp__s__" + "é" * 60],
)
def test_a_name_kiro_refuses_is_changed_and_mapped_back(translate, name):
    wire = translate(*used(name), tools=[tool(name)], tool_choice={"type": "tool", "name": name})
    (declared,) = wire.names
    assert declared != name
    assert wire.plan.tool_names == {declared: name}
    assert wire.history[1]["toolUses"][0]["name"] == declared
    assert f"the tool {declared}." in wire.current["content"]


def test_a_changed_name_is_the_same_in_every_request_of_a_conversation(translate):
    alone = translate(HELLO, tools=[tool(LONG)]).names
    among = translate(HELLO, tools=[tool("Bash"), tool("a.b"), tool(LONG)]).names
    assert alone[0] == among[2]


def test_names_that_become_alike_stay_apart(translate):
    names = ["a.b", "a b", "a_b", LONG + "1", LONG + "2"]
    wire = translate(HELLO, tools=[tool(name) for name in names])
    assert len(set(wire.names)) == 5
    assert wire.names[2] == "a_b"
    back = wire.plan.tool_names
    assert [back.get(name, name) for name in wire.names] == names


def test_a_legal_name_that_looks_like_a_changed_one_keeps_its_own(translate):
    (changed,) = translate(HELLO, tools=[tool("a.b")]).names
    wire = translate(HELLO, tools=[tool("a.b"), tool(changed)])
    assert wire.names[1] == changed
    assert wire.names[0] != changed
    assert wire.plan.tool_names == {wire.names[0]: "a.b"}


def test_a_name_of_64_characters_is_left_alone(translate):
    assert translate(HELLO, tools=[tool("a" * 64)]).names == ["a" * 64]


# -- descriptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", None, "  \n"])
def test_an_empty_description_is_replaced_by_the_name(translate, empty):
    wire = translate(HELLO, tools=[tool(description=empty)])
    assert wire.tools[0]["description"] == "The tool Read."


def test_a_description_too_long_moves_to_the_system_prompt_whole(translate):
    words = "Opening.\n\n" + "é" * 10_000
    wire = translate(HELLO, tools=[tool(description=words)], system="Sys.")
    assert wire.current["content"].startswith(
        f"Sys.\n\n# Description of the tool Read\n\n{words}\n\nhello"
    )
    assert wire.tools[0]["description"] == (
        'Opening.\n\n(Continues in the system prompt under "Description of the tool Read".)'
    )


def test_a_description_at_the_limit_stays(translate):
    wire = translate(HELLO, tools=[tool(description="d" * 10_000)])
    assert wire.tools[0]["description"] == "d" * 10_000
    assert wire.current["content"] == "hello"


# -- deferred tools ----------------------------------------------------------------------------


def search_round(*names):
    references = [{"type": "tool_reference", "tool_name": name} for name in names]
    before, call, after = used("ToolSearch")
    after["content"][0]["content"] = references
    return before, call, after


def test_a_deferred_tool_is_hidden_until_a_reference_names_it(translate):
    tools = [tool("ToolSearch"), tool("Fetch", defer_loading=True), tool("X", defer_loading=True)]
    assert translate(HELLO, tools=tools).names == ["ToolSearch"]
    wire = translate(*search_round("Fetch"), tools=tools)
    assert wire.names == ["ToolSearch", "Fetch"]
    assert wire.results[0]["content"] == [{"text": "Tool Fetch is now available."}]


def test_a_deferred_tool_already_called_is_declared_with_its_own_schema(translate):
    wire = translate(*used("Fetch"), tools=[tool("Fetch", defer_loading=True)])
    assert wire.tools[0]["description"] == "Fetchs."


def test_a_system_turn_can_add_and_remove_tools(translate):
    def change(kind, name):
        reference = {"type": "tool_reference", "name": name}
        return {"role": "system", "content": [{"type": kind, "tool": reference}]}

    tools = [tool("A", defer_loading=True), tool("B")]
    wire = translate(HELLO, change("tool_addition", "A"), change("tool_removal", "B"), tools=tools)
    assert wire.names == ["A"]
    assert "Tool B is no longer available." in wire.current["content"]


def test_nothing_hides_from_a_client_that_relies_on_the_servers_own_tool_search(translate):
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    wire = translate(HELLO, tools=[search, tool("Fetch", defer_loading=True)])
    assert wire.names == ["Fetch"]


# -- Anthropic's own tools ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "member"),
    [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "insert_text"),
        ("text_editor_20250124", "str_replace_editor", "new_str"),
        ("computer_20251124", "computer", "action"),
        ("memory_20250818", "memory", "old_path"),
    ],
)
def test_a_tool_the_client_runs_by_type_gets_schema_and_description(translate, kind, name, member):
    wire = translate(HELLO, tools=[{"type": kind, "name": name}])
    assert wire.names == [name]
    assert member in wire.tools[0]["inputSchema"]["json"]["properties"]
    assert len(wire.tools[0]["description"]) > 20


def test_the_screen_size_reaches_the_model(translate):
    screen = {"type": "computer_20250124", "name": "computer", "display_width_px": 1024,
              "display_height_px": 768}  # fmt: skip
    assert "1024 by 768" in translate(HELLO, tools=[screen]).tools[0]["description"]


def test_the_first_editor_has_no_insert_text(translate):
    wire = translate(HELLO, tools=[{"type": "text_editor_20241022", "name": "str_replace_editor"}])
    properties = wire.tools[0]["inputSchema"]["json"]["properties"]
    assert "insert_text" not in properties
    assert "undo_edit" in properties["command"]["enum"]


@pytest.mark.parametrize(
    "server", ["web_fetch_20250910", "code_execution_20250825",
               "mcp_toolset", "advisor_20260301"],
)  # fmt: skip
def test_a_tool_only_anthropic_could_run_is_not_shown(translate, server):
    wire = translate(HELLO, tools=[{"type": server, "name": "served"}, tool()])
    assert wire.names == ["Read"]


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([{"type": "code_execution_20250825", "name": "code_execution"}], None),
        ([{"type": "code_execution_20250825", "name": "code_execution"}], {"type": "auto"}),
        (
            [tool(), {"type": "code_execution_20250825", "name": "code_execution"}],
            {"type": "tool", "name": "code_execution"},
        ),
    ],
    ids=["alone", "alone and free", "demanded"],
)
def test_a_request_that_depends_on_anthropics_servers_is_refused(translate, tools, choice):
    with pytest.raises(RequestError) as refused:
        translate(HELLO, tools=tools, tool_choice=choice)
    where = f"tools.{len(tools) - 1}: Input tag 'code_execution_20250825' found using 'type'"
    assert refused.value.message.startswith(where)


def test_a_server_tool_that_must_not_be_used_does_no_harm(translate):
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch"}
    assert translate(HELLO, tools=[fetch], tool_choice={"type": "none"}).names == []


def test_a_custom_tool_by_type_or_with_its_own_schema_is_a_clients_tool(translate):
    wire = translate(HELLO, tools=[tool("A", type="custom"), tool("B", type="novel_20270101")])
    assert wire.names == ["A", "B"]


def test_a_client_function_called_web_search_is_an_ordinary_tool(translate):
    wire = translate(HELLO, tools=[tool("web_search")])
    assert wire.names == ["web_search"]
    assert wire.plan.wants_web_search is None


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}


def test_anthropics_web_search_is_offered_as_a_tool_with_a_query(translate):
    wire = translate(HELLO, tools=[tool(), SEARCH])
    assert wire.names == ["Read", "web_search"]
    schema = wire.tools[1]["inputSchema"]["json"]
    assert schema["required"] == ["query"]
    assert schema["properties"]["query"]["maxLength"] == 200
    assert (wire.plan.search_tool, wire.plan.search.max_uses) == ("web_search", 8)


def test_the_model_is_told_where_to_search_and_for_whom(translate):
    place = {"type": "approximate", "city": "Graz", "country": "AT"}
    terms = {"allowed_domains": ["a.example"], "user_location": place}
    wire = translate(HELLO, tools=[SEARCH | terms])
    told = wire.tools[0]["description"]
    assert "a.example" in told and "Graz, AT" in told
    wire = translate(HELLO, tools=[SEARCH | {"blocked_domains": ["b.example"]}])
    assert "b.example" in wire.tools[0]["description"]


@pytest.mark.parametrize(
    ("tools", "more"),
    [
        ([SEARCH], {"tool_choice": {"type": "none"}}),
        ([tool("web_search"), SEARCH], {}),
        ([SEARCH | {"defer_loading": True}, tool()], {}),
        ([tool()], {}),
    ],
    ids=["no choice", "a client's own of that name", "deferred", "not offered"],
)
def test_a_search_that_is_not_offered_is_not_performed(translate, tools, more):
    assert translate(HELLO, tools=tools, **more).plan.search is None


# -- tool_choice -------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {}])
def test_a_free_choice_adds_nothing(translate, choice):
    assert translate(HELLO, tools=[tool()], tool_choice=choice).current["content"] == "hello"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"type": "any"}, "Answer by calling at least one of the tools."),
        ({"type": "tool", "name": "Read"}, "Answer by calling the tool Read."),
        ({"type": "auto", "disable_parallel_tool_use": True},
         "Call at most one tool in this answer."),
    ],
)  # fmt: skip
def test_a_forced_choice_is_said_after_the_message(translate, choice, words):
    wire = translate(HELLO, tools=[tool()], tool_choice=choice)
    assert wire.current["content"] == f"hello\n\n{words}"


def test_choice_none_withholds_the_tools(translate):
    wire = translate(HELLO, tools=[tool()], tool_choice={"type": "none"})
    assert wire.names == []


def test_choice_none_still_declares_what_the_history_called(translate):
    wire = translate(*used("Read"), tools=[tool(), tool("Bash")], tool_choice={"type": "none"})
    assert wire.names == ["Read"]
    assert wire.current["content"] == "Answer without calling any tool."


def test_a_choice_of_an_unknown_tool_is_refused(translate):
    with pytest.raises(RequestError, match="tool_choice: Tool 'Nope' not found"):
        translate(HELLO, tools=[tool()], tool_choice={"type": "tool", "name": "Nope"})


def test_a_forced_deferred_tool_is_shown(translate):
    wire = translate(
        HELLO, tools=[tool(defer_loading=True)], tool_choice={"type": "tool", "name": "Read"}
    )
    assert wire.names == ["Read"]


@pytest.mark.parametrize("choice", [{"type": "tool"}, {"type": "tool", "name": ["Read"]}])
def test_a_demand_for_a_tool_without_a_name_is_refused(translate, choice):
    with pytest.raises(RequestError, match=r"tool_choice\.name: Input should be a valid string"):
        translate(HELLO, tools=[tool()], tool_choice=choice)
