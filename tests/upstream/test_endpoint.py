"""Where each call goes and what it shows there, header by header."""

import dataclasses
from urllib.parse import parse_qs, urlsplit

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import InternalError
from kiroproxy.upstream import endpoint
from kiroproxy.upstream.generations import GENERATIONS

MACHINE = "ab" * 32
ARN = "arn:aws:codewhisperer:eu-central-1:1234:profile/P"
CONFIG = Config(system_version="darwin#24.6.0", kiro_version="0.11.107", node_version="22.22.0")
SOCIAL = Credential(
    id=1,
    access_token="token",
    profile_arn=ARN,
    machine_id=MACHINE,
    api_region="eu-central-1",
    auth_region="us-west-2",
)
IDC = dataclasses.replace(SOCIAL, auth_method="idc")
API_KEY = dataclasses.replace(SOCIAL, auth_method="api_key", kiro_api_key="ksk_1", access_token="")
ID = "00000000-0000-4000-8000-000000000000"


def headers_of(target: endpoint.Target) -> dict[bytes, bytes]:
    headers = dict(target.headers)
    assert len(headers) == len(target.headers), "a header is there twice"
    return headers


def test_streaming_call_shows_exactly_the_identity_of_the_ide():
    target = endpoint.generate(SOCIAL, CONFIG, invocation_id=ID, attempt=2)
    assert target.method == "POST"
    assert target.url == "https://q.eu-central-1.amazonaws.com/generateAssistantResponse"
    client = b"KiroIDE-0.11.107-" + MACHINE.encode()
    assert headers_of(target) == {
        b"accept": b"*/*",
        b"authorization": b"Bearer token",
        b"content-type": b"application/json",
        b"connection": b"keep-alive",
        b"x-amzn-kiro-agent-mode": b"vibe",
        b"x-amzn-codewhisperer-optout": b"true",
        b"amz-sdk-invocation-id": ID.encode(),
        b"amz-sdk-request": b"attempt=2; max=3",
        b"x-amz-user-agent": b"aws-sdk-js/1.0.34 " + client,
        b"user-agent": b"aws-sdk-js/1.0.34 ua/2.1 os/darwin#24.6.0 lang/js md/nodejs#22.22.0 "
        b"api/codewhispererstreaming#1.0.34 m/E " + client,
    }


def test_api_key_travels_as_bearer_with_its_token_type_and_no_profile():
    headers = headers_of(endpoint.mcp(API_KEY, CONFIG, invocation_id=ID))
    assert headers[b"authorization"] == b"Bearer ksk_1"
    assert headers[b"tokentype"] == b"API_KEY"
    assert b"x-amzn-kiro-profile-arn" not in headers


def test_tool_call_names_the_profile_in_a_header():
    target = endpoint.mcp(IDC, CONFIG, invocation_id=ID)
    assert target.url == "https://q.eu-central-1.amazonaws.com/mcp"
    headers = headers_of(target)
    assert headers[b"x-amzn-kiro-profile-arn"] == ARN.encode()
    assert b"tokentype" not in headers
    assert b"x-amzn-kiro-agent-mode" not in headers


@pytest.mark.parametrize(
    ("call", "path"),
    [(endpoint.usage_limits, "/getUsageLimits"), (endpoint.list_models, "/ListAvailableModels")],
)
@pytest.mark.parametrize(("credential", "arns"), [(SOCIAL, [ARN]), (IDC, []), (API_KEY, [])])
def test_management_calls_name_the_profile_of_social_logins_only(call, path, credential, arns):
    target = call(credential, CONFIG, invocation_id=ID)
    parts = urlsplit(target.url)
    assert (target.method, parts.path) == ("GET", path)
    query = parse_qs(parts.query)
    assert query["origin"] == ["AI_EDITOR"]
    assert query.get("profileArn", []) == arns
    headers = headers_of(target)
    assert b"api/codewhispererruntime#1.0.0 m/N,E KiroIDE-" in headers[b"user-agent"]
    assert headers[b"amz-sdk-request"] == b"attempt=1; max=1"
    assert b"content-type" not in headers


