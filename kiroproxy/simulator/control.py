"""Everything Kiro answers besides the stream: refreshes, usage, models, profiles, MCP search.

Rules of this file: one function a route, from a request to a JSON value or a refusal; no I/O.
Search results are made up and say so.

Source: answers of the management and auth services as clients recorded them.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import orjson

from kiroproxy.simulator import catalogue
from kiroproxy.simulator.devices import GRANT
from kiroproxy.simulator.refusals import IMPROPER, Refusal
from kiroproxy.simulator.request import Request
from kiroproxy.simulator.tokens import TokenState
from kiroproxy.simulator.validation import check_caller, check_management

QUERY_LIMIT: Final = 200  # characters; the tool's own schema says so
DAY_S: Final = 86_400


def refresh(request: Request, tokens: TokenState) -> Any:
    """Renew a social credential."""
    return tokens.refresh_social(request.json)


def token(request: Request, tokens: TokenState) -> Any:
    """Renew an OIDC credential, or turn a confirmed code into its first tokens."""
    told = request.json
    if isinstance(told, dict) and told.get("grantType") == GRANT:
        return tokens.devices.token(told)
    return tokens.refresh_oidc(told)


def usage(request: Request, tokens: TokenState) -> Any:
    """Answer GetUsageLimits: a free plan with a trial, a little of it used."""
    told = _told(request)
    if refusal := check_management(request.headers, tokens, told.get("profileArn"), request.region):
        return refusal
    account = tokens.caller(request.headers["authorization"].removeprefix("Bearer "))
    assert account is not None, "the caller was checked"
    next_reset = (int(tokens.clock()) // (30 * DAY_S) + 1) * 30 * DAY_S
    used, tried = min(account.used, account.plan), max(account.used - account.plan, 0.0)
    breakdown = {
        "resourceType": "CREDIT",
        "displayName": "Credit",
        "displayNamePlural": "Credits",
        "unit": "INVOCATIONS",
        "currency": "USD",
        "currentUsage": int(used),
        "currentUsageWithPrecision": used,
        "usageLimit": int(account.plan),
        "usageLimitWithPrecision": account.plan,
        "currentOverages": 0,
        "currentOveragesWithPrecision": 0.0,
        "overageCap": 10_000,
        "overageCapWithPrecision": 10_000.0,
        "overageRate": 0.04,
        "overageCharges": 0.0,
        "nextDateReset": float(next_reset),
        "freeTrialInfo": {
            "freeTrialStatus": "ACTIVE",
            "freeTrialExpiry": float(next_reset),
            "currentUsage": int(tried),
            "currentUsageWithPrecision": tried,
            "usageLimit": int(account.trial),
            "usageLimitWithPrecision": account.trial,
        },
        "bonuses": [],
    }
    answer: dict[str, Any] = {
        "daysUntilReset": 0,
        "limits": [],
        "nextDateReset": float(next_reset),
        "overageConfiguration": {"overageStatus": "DISABLED"},
        "subscriptionInfo": {
            "type": "Q_DEVELOPER_STANDALONE_FREE",
            "subscriptionTitle": "KIRO FREE",
            "upgradeCapability": "UPGRADE_CAPABLE",
            "overageCapability": "OVERAGE_INCAPABLE",
            "subscriptionManagementTarget": "PURCHASE",
        },
        "usageBreakdownList": [breakdown],
        "userInfo": {"userId": "d-0000000000.simulated"},
    }
    if told.get("isEmailRequired") in (True, "true"):
        answer["userInfo"]["email"] = "simulated@example.com"
    return answer


def models(request: Request, tokens: TokenState) -> Any:
    """Answer ListAvailableModels, page by page."""
    told = _told(request)
    if refusal := check_management(request.headers, tokens, told.get("profileArn"), request.region):
        return refusal
    limit = str(told.get("maxResults", "50"))
    if "origin" not in told or not limit.isdecimal() or not 1 <= int(limit) <= 50:
        return Refusal(400, "ValidationException", IMPROPER, rule="origin, maxResults 1–50")
    account = tokens.caller(request.headers["authorization"].removeprefix("Bearer "))
    only = account.models if account else ()
    return catalogue.listing(int(limit), str(told.get("nextToken", "")), only)


def profiles(request: Request, tokens: TokenState) -> Any:
    """Answer ListAvailableProfiles; profiles are only known in us-east-1."""
    if refusal := check_caller(request.headers, tokens, None, request.region):
        return refusal
    account = tokens.caller(request.headers["authorization"].removeprefix("Bearer "))
    if account and account.provider == "BuilderId":
        message = "AWS Builder ID is not supported for this operation."
        return Refusal(400, "ValidationException", message)
    if not account or not account.profile_arn or request.region not in ("", "us-east-1"):
        return {"profiles": []}
    entry = {"arn": account.profile_arn, "profileName": "Simulated", "status": "ACTIVE"}
    return {"profiles": [entry]}


def mcp(request: Request, tokens: TokenState) -> Any:
    """Answer JSON-RPC: initialize, tools/list and the web_search tool."""
    told = request.json if isinstance(request.json, dict) else {}
    arn = told.get("profileArn") or request.headers.get("x-amzn-kiro-profile-arn")
    if refusal := check_caller(request.headers, tokens, arn, request.region):
        return refusal
    if told.get("jsonrpc") != "2.0" or "method" not in told:
        return Refusal(400, "ValidationException", IMPROPER, rule="not JSON-RPC 2.0")
    base = {"id": told.get("id"), "jsonrpc": "2.0"}
    method, params = told["method"], told.get("params") or {}
    if method == "initialize":
        server = {"name": "kiroproxy simulator", "version": "1"}
        return {**base, "result": {"protocolVersion": "2025-06-18", "serverInfo": server}}
    if method == "tools/list":
        return {**base, "result": {"tools": [_SEARCH_TOOL]}}
    if method != "tools/call" or params.get("name") != "web_search":
        return {**base, "error": {"code": -32601, "message": f"Unknown method or tool: {method}"}}
    arguments = params.get("arguments") or {}
    if set(arguments) != {"query"}:
        return {**base, "error": {"code": -32602, "message": "query is the only parameter"}}
    return {**base, **_search(arguments["query"])}


_SEARCH_TOOL: Final = {
    "name": "web_search",
    "description": "Searches the web (simulated).",
    "inputSchema": {
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": QUERY_LIMIT}},
        "required": ["query"],
    },
}


def _search(query: object) -> dict[str, Any]:
    if not isinstance(query, str) or not 1 <= len(query) <= QUERY_LIMIT:
        message = f"query must be a string of 1 to {QUERY_LIMIT} characters"
        return {"error": {"code": -32602, "message": message}}
    found = {
        "results": [_result(query, n) for n in range(1, 4)],
        "totalResults": 3,
        "query": query,
        "error": None,
    }
    text = {"type": "text", "text": orjson.dumps(found).decode()}
    return {"result": {"content": [text], "isError": False}}


_PAGES: Final = (
    ("An introduction", "What it is, where it comes from, and what people use it for."),
    ("A practical guide", "Step by step, with examples and the mistakes beginners make."),
    ("Questions and answers", "Nine common questions, each answered in a few sentences."),
)


def _result(query: str, n: int) -> dict[str, Any]:
    title, snippet = _PAGES[n - 1]
    name = hashlib.sha256(query.encode()).hexdigest()[:8]
    return {
        "title": f"{query}: {title} (simulated result)",
        "url": f"https://example.com/simulated/{name}/{n}",
        "snippet": f"{snippet} This result was made up by kiroproxy's built-in simulator.",
        "publishedDate": 1767225600000 + n * DAY_S * 1000,
        "id": f"{name}-{n}",
        "domain": "example.com",
        "maxVerbatimWordLimit": 30,
        "publicDomain": False,
    }


def _told(request: Request) -> dict[str, Any]:
    """Merge query and body: the RPC form has its members in one or in both."""
    return {**(request.json if isinstance(request.json, dict) else {}), **request.query}


ANSWERS: Final[dict[str, Callable[[Request, TokenState], Any]]] = {
    "refresh": refresh,
    "token": token,
    "register": lambda request, tokens: tokens.devices.register(request.json),
    "device": lambda request, tokens: tokens.devices.authorize(request.json),
    "socialDevice": lambda request, tokens: tokens.devices.authorize_social(request.json),
    "socialPoll": lambda request, tokens: tokens.devices.poll_social(request.json),
    "confirm": lambda request, tokens: tokens.devices.confirm(request.query),
    "usage": usage,
    "models": models,
    "profiles": profiles,
    "mcp": mcp,
}
