"""config.json, environment and flags: what loads, what is refused, and how it is said."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from kiroproxy import loading
from kiroproxy.config import MODEL_ALIASES, Config
from kiroproxy.errors import ConfigError
from kiroproxy.reading import environment_name
from kiroproxy.settings import SETTINGS


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, values: dict, environ: dict | None = None, **flags: object) -> Config:
    return loading.load(write(tmp_path, json.dumps({"apiKey": "k"} | values)), environ or {}, flags)


def fault(tmp_path: Path, text: str, environ: dict | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loading.load(write(tmp_path, text), environ or {})
    return caught.value


def test_the_smallest_file_is_an_api_key(tmp_path: Path) -> None:
    loaded = load(tmp_path, {})
    assert (loaded.host, loaded.port, loaded.region) == ("127.0.0.1", 8080, "us-east-1")
    assert (loaded.tls_backend, loaded.load_balancing_mode) == ("rustls", "priority")


def test_comments_load_and_slashes_in_strings_survive(tmp_path: Path) -> None:
    text = '{ // the key\n "apiKey": "a//b", // trailing\n "proxyUrl": "http://p:1"\n}\n// end'
    loaded = loading.load(write(tmp_path, text), {})
    assert (loaded.api_key, loaded.proxy_url) == ("a//b", "http://p:1")


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    environ = {"KIROPROXY_PORT": "2", "KIROPROXY_HOST": "::1"}
    loaded = load(tmp_path, {"port": 1, "host": "h"}, environ, port=3)
    assert (loaded.port, loaded.host) == (3, "::1")


def test_every_setting_has_a_field_and_an_environment_name() -> None:
    names = {field.name for field in fields(Config)}
    assert {setting.field for setting in SETTINGS} <= names
    assert environment_name("countTokensApiUrl") == "KIROPROXY_COUNT_TOKENS_API_URL"


def test_an_unknown_key_warns_and_suggests_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, '{"apiKey": "k",\n "prot": 1}')
    (warning,) = loading.examine(path, {}, {}).warnings
    assert ":2:" in warning and '"prot"' in warning and '"port"' in warning


@pytest.mark.parametrize(
    ("text", "line", "key", "reason"),
    [
        ('{"apiKey": "k",\n"port": "abc"}', 2, "port", "string"),
        ('{"apiKey": "k", "port": 70000}', 1, "port", "70000"),
        ('{"apiKey": "k", "port": true}', 1, "port", "boolean"),
        ('{"apiKey": "k",\n\n"tlsBackend": "rustsl"}', 3, "tlsBackend", "rustsl"),
        ('{"apiKey": "k", "region": "mars"}', 1, "region", "mars"),
        ('{"apiKey": "k", "proxyUrl": "ftp://x"}', 1, "proxyUrl", "not a proxy"),
        ('{"apiKey": "k", "proxyUrl": "http://x:port"}', 1, "proxyUrl", "not a proxy"),
        ('{"apiKey": "k", "machineId": "xyz"}', 1, "machineId", "neither"),
        (
            '{"apiKey": "k", "upstream": {"apiUrl": "http://example.com"}}',
            1,
            "upstream.apiUrl",
            "clear",
        ),
        ('{"apiKey": "k", "upstream": {"nope": ""}}', 1, "upstream.nope", "known"),
        (
            '{"apiKey": "k", "upstream": {\n"oidcUrl": "https://{rgn}.x"}}',
            2,
            "upstream.oidcUrl",
            "{rgn}",
        ),
        ('{"apiKey": "schlüssel"}', 1, "apiKey", "ASCII"),
        ('{"apiKey": "k", "systemVersion": "a\\r\\nb: c"}', 1, "systemVersion", "ASCII"),
        ('{"apiKey": "k", "host": "http://127.0.0.1"}', 1, "host", "not an address"),
        ('{"apiKey": "k", "host": "127.0.0.1:80"}', 1, "host", "not an address"),
        ('{"apiKey": "k", "host": ""}', 1, "host", "not an address"),
        ("", 1, "", "not JSON"),
        ("{ /* no */ }", 1, "", "not JSON"),
        ('{"apiKey": "k", "extractThinking": "maybe"}', 1, "extractThinking", "true or false"),
        ('{"apiKey": "k", "idleTimeout": 0}', 1, "idleTimeout", "0"),
        ('{"apiKey": 5}', 1, "apiKey", "number"),
        ('{"apiKey": ""}', 0, "apiKey", "missing"),
        ('{"apiKey": "k"\n"port": 1}', 2, "", "not JSON"),
        ("[]", 1, "", "array"),
    ],
)
def test_a_fault_names_file_line_key_and_reason(
    tmp_path: Path, text: str, line: int, key: str, reason: str
) -> None:
    found = fault(tmp_path, text)
    assert (found.line, found.key) == (line, key)
    assert reason in str(found) and "config.json" in str(found)
    assert found.remedy


def test_examine_names_every_fault_not_only_the_first(tmp_path: Path) -> None:
    path = write(tmp_path, '{"port": "x", "region": "y"}')
    keys = [found.key for found in loading.examine(path, {}, {}).faults]
    assert keys == ["port", "region", "apiKey"]


def test_every_fault_inside_an_object_is_named(tmp_path: Path) -> None:
    urls = '{"apiKey": "k", "upstream": {\n"apiUrl": "ftp://x",\n"oidcUrl": 5}}'
    found = loading.examine(write(tmp_path, urls), {}, {}).faults
    assert [(each.line, each.key) for each in found] == [
        (2, "upstream.apiUrl"),
        (3, "upstream.oidcUrl"),
    ]


def test_a_wrong_key_is_one_fault_and_not_a_missing_key_besides(tmp_path: Path) -> None:
    assert len(loading.examine(write(tmp_path, '{"apiKey": 5}'), {}, {}).faults) == 1


def test_flags_hold_even_when_the_file_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, "{")
    found = loading.examine(path, {}, {"credentials_path": tmp_path / "other.json"})
    assert len(found.faults) == 1
    assert found.config.credentials_path == tmp_path / "other.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"apiKey": "k",\n"port": 1,\n"port": 2}', ':3: "port" stands here again'),
        ('{"apiKey": "sk-REPLACE-THIS-WITH-YOUR-OWN"}', "openssl"),
        ('{"apiKey": "k", "proxyUsername": "u"}', "without proxyUrl"),
        ('{"apiKey": "k", "proxyUrl": "http://p:1", "proxyPassword": "p"}', "proxyUsername"),
        ('{"apiKey": "k", "countTokensApiKey": "c"}', "countTokensApiUrl"),
    ],
)
def test_what_has_no_effect_or_is_not_meant_is_warned_of(
    tmp_path: Path, text: str, words: str
) -> None:
    loaded = loading.examine(write(tmp_path, text), {}, {})
    (warning,) = loaded.warnings
    assert words in warning and "config.json" in warning
    assert loaded.faults == ()


def test_a_mistyped_variable_is_warned_of(tmp_path: Path) -> None:
    environ = {"KIROPROXY_PROT": "1", "KIROPROXY_DEBUG": "1", "KIROPROXY_LOG": "info"}
    (warning,) = loading.examine(write(tmp_path, '{"apiKey": "k"}'), environ, {}).warnings
    assert "KIROPROXY_PROT" in warning and "KIROPROXY_PORT" in warning


def test_an_object_in_the_environment_has_to_be_json(tmp_path: Path) -> None:
    found = fault(tmp_path, '{"apiKey": "k"}', {"KIROPROXY_UPSTREAM": "{x"})
    assert found.key == "KIROPROXY_UPSTREAM" and "not JSON" in found.reason and found.remedy


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.example\.json"):
        loading.load(tmp_path / "none.json", {})


def test_a_wrong_environment_value_names_the_variable(tmp_path: Path) -> None:
    found = fault(tmp_path, '{"apiKey": "k"}', {"KIROPROXY_PORT": "x"})
    assert found.key == "KIROPROXY_PORT"


def test_a_uuid_machine_id_is_doubled(tmp_path: Path) -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    assert load(tmp_path, {"machineId": uuid}).machine_id == uuid.replace("-", "") * 2


def test_the_system_version_is_stable_for_an_installation(tmp_path: Path) -> None:
    first, second = load(tmp_path, {}), load(tmp_path, {})
    assert first.system_version == second.system_version in loading.SYSTEM_VERSIONS


def test_upstream_templates_are_taken_over(tmp_path: Path) -> None:
    urls = {"apiUrl": "http://127.0.0.1:9/", "oidcUrl": "https://oidc.{region}.example"}
    loaded = load(tmp_path, {"upstream": urls}).upstream
    assert (loaded.api_url, loaded.oidc_url) == ("http://127.0.0.1:9", urls["oidcUrl"])


def test_secrets_do_not_show_in_the_representation(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, {"apiKey": "s3cret", "proxyPassword": "s3cret"}, {"KIRO_API_KEY": "s3cret"}
    )
    assert loaded.kiro_api_key == "s3cret" and "s3cret" not in repr(loaded)


def test_null_means_not_given(tmp_path: Path) -> None:
    assert load(tmp_path, {"port": None}).port == 8080


def test_model_aliases_replace_the_default_and_load_from_the_environment(tmp_path: Path) -> None:
    assert load(tmp_path, {}).model_aliases == MODEL_ALIASES
    assert load(tmp_path, {"modelAliases": {}}).model_aliases == {}
    environ = {"KIROPROXY_MODEL_ALIASES": '{"mine": "auto"}'}
    assert load(tmp_path, {}, environ).model_aliases == {"mine": "auto"}
    assert fault(tmp_path, '{"apiKey": "k", "modelAliases": {"a": 1}}').key == "modelAliases"


def test_the_times_of_a_model_are_those_of_every_row_that_fits(tmp_path: Path) -> None:
    rows = {
        "claude-*": {"firstByteTimeout": 60, "totalTimeout": 900},
        "claude-opus-4-*": {"firstByteTimeout": 300},  # the public spelling
    }
    loaded = load(tmp_path, {"timeouts": rows, "idleTimeout": 7, "headTimeout": 9})
    opus, haiku, other = map(loaded.times_for, ("claude-opus-4.8", "claude-haiku-4.5", "glm-5"))
    assert (opus.first_byte_timeout_s, opus.total_timeout_s) == (300, 900)
    assert (haiku.first_byte_timeout_s, haiku.idle_timeout_s, haiku.head_timeout_s) == (60, 7, 9)
    assert other is loaded.times and other.first_byte_timeout_s == 180


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("timeouts", {"a": {"firstByteTimeout": 0}}, "holds a firstByteTimeout that is 0"),
        ("timeouts", {"a": {"drainTimeout": 5}}, 'holds "drainTimeout", which is not known'),
        ("timeouts", {"a": 5}, "is a number, not an object"),
        ("modelOverrides", {"a": {"contextWindow": "big"}}, "holds a contextWindow that"),
    ],
)
def test_what_is_set_for_a_model_is_checked_like_any_setting(
    tmp_path: Path, key: str, value: object, words: str
) -> None:
    found = fault(tmp_path, json.dumps({"apiKey": "k", key: value}))
    assert found.key == f"{key}.a" and words in found.reason


def test_a_row_for_a_model_may_be_text(tmp_path: Path) -> None:
    text = {"glm-*": '{"contextWindow": 1000}'}
    assert load(tmp_path, {"modelOverrides": text}).model_overrides == {
        "glm-*": {"contextWindow": 1000}
    }


# -- a running gateway's settings ------------------------------------------------------------


def test_every_setting_tells_what_a_page_needs_to_edit_it() -> None:
    for setting in SETTINGS:
        assert setting.kind in {"bool", "int", "float", "string", "enum", "map"}, setting.key
        assert setting.group in {
            "routing", "limits", "timeouts", "logging", "models", "network", "server"
        }, setting.key  # fmt: skip
        assert (setting.bounds is not None) == (setting.kind in ("int", "float")), setting.key
        assert bool(setting.choices) == (setting.kind == "enum"), setting.key
        assert setting.meaning
    kinds = {setting.key: setting.kind for setting in SETTINGS}
    assert (kinds["upstream"], kinds["allowUrlFetch"], kinds["rpm"]) == ("map", "bool", "int")


def test_the_value_of_every_setting_reads_back_as_itself(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {
            "upstream": {"apiUrl": "https://k.example"},
            "rpm": 3,
            "host": "::1",
            "timeouts": {"glm-5": {"idleTimeout": 3}},
        },
    )
    written = {each.key: each.value(loaded) for each in SETTINGS}
    again = loading.load(write(tmp_path, json.dumps(written)), {})
    assert again == loaded
    assert written["upstream"] == {"apiUrl": "https://k.example"}


def test_the_source_of_every_setting_is_known(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"port": 1, "rpm": 2}, {"KIROPROXY_RPM": "3"}, host="h")
    assert loaded.sources == {"apiKey": "file", "port": "file", "rpm": "env", "host": "flag"}


def test_live_settings_are_taken_over_and_the_others_wait() -> None:
    old = Config(api_key="k", port=1, rpm=1)
    settings, heard = loading.Settings(old), []
    settings.on_change(heard.append)
    told = settings.take_over(Config(api_key="k", port=2, rpm=2, log_level="debug"))
    assert told == (["rpm", "logLevel"], ["port"])
    assert (settings.current.port, settings.current.rpm, heard) == (1, 2, [old])
    settings.take_over(Config(api_key="k", port=2, rpm=2, log_level="debug"))
    assert heard == [old]
