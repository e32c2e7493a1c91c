"""One credential: precedence, aliases, faults that are said clearly, secrets that stay inside."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy import _roster
from kiroproxy.accounts.credential import (
    KNOWN_KEYS,
    Credential,
    Parsed,
    Proxy,
    digest,
    masked,
    parse,
)
from kiroproxy.config import MAX_RPM, Config

TOKEN = "r" * 200
ARN = "arn:aws:codewhisperer:eu-central-1:123456789012:profile/ABC"


def parsed(config: Config | None = None, **fields: Any) -> Parsed:
    return parse({"refreshToken": TOKEN, **fields}, config or Config(), id=1)


def credential(config: Config | None = None, **fields: Any) -> Credential:
    found = parsed(config, **fields)
    assert not found.faults
    return found.credential


def test_the_minimal_social_form_is_usable() -> None:
    found = credential(expiresAt="2026-01-01T00:00:00Z", authMethod="social")
    assert (found.auth_method, found.fault, found.priority) == ("social", "", 0)


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({"authMethod": "builder-id"}, "idc"),
        ({"authMethod": "iam"}, "idc"),
        ({"authMethod": "IdC"}, "idc"),
        ({"authMethod": "social"}, "social"),
        ({}, "idc"),
    ],
)
def test_the_login_method_has_aliases_and_is_guessed(fields: dict[str, str], method: str) -> None:
    assert credential(clientId="c", clientSecret="s", **fields).auth_method == method


def test_without_a_client_the_login_is_social() -> None:
    assert credential().auth_method == "social"
    assert credential(clientId="c").auth_method == "social"


def test_an_api_key_needs_no_refresh_token() -> None:
    found = parse({"kiroApiKey": "ksk_abc"}, Config(), id=1)
    assert (found.credential.auth_method, found.faults) == ("api_key", ())
    assert found.credential.expires_in_ms(2**50) > 0


@pytest.mark.parametrize(
    ("fields", "config", "region"),
    [
        ({"authRegion": "ap-south-1", "region": "eu-west-1"}, Config(), "ap-south-1"),
        ({"region": "eu-west-1"}, Config(auth_region="us-west-2"), "eu-west-1"),
        ({}, Config(auth_region="us-west-2", region="eu-west-3"), "us-west-2"),
        ({}, Config(region="eu-west-3"), "eu-west-3"),
        ({"profileArn": ARN, "apiRegion": "us-west-1"}, Config(), "us-east-1"),
    ],
)
def test_the_auth_region_has_four_sources(fields: Any, config: Config, region: str) -> None:
    assert credential(config, **fields).auth_region == region


@pytest.mark.parametrize(
    ("fields", "config", "region"),
    [
        ({"apiRegion": "us-west-1", "profileArn": ARN}, Config(), "us-west-1"),
        ({"profileArn": ARN, "region": "ap-south-1"}, Config(api_region="x"), "eu-central-1"),
        ({"region": "ap-south-1"}, Config(api_region="us-west-2"), "us-west-2"),
        ({}, Config(region="eu-west-3"), "eu-west-3"),
        ({"profileArn": "arn:aws:x:evil.example/:1:p"}, Config(), "us-east-1"),
    ],
)
def test_the_api_region_has_four_sources(fields: Any, config: Config, region: str) -> None:
    assert credential(config, **fields).api_region == region


def test_a_region_that_could_name_another_host_is_a_fault() -> None:
    found = parsed(authRegion="evil.example/#")
    assert [fault.key for fault in found.faults] == ["authRegion"]
    assert found.credential.auth_region == "us-east-1"


def test_the_machine_id_is_its_own_then_configured_then_derived() -> None:
    own, configured = "ab" * 32, Config(machine_id="cd" * 32)
    derived = hashlib.sha256(b"KotlinNativeAPI/" + TOKEN.encode()).hexdigest()
    assert credential(configured, machineId=own).machine_id == own
    assert credential(configured).machine_id == "cd" * 32
    assert credential().machine_id == derived
    api_key = parse({"kiroApiKey": "ksk_1"}, Config(), id=1).credential
    assert api_key.machine_id == hashlib.sha256(b"KiroAPIKey/ksk_1").hexdigest()


def test_a_uuid_as_machine_id_loses_its_dashes_and_is_doubled() -> None:
    found = credential(machineId="2582956E-cc88-4669-b546-07adbffcb894")
    assert found.machine_id == "2582956ecc884669b54607adbffcb894" * 2


def test_a_machine_id_of_another_form_is_replaced_and_warned_of() -> None:
    found = parsed(machineId="my laptop")
    assert [warning.key for warning in found.warnings] == ["machineId"]
    assert len(found.credential.machine_id) == 64


CONFIGURED = Config(proxy_url="http://p:1", proxy_username="u", proxy_password="w")


@pytest.mark.parametrize(
    ("fields", "proxy"),
    [
        ({}, Proxy("http", "p", 1, "u", "w")),
        ({"proxyUrl": "direct"}, None),
        ({"proxyUrl": "socks5h://q:2"}, Proxy("socks5h", "q", 2)),
        ({"proxyUrl": "http://q:2", "proxyUsername": "n"}, Proxy("http", "q", 2, "n")),
        ({"proxyUsername": "n", "proxyPassword": "o"}, Proxy("http", "p", 1, "n", "o")),
    ],
)
def test_its_own_proxy_comes_before_the_configured_one(fields: Any, proxy: Proxy | None) -> None:
    assert credential(CONFIGURED, **fields).proxy == proxy


def test_a_proxy_that_cannot_be_read_is_a_fault_and_not_a_way_out() -> None:
    found = parsed(CONFIGURED, proxyUrl="gopher://q")
    assert found.credential.fault.startswith("proxyUrl")


@pytest.mark.parametrize("token", ["r" * 99, "r" * 200 + "...", "r" * 100 + "…"])
def test_a_truncated_refresh_token_is_called_that(token: str) -> None:
    fault = parse({"refreshToken": token}, Config(), id=1).faults[0]
    assert fault.key == "refreshToken"
    assert "truncated copy" in fault.reason
    assert "Copy the whole token" in fault.remedy
    assert token not in str(fault)


def test_a_refresh_token_of_a_hundred_characters_is_whole() -> None:
    assert not parse({"refreshToken": "r" * 100}, Config(), id=1).faults


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"refreshToken": None}, "refreshToken"),
        ({"refreshToken": 5}, "refreshToken"),
        ({"authMethod": "idc", "clientId": "c"}, "clientSecret"),
        ({"authMethod": "kerberos"}, "authMethod"),
        ({"authMethod": "api_key"}, "kiroApiKey"),
        ({"accessToken": "zwölf"}, "accessToken"),
        ({"endpoint": "cli9"}, "endpoint"),
    ],
)
def test_a_fault_names_its_key_once(fields: dict[str, Any], key: str) -> None:
    found = parsed(**fields)
    assert [fault.key for fault in found.faults] == [key]
    assert found.credential.fault.startswith(key)


def test_an_expiry_that_cannot_be_read_counts_as_expired_and_is_warned_of() -> None:
    found = parsed(accessToken="a", expiresAt="tomorrow")
    assert found.credential.expires_at_ms == 0
    assert found.credential.expires_in_ms(1) < 0
    assert [warning.key for warning in found.warnings] == ["expiresAt"]


def test_without_an_access_token_nothing_is_left_of_it() -> None:
    assert credential(expiresAt="2099-01-01T00:00:00Z").expires_in_ms(0) == 0


def test_numbers_and_flags_may_be_strings_and_null_is_absent() -> None:
    found = credential(priority="7", disabled="true", email=None, region="")
    assert (found.priority, found.disabled, found.email) == (7, True, "")
    assert credential(priority=2.0, disabled=0).priority == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"clientld": "x"}, 'clientld: is not known and only kept. Did you mean "clientId"?'),
        ({"auth_method": "idc"}, "authMethod"),
        ({"profileArn": "profile/ABC"}, "profileArn: is not an ARN"),
        ({"refreshToken": "EXAMPLE-REPLACE-" * 10}, "refreshToken: is the example's"),
    ],
)
def test_what_is_hardly_meant_is_warned_of(fields: dict[str, str], words: str) -> None:
    parsed = parse({"refreshToken": TOKEN} | fields, Config(), id=1)
    assert parsed.faults == ()
    assert words in " ".join(map(str, parsed.warnings))


def test_names_that_kiros_own_files_hold_are_not_taken_for_misspelt_ones() -> None:
    fields = ("clientIdHash", "expiresIn", "idToken", "provider", "tokenType", "startUrl", "scopes")
    raw = {"refreshToken": TOKEN, "clientId": "x"} | dict.fromkeys(fields, "x")
    assert parse(raw, Config(), id=1).warnings == ()


def test_unknown_fields_are_kept() -> None:
    assert credential(provider="Google", deep={"a": [1]}).extra == {
        "provider": "Google",
        "deep": {"a": [1]},
    }


def test_neither_repr_nor_str_shows_a_secret() -> None:
    secrets = {
        "accessToken": "secret-access",
        "clientSecret": "secret-client",
        "kiroApiKey": "ksk_secret",
        "proxyUrl": "http://user:secret-proxy@p:1",
        "email": "me@example.com",
        "stray": "secret-extra",
    }
    shown = repr(parsed(**secrets)) + str(parsed(**secrets).credential)
    assert "secret" not in shown
    assert TOKEN not in shown
    assert "me@example.com" not in shown


def test_masked_shows_the_ends_of_long_secrets_only() -> None:
    assert masked("ksk_0123456789abcdef") == "ksk_...cdef"
    assert masked("short") == masked("") == "***"
    assert digest("a") == hashlib.sha256(b"a").hexdigest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([*sorted(KNOWN_KEYS), "other"])


@given(st.dictionaries(KEYS, JSON))
def test_no_json_makes_it_raise(fields: dict[str, Any]) -> None:
    found = parse(fields, CONFIGURED, id=1)
    assert bool(found.faults) == bool(found.credential.fault)


@pytest.mark.parametrize(
    ("written", "kept"), [(None, 7), ("", 7), (3, 3), ("3", 3), (0, 0), (-1, 7), (256, 7)]
)
def test_a_limit_of_its_own_replaces_the_configurations(written: Any, kept: int) -> None:
    found = parsed(Config(rpm=7, max_concurrency=7), rpm=written)
    assert (found.credential.rpm, found.credential.max_concurrency) == (kept, 7)
    assert bool(found.warnings) == (written in (-1, 256))


def test_every_rate_that_may_be_written_can_be_counted() -> None:
    assert MAX_RPM == _roster.MAX_RPM
