"""What other programs keep becomes credentials.json's entries, and nothing else does."""

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts import imports, local
from kiroproxy.accounts.credential import parse
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError

TOKEN = "aor" + "x" * 150
OTHER = "aor" + "y" * 150
ARN = "arn:aws:codewhisperer:us-east-1:123456789012:profile/ABC"


def only(data: object, **options: Any) -> imports.Candidate:
    found = imports.read(data, Config(), **options)
    assert len(found.candidates) == 1
    return found.candidates[0]


def database(path: Path, **keys: Any) -> Path:
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("CREATE TABLE auth_kv (key TEXT PRIMARY KEY, value TEXT)")
        file.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB)")
        for key, value in keys.items():
            table = "state" if key.startswith("api.") else "auth_kv"
            text = value if isinstance(value, str) else json.dumps(value)
            file.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, text))
    file.close()
    return path


IDC_DATABASE: dict[str, Any] = {
    "kirocli:odic:token": {
        "access_token": "at", "refresh_token": TOKEN, "expires_at": "2030-01-02T03:04:05Z",
        "region": "eu-central-1", "start_url": "https://corp.awsapps.com/start",
        "oauth_flow": "DeviceCode", "scopes": ["codewhisperer:completions"],
    },
    "kirocli:odic:device-registration": {
        "client_id": "cid", "client_secret": "sec", "region": "eu-central-1",
    },
    "api.codewhisperer.profile": {"arn": ARN, "profile_name": "p"},
}  # fmt: skip


@pytest.mark.parametrize("form", ["object", "array", "text", "bytes", "bom"])
def test_credentials_json_comes_back_as_it_was(form: str) -> None:
    entry = {
        "id": 7, "refreshToken": TOKEN, "authMethod": "social", "priority": 3,
        "region": "eu-west-1", "machineId": "ab" * 32, "proxyUrl": "socks5://h:1",
        "disabled": True, "note": "mine",
    }  # fmt: skip
    text = json.dumps([entry])
    data = {
        "object": entry,
        "array": [entry],
        "text": "  " + text,
        "bytes": text.encode(),
        "bom": b"\xef\xbb\xbf" + text.encode(),
    }[form]
    found = imports.read(data, Config())
    assert found.format == "kiroproxy"
    assert found.candidates[0].fields == {k: v for k, v in entry.items() if k != "id"}
    assert not found.candidates[0].problem


def test_an_ide_token_gets_the_registration_beside_it(tmp_path: Path) -> None:
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {
        "accessToken": "at", "refreshToken": TOKEN, "expiresAt": "2030-01-02T03:04:05.000Z",
        "authMethod": "IdC", "provider": "Enterprise", "region": "eu-central-1",
        "clientIdHash": "deadbeef",
    }  # fmt: skip
    (cache / "kiro-auth-token.json").write_text(json.dumps(token))
    client = {"clientId": "cid", "clientSecret": "sec", "expiresAt": "2026-12-01T00:00:00Z"}
    (cache / "deadbeef.json").write_text(json.dumps(client))

    found = local.from_ide(tmp_path, Config())

    assert found.format == "kiro-ide"
    (candidate,) = found.candidates
    assert candidate.fields == {
        "accessToken": "at", "refreshToken": TOKEN, "expiresAt": "2030-01-02T03:04:05.000Z",
        "authMethod": "idc", "authRegion": "eu-central-1", "clientId": "cid",
        "clientSecret": "sec", "provider": "Enterprise",
    }  # fmt: skip
    assert not candidate.problem


def test_an_ide_token_without_its_registration_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "kiro-auth-token.json"
    path.write_text(json.dumps({"refreshToken": TOKEN, "authMethod": "IdC", "clientIdHash": "aa"}))
    (candidate,) = local.from_file(path, Config()).candidates
    assert "clientId" in candidate.problem and TOKEN not in candidate.problem


def test_a_registration_is_not_looked_for_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil.json").write_text('{"clientId": "x", "clientSecret": "y"}')
    inner = tmp_path / "in"
    inner.mkdir()
    token = {"refreshToken": TOKEN, "authMethod": "IdC", "clientIdHash": "../evil"}
    (inner / "token.json").write_text(json.dumps(token))
    (candidate,) = local.from_file(inner / "token.json", Config()).candidates
    assert "clientId" not in candidate.fields


