"""What the auth services are asked, and which of their refusals end a login."""

import json
from typing import Any

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.config import Config
from kiroproxy.errors import ConnectFailed, CredentialDead, RefreshFailed
from kiroproxy.upstream.control import Answer
from kiroproxy.upstream.login import renew

NOW = 1_767_225_600_000
SOCIAL = Credential(1, refresh_token="r" * 200, machine_id="ab" * 32)
IDC = Credential(
    2, "idc", refresh_token="r" * 200, client_id="cid", client_secret="cs", auth_region="eu-west-1"
)


class Service:
    """Stands in for the control plane: one answer, every call noted."""

    def __init__(self, status: int = 200, body: Any = None, headers: Any = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = Answer(status, headers or {}, raw)
        self.calls: list[tuple[Any, Any]] = []

    async def exchange(self, target: Any, body: bytes, proxy: Any) -> Answer:
        self.calls.append((target, json.loads(body)))
        return self.answer


async def ask(service: Service, credential: Credential = SOCIAL) -> Any:
    return await renew(credential, service, Config(), "call-1", NOW)  # type: ignore[arg-type]


async def test_a_social_login_sends_its_refresh_token_alone() -> None:
    service = Service(body={"accessToken": "a"})
    await ask(service)
    target, body = service.calls[0]
    assert target.url == "https://prod.us-east-1.auth.desktop.kiro.dev/refreshToken"
    assert body == {"refreshToken": "r" * 200}


async def test_an_idc_login_sends_camel_case_to_its_region() -> None:
    service = Service(body={"accessToken": "a"})
    await ask(service, IDC)
    target, body = service.calls[0]
    assert target.url == "https://oidc.eu-west-1.amazonaws.com/token"
    assert body == {
        "refreshToken": "r" * 200,
        "clientId": "cid",
        "clientSecret": "cs",
        "grantType": "refresh_token",
    }


async def test_everything_the_answer_names_is_kept() -> None:
    service = Service(
        body={"accessToken": "a", "refreshToken": "n", "profileArn": "arn:x", "expiresIn": 1800}
    )
    assert (await ask(service)).as_fields() == {
        "accessToken": "a",
        "refreshToken": "n",
        "profileArn": "arn:x",
        "expiresAt": "2026-01-01T00:30:00.000Z",
    }


@pytest.mark.parametrize(
    ("fields", "lifetime_s"),
    [
        ({"expiresIn": 28800}, 28800),
        ({"expiresIn": "60"}, 60),
        ({"expiresIn": "6²"}, 3600),
        ({"expiresIn": "9" * 5000}, 3600),
        ({"expiresIn": 59.5}, 59.5),
        ({"expiresAt": "2026-01-01T00:10:00Z"}, 600),
        ({}, 3600),
        ({"expiresIn": -1}, 3600),
        ({"expiresIn": "soon"}, 3600),
    ],
)
async def test_the_lifetime_has_many_forms(fields: dict[str, Any], lifetime_s: float) -> None:
    tokens = await ask(Service(body={"accessToken": "a", **fields}))
    assert tokens.expires_at_ms == NOW + lifetime_s * 1000


async def test_what_the_answer_does_not_name_is_not_written() -> None:
    tokens = await ask(Service(body={"accessToken": "a", "refreshToken": "", "profileArn": None}))
    assert sorted(tokens.as_fields()) == ["accessToken", "expiresAt"]


@pytest.mark.parametrize("body", [{}, [], b"<html>", {"accessToken": ""}, {"accessToken": "a b"}])
async def test_a_200_without_a_usable_token_passes_by_itself(body: Any) -> None:
    with pytest.raises(RefreshFailed):
        await ask(Service(body=body))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid refresh token provided"}),
        (400, {"error": "invalid_grant"}),
        (401, {"error": "invalid_client"}),
        (401, {"message": "Bad credentials"}),
        (400, {"__type": "com.amazonaws.ssooidc#ExpiredTokenException"}),
        (400, {"__type": "InvalidGrantException"}),
        (400, {"message": "Client is expired"}),
        (403, {"message": "Invalid refresh token"}),
        (401, b""),
    ],
)
async def test_these_refusals_end_a_login(status: int, body: Any) -> None:
    with pytest.raises(CredentialDead):
        await ask(Service(status, body))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b"<html>Request blocked</html>"),
        (429, {"error": "slow_down"}),
        (500, {"error": "invalid_grant"}),
        (503, b""),
        (400, {"error": "invalid_request"}),
        (404, b""),
    ],
)
async def test_these_pass_by_themselves(status: int, body: Any) -> None:
    with pytest.raises(RefreshFailed):
        await ask(Service(status, body))


async def test_the_wait_that_a_429_names_is_passed_on() -> None:
    with pytest.raises(RefreshFailed) as caught:
        await ask(Service(429, {}, {b"retry-after": b"17"}))
    assert caught.value.retry_after_s == 17


async def test_a_service_that_cannot_be_reached_passes_by_itself() -> None:
    class Nobody(Service):
        async def exchange(self, target: Any, body: bytes, proxy: Any) -> Answer:
            raise ConnectFailed("Kiro cannot be reached", detail="refused")

    with pytest.raises(RefreshFailed) as caught:
        await ask(Nobody())
    assert "refused" in caught.value.detail


async def test_no_token_of_an_answer_gets_into_a_message() -> None:
    body = {"error": "invalid_grant", "refreshToken": "leak-1", "hint": "leak-2"}
    with pytest.raises(CredentialDead) as caught:
        await ask(Service(400, body))
    assert "leak" not in str(caught.value) + caught.value.detail
    assert "leak" not in repr(
        await ask(Service(body={"accessToken": "leak", "refreshToken": "leak"}))
    )
