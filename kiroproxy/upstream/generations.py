"""The generations of Kiro's API as data: hosts, paths, targets, identities, who may use which.

Rules of this file: tables only; `endpoint` makes calls of them. A new generation is a new row.
What stands in braces is filled in: {region} in hosts; {system}, {os}, {node} and {client} in
identities, where {client} is the generation's own name of program, version and machine.

Theory of operation. Three generations of one API are alive at once, told apart by the service
named in `x-amz-target`, or by its absence, not by the host. `ide` is plain REST, as Kiro IDE spoke
it; `cli` the JSON-RPC of kiro-cli; `kas` the JSON-RPC of the newest of both. Bodies are nearly the
same: `cli` calls itself another origin, `kas` states its agent mode and the root conversation in
the body. What `cli` adds of its environment (a working directory, the operating system) is left
out: it would tell the model of another machine than the client's.

Source: requests of the official clients as gateways recorded them: Kiro IDE 0.11, kiro-cli 2.15,
Kiro IDE 1.1.70 with its runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass

JSON, RPC = "application/json", "application/x-amz-json-1.0"
# Where the newer hosts have names at all.
_NEW_REGIONS = frozenset({"us-east-1", "eu-central-1", "us-gov-east-1", "us-gov-west-1"})

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sdk:
    """The client library a call's headers name."""

    amz_agent: str  # x-amz-user-agent
    agent: str  # user-agent
    max_attempts: int  # what amz-sdk-request announces


@dataclass(frozen=True, slots=True)
class Operation:
    """How one operation of a generation is called."""

    method: str
    path: str
    host: str  # "api" or "management": which template of the generation, and of the operator
    sdk: Sdk
    content_type: str = ""
    target: str = ""  # x-amz-target, for RPC generations
    headers: Pairs = ()  # what it carries besides
    arn: str = ""  # where a profile ARN goes: "header", "body", "social query" or ""
    region: str = ""  # pinned; "" = the credential's


@dataclass(frozen=True, slots=True)
class Generation:
    """One way an official client speaks to Kiro."""

    api_host: str
    management_host: str
    client: str  # the program's name in its identity; {version} and {machine} are filled in
    version: str  # of that program; "" = the operator's kiroVersion
    origin: str  # who asks, in bodies and queries
    accept: str  # "" = no such header
    operations: Mapping[str, Operation]
    states_agent: bool = False  # the body names agent mode and root conversation
    needs_arn: bool = False  # refuses tokens without a profile
    regions: frozenset[str] = frozenset()  # where its hosts exist; empty = anywhere


_AGENT_HEADERS: Pairs = (
    ("x-amzn-kiro-agent-mode", "vibe"),
    ("x-amzn-codewhisperer-optout", "true"),
)
_OPT_OUT: Pairs = (("x-amzn-codewhisperer-optout", "true"),)
_ATTEMPT: Pairs = (("x-kiro-attempt", "1;max=3"),)
_KAS_GENERATE: Pairs = (*_OPT_OUT, ("x-amzn-kiro-client-attribution", "kiro-ide"), *_ATTEMPT)


def _javascript(version: str, api: str, mode: str, attempts: int) -> Sdk:
    sdk = f"aws-sdk-js/{version}"
    agent = (
        f"{sdk} ua/2.1 os/{{system}} lang/js md/nodejs#{{node}} api/{api}#{version} m/{mode} "
        "{client}"
    )
    return Sdk(f"{sdk} {{client}}", agent, attempts)


def _rust(api: str, version: str) -> Sdk:
    base = f"aws-sdk-rust/1.3.15 ua/2.1 api/{api}/{version} os/{{os}} lang/rust/1.92.0"
    return Sdk(f"{base} m/F {{client}}", f"{base} md/appVersion-2.15.2 {{client}}", 3)


_IDE_STREAM = _javascript("1.0.34", "codewhispererstreaming", "E", 3)
_IDE_RUNTIME = _javascript("1.0.0", "codewhispererruntime", "N,E", 1)
_CLI_STREAM = _rust("codewhispererstreaming", "0.1.17975")
_CLI_RUNTIME = _rust("codewhispererruntime", "0.1.17975")
_KAS_STREAM = _javascript("1.0.0", "kiroruntime", "N", 3)
_KAS_CONTROL = _javascript("1.0.0", "kirocontrolplanebearer", "N,E", 1)