def test_token_and_registration_may_be_pasted_together() -> None:
    pasted = [
        {"clientId": "cid", "clientSecret": "sec", "scopes": []},
        {"refreshToken": TOKEN, "clientIdHash": "aa", "authMethod": "IdC", "region": "us-east-1"},
    ]
    candidate = only(json.dumps(pasted))
    assert candidate.fields["clientId"] == "cid" and not candidate.problem


@pytest.mark.parametrize("way", ["file", "bytes", "base64"])
def test_kiro_cli_keeps_an_idc_login_in_sqlite(tmp_path: Path, way: str) -> None:
    path = database(tmp_path / "data.sqlite3", **IDC_DATABASE)
    if way == "file":
        found = local.from_file(path, Config())
    elif way == "bytes":
        found = imports.read(path.read_bytes(), Config())
    else:
        found = imports.read(base64.b64encode(path.read_bytes()).decode(), Config())
    assert found.format == "kiro-cli"
    assert found.candidates[0].fields == {
        "accessToken": "at", "refreshToken": TOKEN, "expiresAt": "2030-01-02T03:04:05.000Z",
        "authMethod": "idc", "authRegion": "eu-central-1", "clientId": "cid",
        "clientSecret": "sec", "profileArn": ARN, "startUrl": "https://corp.awsapps.com/start",
    }  # fmt: skip


def test_kiro_cli_s_social_login_comes_before_an_older_idc_one(tmp_path: Path) -> None:
    social = {"access_token": "s", "refresh_token": OTHER, "expires_at": "2030-01-01T00:00:00Z",
              "profile_arn": ARN}  # fmt: skip
    path = database(tmp_path / "d", **IDC_DATABASE, **{"kirocli:social:token": social})
    (candidate,) = local.from_file(path, Config()).candidates
    assert candidate.fields["refreshToken"] == OTHER
    assert candidate.fields["authMethod"] == "social" and "clientId" not in candidate.fields


def test_kiro_cli_is_found_where_its_system_puts_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kiro-cli login"):
        local.from_cli(tmp_path, {}, Config())
    legacy = tmp_path / "Library" / "Application Support" / "amazon-q"
    legacy.mkdir(parents=True)
    database(legacy / "data.sqlite3", **IDC_DATABASE)
    assert local.from_cli(tmp_path, {}, Config()).candidates[0].fields["refreshToken"] == TOKEN
    newer = tmp_path / "data" / "kiro-cli"
    newer.mkdir(parents=True)
    database(newer / "data.sqlite3", **{"kirocli:odic:token": {"refresh_token": OTHER}})
    environment = {"XDG_DATA_HOME": str(tmp_path / "data")}
    found = local.from_cli(tmp_path, environment, Config())
    assert found.candidates[0].fields["refreshToken"] == OTHER


def test_reading_kiro_cli_s_database_writes_nothing(tmp_path: Path) -> None:
    path = database(tmp_path / "data.sqlite3", **IDC_DATABASE)
    before = path.read_bytes()
    local.from_file(path, Config())
    assert path.read_bytes() == before


NESTED = {
    "id": "x-1", "email": "a@example.com", "nickname": "A", "idp": "BuilderId", "status": "active",
    "credentials": {
        "accessToken": "at", "refreshToken": TOKEN, "clientId": "cid", "clientSecret": "sec",
        "region": "us-east-1", "expiresAt": 1893456000000, "csrfToken": "zzz",
    },
    "usage": {"current": 1}, "subscription": {"type": "Free"},
}  # fmt: skip
FLAT = {
    "id": "x-2", "email": "b@example.com", "label": "Kiro Github", "status": "正常",
    "provider": "Github", "refreshToken": OTHER, "accessToken": "at2",
    "expiresAt": "2030/1/12 02:32:20", "priority": 9,
    "usageData": {},
}  # fmt: skip


