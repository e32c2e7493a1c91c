"""Issue, expiry and rotation of tokens, and what a wrong refresh is told."""

import pytest

from kiroproxy.simulator import Simulator, TokenState


class Clock:
    """Seconds that pass when told to."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def refresh_social(caller, sim, token):
    return await caller.client.post(f"{sim.url}/refreshToken", json={"refreshToken": token})


def oidc(account, **members):
    return {
        "clientId": account.client_id,
        "clientSecret": account.client_secret,
        "refreshToken": account.refresh_token,
        "grantType": "refresh_token",
        **members,
    }


async def test_a_social_refresh_rotates_and_the_old_token_is_dead(caller):
    async with Simulator() as sim:
        account = sim.tokens.accounts[0]
        old_refresh, old_access = account.refresh_token, account.access_token
        first = (await refresh_social(caller, sim, old_refresh)).json()
        assert first["refreshToken"] != old_refresh and first["accessToken"] != old_access
        assert first["expiresIn"] == 3600 and first["profileArn"] == account.profile_arn
        replay = await refresh_social(caller, sim, old_refresh)
        assert replay.status_code == 400
        assert replay.json()["error"] == "invalid_grant"
        assert "Invalid refresh token provided" in replay.json()["message"]
        assert (await refresh_social(caller, sim, first["refreshToken"])).status_code == 200
    assert sim.tokens.refused == ["spent refresh token"]
    assert sim.tokens.calls["refresh"] == 3
    assert (account.rotations, sim.tokens.calls["refreshed"]) == (2, 2)


async def test_without_rotation_the_answer_leaves_the_refresh_token_out(caller):
    tokens = TokenState(rotate=False)
    account = tokens.add_social()
    async with Simulator(tokens=tokens) as sim:
        for _ in range(2):
            answer = await refresh_social(caller, sim, account.refresh_token)
            assert answer.status_code == 200 and "refreshToken" not in answer.json()


def test_an_access_token_dies_at_its_time_and_not_before():
    clock = Clock()
    tokens = TokenState(clock=clock, lifetime_s=60)
    account = tokens.add_social()
    clock.now += 59.9
    assert tokens.caller(account.access_token) is account
    clock.now += 0.1
    assert tokens.caller(account.access_token) is None


def test_a_refresh_leaves_the_access_token_before_it_alive():
    tokens = TokenState()
    account = tokens.add_social()
    before = account.access_token
    tokens.refresh_social({"refreshToken": account.refresh_token})
    assert tokens.caller(before) is tokens.caller(account.access_token) is account


async def test_oidc_takes_camel_case_and_answers_in_it(caller):
    tokens = TokenState()
    account = tokens.add_idc()
    async with Simulator(tokens=tokens) as sim:
        answer = await caller.client.post(f"{sim.url}/token", json=oidc(account))
    assert answer.json() == {
        "accessToken": account.access_token,
        "refreshToken": account.refresh_token,
        "expiresIn": 3600,
        "tokenType": "Bearer",
    }


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"clientSecret": "wrong"}, 401, "invalid_client"),
        ({"clientId": None}, 401, "invalid_client"),
        ({"grantType": "password"}, 400, "unsupported_grant_type"),
        ({"refreshToken": None}, 400, "invalid_request"),
        ({"refreshToken": "x" * 120}, 400, "invalid_grant"),
    ],
)
async def test_oidc_says_what_is_wrong_with_a_refresh(caller, change, status, error):
    tokens = TokenState()
    account = tokens.add_idc()
    async with Simulator(tokens=tokens) as sim:
        answer = await caller.client.post(f"{sim.url}/token", json=oidc(account, **change))
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_oidc_does_not_know_snake_case(caller):
    tokens = TokenState()
    account = tokens.add_idc()
    snake = {
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "refresh_token": account.refresh_token,
        "grant_type": "refresh_token",
    }
    async with Simulator(tokens=tokens) as sim:
        answer = await caller.client.post(f"{sim.url}/token", json=snake)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_refresh_token_only_works_with_its_own_client_and_service():
    tokens = TokenState()
    mine, theirs, social = tokens.add_idc(), tokens.add_idc(), tokens.add_social()
    assert tokens.refresh_oidc(oidc(mine, refreshToken=theirs.refresh_token)).status == 400
    assert tokens.refresh_social({"refreshToken": mine.refresh_token}).status == 400
    assert tokens.refresh_oidc(oidc(mine, refreshToken=social.refresh_token)).status == 400
    assert tokens.refresh_oidc(oidc(mine))["accessToken"] == mine.access_token


@pytest.mark.parametrize("body", [None, [], {}, {"refreshToken": ""}, {"refresh_token": "x"}])
def test_a_social_refresh_without_a_token_is_refused(body):
    assert TokenState().refresh_social(body).status == 400


def test_credentials_are_what_credentials_json_holds():
    clock = Clock()
    tokens = TokenState(clock=clock)
    social, idc, key = tokens.add_social(), tokens.add_idc(), tokens.add_api_key("ksk_x")
    first, second, third = tokens.credentials()
    assert first == {
        "accessToken": social.access_token,
        "refreshToken": social.refresh_token,
        "expiresAt": "2027-01-15T09:00:00Z",
        "authMethod": "social",
        "profileArn": social.profile_arn,
    }
    assert (second["clientId"], second["clientSecret"]) == (idc.client_id, idc.client_secret)
    assert "profileArn" not in second
    assert third == {"authMethod": "api_key", "kiroApiKey": key.api_key}
    assert len(social.refresh_token) >= 100