def _rpc(
    host: str, sdk: Sdk, target: str, headers: Pairs = (), arn: str = "body", region: str = ""
) -> Operation:
    return Operation("POST", "/", host, sdk, RPC, target, headers, arn, region)


def _management(sdk: Sdk, service: str) -> Mapping[str, Operation]:
    """Return the calls about an account, which the newer generations send alike."""
    return {
        "usage": _rpc("management", sdk, f"{service}.GetUsageLimits"),
        "models": _rpc("management", sdk, f"{service}.ListAvailableModels"),
        "profiles": _rpc(
            "management", sdk, f"{service}.ListAvailableProfiles", arn="", region="us-east-1"
        ),
    }


_STREAMING = "AmazonCodeWhispererStreamingService"
_SERVICE = "AmazonCodeWhispererService"
_RUNTIME = "KiroRuntimeService"
_CONTROL = "KiroControlPlaneBearerService"

GENERATIONS: Mapping[str, Generation] = {
    "ide": Generation(
        api_host="https://q.{region}.amazonaws.com",
        management_host="https://q.{region}.amazonaws.com",
        client="KiroIDE-{version}-{machine}",
        version="",
        origin="AI_EDITOR",
        accept="*/*",
        operations={
            "generate": Operation(
                "POST", "/generateAssistantResponse", "api", _IDE_STREAM, JSON,
                headers=_AGENT_HEADERS,
            ),
            "mcp": Operation("POST", "/mcp", "api", _IDE_STREAM, JSON, arn="header"),
            # Enterprise logins are refused for naming their profile here.
            "usage": Operation(
                "GET", "/getUsageLimits", "management", _IDE_RUNTIME, arn="social query"
            ),
            "models": Operation(
                "GET", "/ListAvailableModels", "management", _IDE_RUNTIME, arn="social query"
            ),
            # Profiles are registered in us-east-1 for everybody: the EU host answers `[]`.
            "profiles": Operation(
                "POST", "/ListAvailableProfiles", "management", _IDE_RUNTIME, JSON,
                region="us-east-1",
            ),
        },
    ),
    "cli": Generation(
        api_host="https://runtime.{region}.kiro.dev",
        management_host="https://management.{region}.kiro.dev",
        client="app/AmazonQ-For-CLI",
        version="",
        origin="KIRO_CLI",
        accept="*/*",
        needs_arn=True,
        regions=_NEW_REGIONS,
        operations={
            "generate": _rpc(
                "api", _CLI_STREAM, f"{_STREAMING}.GenerateAssistantResponse",
                (*_OPT_OUT, *_ATTEMPT),
            ),
            "mcp": _rpc("api", _CLI_STREAM, f"{_STREAMING}.InvokeMCP", arn="header"),
            **_management(_CLI_RUNTIME, _SERVICE),
        },
    ),
    "kas": Generation(
        api_host="https://runtime.{region}.kiro.dev",
        management_host="https://management.{region}.kiro.dev",
        client="KiroIDE-{version}-{machine}-KAS/0.66.7",
        version="1.1.70",
        origin="AI_EDITOR",
        accept="",
        states_agent=True,
        needs_arn=True,
        regions=_NEW_REGIONS,
        operations={
            "generate": _rpc(
                "api", _KAS_STREAM, f"{_RUNTIME}.GenerateAssistantResponse", _KAS_GENERATE
            ),
            "mcp": _rpc("api", _KAS_STREAM, f"{_RUNTIME}.InvokeMCP", _OPT_OUT),
            **_management(_KAS_CONTROL, _CONTROL),
        },
    ),
}  # fmt: skip

# Which doors a kind of credential may use, the likeliest first; the one that it, or the
# configuration, names comes before them. API keys are at home with the newer hosts.
DOORS: Mapping[str, tuple[str, ...]] = {
    "social": ("ide", "kas", "cli"),
    "idc": ("ide", "kas", "cli"),
    "api_key": ("kas", "cli", "ide"),
}