@pytest.mark.parametrize("wrap", ["version", "dict", "array"])
def test_account_manager_exports_nested_and_flat(wrap: str) -> None:
    accounts = [NESTED, FLAT]
    data: object = accounts
    if wrap == "version":
        data = {"version": "1.2", "exportedAt": 1, "accounts": accounts}
    elif wrap == "dict":
        data = {"accounts": {str(entry["id"]): entry for entry in accounts}}
    found = imports.read(data, Config())
    assert found.format == "kam"
    nested, flat = found.candidates
    assert nested.label == "a@example.com" and not nested.problem and not nested.errored
    assert nested.fields == {
        "email": "a@example.com", "accessToken": "at", "refreshToken": TOKEN, "clientId": "cid",
        "clientSecret": "sec", "authRegion": "us-east-1", "authMethod": "idc",
        "expiresAt": "2030-01-01T00:00:00.000Z", "provider": "BuilderId",
    }  # fmt: skip
    assert flat.fields == {
        "email": "b@example.com", "accessToken": "at2", "refreshToken": OTHER,
        "authMethod": "social", "provider": "Github", "expiresAt": "2030-01-12T02:32:20.000Z",
    }  # fmt: skip


def test_an_account_its_own_program_gave_up_is_marked() -> None:
    found = imports.read({"accounts": [{**NESTED, "status": "error"}]}, Config())
    assert found.candidates[0].errored and not found.candidates[0].problem


def test_other_gateways_snake_case_and_short_names() -> None:
    snake = {
        "type": "kiro", "access_token": "at", "refresh_token": TOKEN, "auth_method": "builder-id",
        "client_id": "cid", "client_secret": "sec", "expires_at": "2030-01-01T00:00:00Z",
        "region": "us-east-1", "provider": "AWS",
    }  # fmt: skip
    assert only(snake).fields["authMethod"] == "idc" and not only(snake).problem
    short = {"auth": "Social", "refreshToken": TOKEN}
    assert only([short]).fields == {"authMethod": "social", "refreshToken": TOKEN}


def test_lines_of_bare_keys_and_tokens() -> None:
    text = f"ksk_aaaabbbbcccc|eu-central-1\n\n{TOKEN}\nnot a token\n"
    first, second = imports.read(text, Config()).candidates
    assert first.fields == {
        "kiroApiKey": "ksk_aaaabbbbcccc", "apiRegion": "eu-central-1", "authMethod": "api_key",
    }  # fmt: skip
    assert second.fields == {"refreshToken": TOKEN}


def test_one_bad_entry_leaves_the_good_ones_usable() -> None:
    found = imports.read(
        [{"refreshToken": "short..."}, 5, {"refreshToken": TOKEN}, {"refreshToken": TOKEN}, {}],
        Config(),
    )
    problems = [candidate.problem for candidate in found.candidates]
    assert "truncated copy" in problems[0]
    assert problems[1] == "is not an object"
    assert problems[2] == ""
    assert problems[3] == "is the same login as entry 3"
    assert "refreshToken is missing" in problems[4]


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", "", "{", "[]", "not json", "{}x", 5, None, b"SQLite format 3\0junk"]
)
def test_what_holds_no_login_is_refused_with_a_reason(data: object) -> None:
    with pytest.raises(ConfigError):
        found = imports.read(data, Config())
        assert all(candidate.problem for candidate in found.candidates)
        raise ConfigError("only problems")


def test_another_program_s_database_is_named_as_such(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as file:
        file.execute("CREATE TABLE t (x)")
    file.close()
    with pytest.raises(ConfigError, match="not kiro-cli's database"):
        local.from_file(tmp_path / "other.db", Config())


def test_a_duplicate_is_found_by_its_token_alone() -> None:
    present = [parse({"refreshToken": TOKEN, "email": "old@x"}, Config(), id=4).credential]
    assert imports.duplicate_of(only({"refreshToken": TOKEN}), present) == 4
    assert imports.duplicate_of(only({"refreshToken": OTHER, "email": "old@x"}), present) is None


def test_no_repr_or_problem_shows_a_secret() -> None:
    candidate = only({"refreshToken": TOKEN, "authMethod": "idc", "clientSecret": "s3cr3t" * 4})
    assert TOKEN not in repr(candidate) and "s3cr3t" not in repr(candidate)


@pytest.mark.parametrize("token", [7, ["x"], {"a": 1}, True])
def test_a_token_that_is_no_text_does_not_keep_the_others_out(token: object) -> None:
    found = imports.read([{"refreshToken": token}, {"refreshToken": OTHER}], Config())
    assert [bool(each.problem) for each in found.candidates] == [True, False]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" + "1" * 5000 + "]"])
def test_a_hostile_text_is_refused_in_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        imports.read(text, Config())
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        local.from_file(path, Config())
