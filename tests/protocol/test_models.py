"""Names of models: what clients write, what Kiro offers."""

import pytest

from kiroproxy.errors import NotFound
from kiroproxy.protocol.models import SNAPSHOT, Catalogue
from kiroproxy.simulator.catalogue import MODELS, listing

BUILT_IN = Catalogue.BUILT_IN


@pytest.mark.parametrize(
    ("requested", "kiro"),
    [
        ("claude-opus-5-5", "claude-opus-5.5"),
        ("claude-opus-5.5", "claude-opus-5.5"),
        ("claude-opus-5", "claude-opus-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4.5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-haiku-4-5-latest", "claude-haiku-4.5"),
        ("claude-opus-4-8[1m]", "claude-opus-4.8"),
        ("Claude-Opus-4-8", "claude-opus-4.8"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4.5"),
        ("anthropic/claude-sonnet-4.6", "claude-sonnet-4.6"),
        ("claude-4-6-sonnet", "claude-sonnet-4.6"),
        ("auto", "auto"),
        ("auto-kiro", "auto"),
        ("gpt-5.6-sol", "gpt-5.6-sol"),
        ("gpt-5-6-sol", "gpt-5.6-sol"),
        ("deepseek-3.2", "deepseek-3.2"),
    ],
)
def test_a_known_model_is_found_by_every_spelling(requested: str, kiro: str) -> None:
    assert BUILT_IN.resolve(requested).model.id == kiro


@pytest.mark.parametrize(
    ("requested", "kiro"),
    [
        ("claude-3-5-sonnet-20241022", "claude-sonnet-4"),
        ("claude-3-7-sonnet-latest", "claude-sonnet-4"),
        ("claude-3-5-haiku-20241022", "claude-haiku-4.5"),
        ("claude-3-opus-20240229", "claude-opus-4.5"),
        ("claude-opus-4-1-20250805", "claude-opus-4.5"),
        ("claude-opus-4", "claude-opus-4.5"),
        ("claude-opus-5-2", "claude-opus-5.5"),
    ],
)
def test_a_version_that_is_gone_goes_up_to_the_next_one(requested: str, kiro: str) -> None:
    assert BUILT_IN.resolve(requested).model.id == kiro


@pytest.mark.parametrize(
    ("family", "newest"), [("opus", "5.5"), ("sonnet", "5.5"), ("haiku", "4.5")]
)
def test_a_bare_family_means_its_newest_model(family: str, newest: str) -> None:
    for name in (family, f"claude-{family}", f"my-{family}-model", f"claude-{family}-latest"):
        assert BUILT_IN.resolve(name).model.id == f"claude-{family}-{newest}"


@pytest.mark.parametrize(
    "requested",
    ["claude-opus-6", "claude-haiku-5-5", "claude-sonnet-5-6-20270101", "opus-100",
     "my-custom-model", "claude-2.1", "", "gpt-4o"],
)  # fmt: skip
def test_what_is_newer_or_unknown_is_not_found_under_its_own_name(requested: str) -> None:
    with pytest.raises(NotFound) as refusal:
        BUILT_IN.resolve(requested)
    assert refusal.value.message == f"model: {requested}"
    assert refusal.value.status == 404


@pytest.mark.parametrize(
    "requested",
    [
        "claude-opus-4-8-thinking",
        "claude-opus-4-8-20260601-thinking",
        "claude-opus-4-8-thinking[1m]",
    ],
)
def test_a_thinking_suffix_is_taken_off_and_told(requested: str) -> None:
    resolved = BUILT_IN.resolve(requested)
    assert resolved.model.id == "claude-opus-4.8"
    assert resolved.thinking_suffix
    assert not BUILT_IN.resolve("claude-opus-4-8").thinking_suffix


def test_an_id_that_itself_ends_in_thinking_is_no_suffix() -> None:
    live = Catalogue.from_live([{"modelId": "kimi-k2-thinking"}])
    assert not live.resolve("kimi-k2-thinking").thinking_suffix


def test_every_entry_resolves_back_to_its_model() -> None:
    by_public_id = {model.public_id: model for model in SNAPSHOT}
    entries = BUILT_IN.entries()
    assert len(entries) == len(SNAPSHOT)
    for entry in entries:
        assert BUILT_IN.resolve(entry["id"]).model is by_public_id[entry["id"]]


def test_entries_have_the_members_clients_read_and_public_ids() -> None:
    first = BUILT_IN.entries()[0]
    assert first == {
        "type": "model",
        "id": "claude-sonnet-5-5",
        "display_name": "Claude Sonnet 5.5",
        "created_at": "2026-09-29T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }
    assert not any("." in entry["id"] for entry in BUILT_IN.entries() if "claude" in entry["id"])


def test_claude_models_are_listed_first_and_newest_first() -> None:
    entries = BUILT_IN.entries()
    claude = [entry for entry in entries if entry["id"].startswith("claude-")]
    assert entries[: len(claude)] == claude
    dates = [entry["created_at"] for entry in claude]
    assert dates == sorted(dates, reverse=True)


def test_a_live_listing_teaches_models_that_the_snapshot_does_not_know() -> None:
    live = Catalogue.from_live(
        [{"modelId": "claude-haiku-5.5", "modelName": "Haiku 5.5",
          "tokenLimits": {"maxInputTokens": 400_000, "maxOutputTokens": 32_000}}]
    )  # fmt: skip
    model = live.resolve("claude-haiku-5-5").model
    assert (model.id, model.context_window, model.max_output_tokens) == (
        "claude-haiku-5.5",
        400_000,
        32_000,
    )


def test_a_live_listing_decides_what_is_offered() -> None:
    live = Catalogue.from_live([{"modelId": "claude-sonnet-4.5"}, {"modelId": "claude-sonnet-4.6"}])
    assert live.resolve("claude-sonnet-4").model.id == "claude-sonnet-4.5"
    for absent in ("claude-opus-4-5", "claude-sonnet-5"):
        with pytest.raises(NotFound):
            live.resolve(absent)


def test_a_new_family_in_a_live_listing_is_understood() -> None:
    live = Catalogue.from_live([{"modelId": "claude-fable-5"}])
    assert live.resolve("claude-fable-5-20260901").model.id == "claude-fable-5"


def test_listings_joined_from_several_credentials_name_each_model_once() -> None:
    rows = [{"modelId": "claude-opus-5"}, {"modelId": "auto"}, {"modelId": "claude-opus-5"}]
    assert [model.id for model in Catalogue.from_live(rows).models] == ["claude-opus-5", "auto"]


def test_an_empty_listing_leaves_the_built_in_table() -> None:
    assert Catalogue.from_live([]) is BUILT_IN
    assert Catalogue.from_live([{"modelName": "nameless"}]) is BUILT_IN


def test_thinking_facts_are_read_from_the_listed_schemas() -> None:
    live = Catalogue.from_live(listing()["models"])
    for model in live.models:
        told = MODELS[model.id]
        assert model.efforts == told.efforts
        assert model.thinking_types == told.thinking
        assert model.native_thinking == bool(told.efforts)
        assert model.images == told.images
    assert live.resolve("gpt-5.6-sol").model.effort_field == "reasoning"
    assert not live.resolve("claude-opus-5-5").model.can_disable_thinking
    assert live.resolve("claude-opus-5").model.can_disable_thinking


def test_a_listing_without_any_schema_keeps_what_is_known_of_thinking() -> None:
    rows = [{key: row[key] for key in ("modelId", "tokenLimits")} for row in listing()["models"]]
    model = Catalogue.from_live(rows).resolve("claude-opus-4-8").model
    assert model.native_thinking
    assert "xhigh" in model.efforts


def test_variants_in_a_listed_schema_add_up() -> None:
    variants = [{"properties": {"type": {"const": kind}}} for kind in ("adaptive", "disabled")]
    schema = {"properties": {"thinking": {"oneOf": variants}}}
    row = {"modelId": "claude-opus-7", "additionalModelRequestFieldsSchema": schema}
    model = Catalogue.from_live([row]).resolve("claude-opus-7").model
    assert model.thinking_types == ("adaptive", "disabled")


def test_the_snapshot_agrees_with_the_simulated_service() -> None:
    for model in SNAPSHOT:
        told = MODELS.get(model.id)
        if told:
            assert (model.efforts, model.thinking_types) == (told.efforts, told.thinking)


def test_the_operators_alias_names_an_older_model_openly() -> None:
    aliases = {"claude-haiku-5-5": "claude-haiku-4.5", "My-Own": "auto"}
    catalogue = Catalogue(aliases=aliases)
    assert catalogue.resolve("claude-haiku-5-5-20260801").model.id == "claude-haiku-4.5"
    assert catalogue.resolve("my-own").model.id == "auto"
    assert catalogue.resolve("claude-haiku-5-5-thinking").thinking_suffix


def test_an_alias_yields_to_a_model_kiro_offers() -> None:
    listing = [{"modelId": "claude-haiku-5.5"}, {"modelId": "claude-haiku-4.5"}]
    catalogue = Catalogue.from_live(listing, {"claude-haiku-5-5": "claude-haiku-4.5"})
    assert catalogue.resolve("claude-haiku-5-5").model.id == "claude-haiku-5.5"


def test_the_operator_corrects_what_is_listed() -> None:
    overrides = {
        "claude-*": {"contextWindow": 500_000},
        "claude-opus-4-8": {"maxOutputTokens": 9, "displayName": "Opus"},
        "glm-5": {"hidden": True},
    }
    listing = [{"modelId": name} for name in ("claude-opus-4.8", "glm-5", "auto")]
    found = Catalogue.from_live(listing, None, overrides)
    opus = found.resolve("claude-opus-4-8").model
    assert (opus.context_window, opus.max_output_tokens) == (500_000, 9)
    assert [entry["id"] for entry in found.entries()] == ["claude-opus-4-8", "auto"]
    with pytest.raises(NotFound):
        found.resolve("glm-5")
    built_in = Catalogue.from_live([], None, overrides).resolve("claude-haiku-4-5").model
    assert built_in.context_window == 500_000