def test_further_pages_of_models_are_asked_for_by_token():
    target = endpoint.list_models(IDC, CONFIG, invocation_id=ID, next_token="a b&c")
    assert parse_qs(urlsplit(target.url).query)["nextToken"] == ["a b&c"]


def test_profiles_are_asked_for_in_us_east_1_whatever_the_region():
    target = endpoint.list_profiles(SOCIAL, CONFIG, invocation_id=ID)
    assert target.url == "https://q.us-east-1.amazonaws.com/ListAvailableProfiles"
    assert target.method == "POST"


def test_logins_are_renewed_in_the_auth_region():
    social = endpoint.social_refresh(SOCIAL, CONFIG)
    assert social.url == "https://prod.us-west-2.auth.desktop.kiro.dev/refreshToken"
    assert headers_of(social)[b"user-agent"] == b"KiroIDE-0.11.107-" + MACHINE.encode()
    oidc = endpoint.oidc_token(IDC, CONFIG, invocation_id=ID)
    assert oidc.url == "https://oidc.us-west-2.amazonaws.com/token"
    headers = headers_of(oidc)
    assert headers[b"x-amz-user-agent"] == b"aws-sdk-js/3.980.0 KiroIDE"
    assert headers[b"amz-sdk-request"] == b"attempt=1; max=4"
    for target in (social, oidc):
        assert b"authorization" not in headers_of(target)


def test_operators_templates_replace_every_host():
    urls = UpstreamUrls(
        "http://127.0.0.1:1/{region}",
        "http://127.0.0.1:2",
        "http://127.0.0.1:3/a/{region}",
        "http://127.0.0.1:4",
    )
    config = dataclasses.replace(CONFIG, upstream=urls)
    assert [
        endpoint.generate(SOCIAL, config, invocation_id=ID).url,
        endpoint.mcp(SOCIAL, config, invocation_id=ID).url,
        endpoint.list_profiles(SOCIAL, config, invocation_id=ID).url,
        endpoint.social_refresh(SOCIAL, config).url,
        endpoint.oidc_token(IDC, config, invocation_id=ID).url,
    ] == [
        "http://127.0.0.1:1/eu-central-1/generateAssistantResponse",
        "http://127.0.0.1:1/eu-central-1/mcp",
        "http://127.0.0.1:2/ListAvailableProfiles",
        "http://127.0.0.1:3/a/us-west-2/refreshToken",
        "http://127.0.0.1:4/token",
    ]


def test_management_follows_the_api_template_when_it_has_none_of_its_own():
    config = dataclasses.replace(CONFIG, upstream=UpstreamUrls(api_url="http://127.0.0.1:1"))
    target = endpoint.list_profiles(SOCIAL, config, invocation_id=ID)
    assert target.url == "http://127.0.0.1:1/ListAvailableProfiles"


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "a\x00", "ключ"])
def test_value_that_would_break_out_of_its_header_is_refused_without_being_shown(bad):
    stolen = dataclasses.replace(SOCIAL, access_token=bad)
    with pytest.raises(InternalError) as caught:
        endpoint.generate(stolen, CONFIG, invocation_id=ID)
    assert bad not in str(caught.value)


@pytest.mark.parametrize("named_by", ["credential", "config"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_body_is_left_alone_just_where_it_is_said_to_be(generation: str, named_by: str) -> None:
    in_config = named_by == "config"
    credential = dataclasses.replace(SOCIAL, endpoint=None if in_config else generation)
    config = dataclasses.replace(CONFIG, default_endpoint=generation if in_config else "ide")
    message = b'{"userInputMessage":{"content":"Hi","origin":"AI_EDITOR"}}'
    body = b'{"conversationState":{"conversationId":"c","currentMessage":' + message + b"}}"
    is_left = endpoint.shaped(credential, config, body, "c") == body
    assert is_left == endpoint.is_shaped(credential, config) == (generation == "ide")


def test_an_unknown_generation_is_the_operators() -> None:
    unknown = dataclasses.replace(SOCIAL, endpoint="owl")
    assert endpoint.is_shaped(unknown, CONFIG)
    assert not endpoint.is_shaped(unknown, dataclasses.replace(CONFIG, default_endpoint="kas"))
