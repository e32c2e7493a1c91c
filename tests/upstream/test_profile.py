"""Profile ARNs: found, remembered, never written anywhere."""

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.errors import Refused, ServerFault
from kiroproxy.upstream.endpoint import BUILDER_ID_PROFILE_ARN
from kiroproxy.upstream.profile import Profiles

US = "arn:aws:codewhisperer:us-east-1:1:profile/US"
EU = "arn:aws:codewhisperer:eu-central-1:1:profile/EU"


class Source:
    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    async def list_profiles(self, credential):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [{"arn": arn} for arn in answer]


def enterprise(**changes) -> Credential:
    return Credential(id=1, auth_method="idc", **changes)


async def test_profile_of_the_credentials_region_is_preferred():
    profiles, credential = Profiles(Source([US, EU])), enterprise(api_region="eu-central-1")
    assert await profiles.resolve(credential)
    assert profiles.applied(credential).profile_arn == EU


async def test_calls_go_to_the_region_of_the_profile():
    profiles, credential = Profiles(Source([EU])), enterprise(api_region="us-east-1")
    await profiles.resolve(credential)
    assert profiles.applied(credential).api_region == "eu-central-1"
    assert credential.profile_arn == ""


async def test_other_credentials_are_left_alone():
    profiles = Profiles(Source([EU]))
    await profiles.resolve(enterprise())
    other = Credential(id=2, auth_method="idc")
    assert profiles.applied(other) is other


@pytest.mark.parametrize("answer", [[], Refused("not supported for this operation")])
async def test_builder_id_gets_the_stand_in_and_social_logins_do_not(answer):
    profiles = Profiles(Source(answer, answer))
    assert await profiles.resolve(enterprise())
    assert profiles.applied(enterprise()).profile_arn == BUILDER_ID_PROFILE_ARN
    assert not await profiles.resolve(Credential(id=3, auth_method="social"))


@pytest.mark.parametrize("answer", [[US], ["nonsense"]])
async def test_profile_that_was_just_refused_is_no_answer(answer):
    refused = Credential(id=1, auth_method="social", profile_arn=US)
    assert not await Profiles(Source(answer)).resolve(refused)


async def test_outage_is_not_taken_for_a_builder_id():
    profiles = Profiles(Source(ServerFault("")))
    assert not await profiles.resolve(enterprise())
    assert profiles.applied(enterprise()) == enterprise()


async def test_api_keys_are_never_asked_about():
    assert not await Profiles(Source()).resolve(Credential(id=1, auth_method="api_key"))
