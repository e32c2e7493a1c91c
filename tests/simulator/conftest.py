"""Shared by the simulator's tests: a caller that looks like Kiro IDE."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from support import plain

from kiroproxy.simulator import Simulator

IDENTITY = "KiroIDE-0.11.107-" + "a" * 64


def ide_headers(token: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "x-amzn-kiro-agent-mode": "vibe",
        "x-amzn-codewhisperer-optout": "true",
        "amz-sdk-invocation-id": str(uuid4()),
        "amz-sdk-request": "attempt=1; max=3",
        "x-amz-user-agent": f"aws-sdk-js/1.0.34 {IDENTITY}",
        "user-agent": "aws-sdk-js/1.0.34 ua/2.1 os/darwin#24.6.0 lang/js md/nodejs#22.22.0 "
        f"api/codewhispererstreaming#1.0.34 m/E {IDENTITY}",
    }


_RUST = "aws-sdk-rust/1.3.15 ua/2.1 api/codewhispererstreaming/0.1.17975 os/linux lang/rust/1.92.0"
_KAS = f"{IDENTITY}-KAS/0.66.7"
_AGENTS = {
    "AmazonCodeWhispererStreamingService": (
        f"{_RUST} m/F app/AmazonQ-For-CLI",
        f"{_RUST} md/appVersion-2.15.2 app/AmazonQ-For-CLI",
    ),
    "KiroRuntimeService": (
        f"aws-sdk-js/1.0.0 {_KAS}",
        "aws-sdk-js/1.0.0 ua/2.1 os/darwin#24.6.0 lang/js md/nodejs#22.22.0 "
        f"api/kiroruntime#1.0.0 m/N {_KAS}",
    ),
}


def rpc_headers(token: str, service: str) -> dict[str, str]:
    """Return what the newer generations send, by the service they name."""
    amz_agent, agent = _AGENTS[service]
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"{service}.GenerateAssistantResponse",
        "x-amzn-codewhisperer-optout": "true",
        "x-kiro-attempt": "1;max=3",
        "amz-sdk-invocation-id": str(uuid4()),
        "amz-sdk-request": "attempt=1; max=3",
        "x-amz-user-agent": amz_agent,
        "user-agent": agent,
    }
    if service == "KiroRuntimeService":
        headers["x-amzn-kiro-client-attribution"] = "kiro-ide"
    return headers


def body_for(prompt: str, **members: Any) -> dict[str, Any]:
    message = {"content": prompt, "modelId": "claude-sonnet-4.5", "origin": "AI_EDITOR", **members}
    return {
        "conversationState": {
            "conversationId": "c1",
            "chatTriggerType": "MANUAL",
            "currentMessage": {"userInputMessage": message},
        }
    }


class Caller:
    """An HTTP client with a simulator's own token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, sim: Simulator, body: Any = None, **headers: str) -> httpx.Response:
        sent = {**ide_headers(sim.tokens.accounts[0].access_token), **headers}
        return await self.client.post(
            f"{sim.url}/generateAssistantResponse", json=body or body_for("hi"), headers=sent
        )

    def stream(self, sim: Simulator, body: Any = None) -> Any:
        return self.client.stream(
            "POST",
            f"{sim.url}/generateAssistantResponse",
            json=body or body_for("hi"),
            headers=ide_headers(sim.tokens.accounts[0].access_token),
        )


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with plain.client(timeout=5) as client:
        yield Caller(client)


@pytest.fixture
def make_body() -> Callable[..., dict[str, Any]]:
    return body_for


@pytest.fixture
def make_headers() -> Callable[[str], dict[str, str]]:
    return ide_headers


@pytest.fixture
def make_rpc_headers() -> Callable[[str, str], dict[str, str]]:
    return rpc_headers
