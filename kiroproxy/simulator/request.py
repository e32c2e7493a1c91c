"""A request the simulator received: what was asked, and how its answer ended.

Rules of this file: reading only, and tolerant: a request that is about to be refused is recorded
too. Tests look at `Simulator.requests`.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from kiroproxy.simulator.connection import Message
from kiroproxy.simulator.refusals import Refusal

REGION: Final = re.compile(r"(?:us|eu|ap|ca|sa|me|af|il)-(?:gov-)?[a-z]+-\d")
_HOST: Final = re.compile(r"\.((?:us|eu|ap|ca|sa|me|af|il)-(?:gov-)?[a-z]+-\d)\.")

ROUTES: Final = {
    ("POST", "/generateAssistantResponse"): "generate",
    ("POST", "/mcp"): "mcp",
    ("POST", "/refreshToken"): "refresh",
    ("POST", "/token"): "token",
    ("POST", "/client/register"): "register",
    ("POST", "/device_authorization"): "device",
    ("POST", "/oauth/device/authorization"): "socialDevice",
    ("POST", "/oauth/device/poll"): "socialPoll",
    ("GET", "/device"): "confirm",
    ("GET", "/getUsageLimits"): "usage",
    ("GET", "/ListAvailableModels"): "models",
    ("POST", "/ListAvailableModels"): "models",
    ("POST", "/ListAvailableProfiles"): "profiles",
}
_RUNTIME: Final = {"GenerateAssistantResponse": "generate", "InvokeMCP": "mcp"}
_CONTROL: Final = {
    "GetUsageLimits": "usage",
    "ListAvailableModels": "models",
    "ListAvailableProfiles": "profiles",
}
# Which service knows which operations: another one's are unknown to it.
SERVICES: Final = {
    "AmazonCodeWhispererStreamingService": _RUNTIME,
    "AmazonCodeWhispererService": _CONTROL,
    "KiroRuntimeService": _RUNTIME,
    "KiroControlPlaneBearerService": _CONTROL,
}


@dataclass(slots=True)
class Request:
    """One call.

    Shape: `outcome` is "" while it is being answered, then "done", "dropped" (we broke it off on
    purpose) or "left" (the caller did). `region` comes from the path's first segment, which is
    how a test's URL template shows it, or from a Kiro host name.
    """

    number: int
    connection: int
    method: str
    path: str
    region: str
    route: str
    query: dict[str, str]
    headers: dict[str, str]
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    json: Any = None
    refusal: Refusal | None = None
    status: int = 0
    sent_bytes: int = 0
    outcome: str = ""
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_rpc(self) -> bool:
        """Tell whether the operation was named by a target header."""
        return "x-amz-target" in self.headers

    @property
    def state(self) -> dict[str, Any]:
        """The conversationState, empty when there is none."""
        found = self.json.get("conversationState") if isinstance(self.json, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def current(self) -> dict[str, Any]:
        """The current user message, empty when there is none."""
        found = self.state.get("currentMessage", {}).get("userInputMessage", {})
        return found if isinstance(found, dict) else {}

    @property
    def prompt(self) -> str:
        """Text of the current user message."""
        return str(self.current.get("content", ""))

    @property
    def context(self) -> dict[str, Any]:
        """The current message's context, empty when there is none."""
        found = self.current.get("userInputMessageContext", {})
        return found if isinstance(found, dict) else {}

    @property
    def tool_results(self) -> list[dict[str, Any]]:
        """Tool results in the current message."""
        return list(self.context.get("toolResults", []))

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """Declared tools by name."""
        entries = (entry.get("toolSpecification", {}) for entry in self.context.get("tools", []))
        return {entry["name"]: entry for entry in entries if "name" in entry}

    @property
    def model_id(self) -> str:
        """The model asked for."""
        return str(self.current.get("modelId", "auto"))

    def summary(self) -> dict[str, Any]:
        """Describe the request for the admin path; tokens are not repeated."""
        hidden = {name: value for name, value in self.headers.items() if name != "authorization"}
        return {
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "region": self.region,
            "route": self.route,
            "query": self.query,
            "headers": hidden,
            "body": self.json,
            "status": self.status,
            "rule": self.refusal.rule if self.refusal else "",
            "sentBytes": self.sent_bytes,
            "outcome": self.outcome,
        }


def read(message: Message, number: int, connection: int) -> Request:
    """Sort a message by region and route; unknown operations have the route ""."""
    url = urlsplit(message.target.decode("latin-1"))
    headers = message.headers
    region, path = _region(url.path, headers.get("host", ""))
    return Request(
        number,
        connection,
        message.method,
        path,
        region,
        _route(message.method, path, headers.get("x-amz-target", "")),
        dict(parse_qsl(url.query, keep_blank_values=True)),
        headers,
        message.raw_headers,
        message.body,
        _parse(message.body),
    )


def _region(path: str, host: str) -> tuple[str, str]:
    first, _, rest = path.removeprefix("/").partition("/")
    if REGION.fullmatch(first):
        return first, f"/{rest}"
    found = _HOST.search(host)
    return (found[1] if found else ""), path


def _route(method: str, path: str, target: str) -> str:
    if path.lower() == "/getusagelimits":  # the one path whose case is not looked at
        path = "/getUsageLimits"
    if not target:
        return ROUTES.get((method, path), "")
    service, _, operation = target.partition(".")
    if method != "POST" or service not in SERVICES:
        return ""
    route = SERVICES[service].get(operation, "")
    return route if path == "/" else ROUTES.get((method, path), "")


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
