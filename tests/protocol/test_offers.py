"""Tools that were seen lately: known again, never changed, and not without bound."""

import json
from typing import Any

from kiroproxy.protocol import ordinary
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.offers import LIST_BYTES_MAX, LISTS_MAX, Offer, Offers
from kiroproxy.protocol.request import Plan, convert, parse_body


def tool(name: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object", "properties": {}}, **members}


def raw_with(tools: list[Any], *calls: str, **members: Any) -> bytes:
    uses = [
        {"type": "tool_use", "id": f"t{n}", "name": call, "input": {}}
        for n, call in enumerate(calls)
    ]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "x"} for use in uses]
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    if calls:
        messages += [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    return json.dumps(
        {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": messages, "tools": tools}
        | members
    ).encode()


def planned(raw: bytes, offers: Offers) -> Plan:
    found = ordinary.plan(raw, catalogue=Catalogue.BUILT_IN, ids=lambda: "id", offers=offers)
    assert found is not None
    full = convert(parse_body(raw), catalogue=Catalogue.BUILT_IN, ids=lambda: "id")
    assert found[0]._open == full._open
    assert found[0].input_tokens == full.input_tokens
    assert found[0].tool_names == full.tool_names
    return found[0]


def test_a_list_is_known_again_whatever_was_called_and_chosen_in_between() -> None:
    offers = Offers()
    tools = [tool("Bash"), tool("odd name!"), tool("Read", description="x" * 11_000)]
    choices = [
        {},
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "tool", "name": "Bash"}},
        {"tool_choice": {"type": "none"}},
        {"system": "Be brief."},
    ]
    for calls in [(), ("Bash",), ("bash", "Gone"), ("odd name!",), ()]:
        for choice in choices:
            planned(raw_with(tools, *calls, **choice), offers)
    assert len(offers.known) == 1


def test_a_deferred_tool_is_declared_only_to_a_conversation_that_called_it() -> None:
    offers = Offers()
    tools = [tool("Bash"), tool("Late", defer_loading=True)]
    without = planned(raw_with(tools, "Bash"), offers)
    with_it = planned(raw_with(tools, "Late"), offers)
    assert b'"Late"' not in without._open
    assert b'"Late"' in with_it._open
    assert planned(raw_with(tools, "Bash"), offers)._open == without._open


def test_a_list_that_only_begins_like_a_known_one_is_another() -> None:
    offers = Offers()
    planned(raw_with([tool("Bash")]), offers)
    longer = planned(raw_with([tool("Bash"), tool("Read")]), offers)
    assert b'"Read"' in longer._open
    assert len(offers.known) == 2


def test_the_list_used_longest_ago_is_forgotten_and_no_huge_one_is_kept() -> None:
    offers = Offers()
    for number in range(LISTS_MAX + 3):
        planned(raw_with([tool(f"Tool{number}")]), offers)
    assert len(offers.known) == LISTS_MAX
    assert b"Tool3" in offers.known[-1][0]
    planned(raw_with([tool("Tool3")]), offers)
    assert b"Tool3" in offers.known[0][0]
    planned(raw_with([tool("Huge", description="x" * LIST_BYTES_MAX)]), offers)
    assert b"Huge" not in offers.known[0][0]


def test_declarations_are_kept_for_a_few_sets_of_names_that_change_them() -> None:
    offer = Offer([tool("Bash"), tool("Late", defer_loading=True)])
    assert Offer([]).declared([])[1] is None
    assert offer.declared(["Bash", "bash"]) is offer.declared([])
    assert offer.declared(["Bash", "late"]) is offer.declared(["late"])
    for number in range(10):
        offer.declared([f"Gone{number}"])
    assert offer.declared(["Gone0"]) is offer.declared(["Gone0"])
    assert offer.declared(["Gone9"]) is not offer.declared(["Gone9"])


def test_a_list_that_is_used_is_not_the_next_to_be_forgotten() -> None:
    offers = Offers()
    for number in range(LISTS_MAX):
        planned(raw_with([tool(f"Tool{number}")]), offers)
    planned(raw_with([tool("Tool0")]), offers)
    planned(raw_with([tool("Another")]), offers)
    assert any(b"Tool0" in raw for raw, _ in offers.known)
    assert not any(b"Tool1" in raw for raw, _ in offers.known)
