"""config.json, the environment and the flags, checked and frozen into one `Config`.

Rules of this file: `SETTINGS` is the only list of settings; the loader, the environment
names, the unknown-key suggestions, the admin API and the documentation's table all follow from
it. Every fault names file, line, key, reason and remedy.

Theory of operation. A `Config` never changes. A running gateway holds one `Settings`, whose
`current` is the Config of the moment: whoever serves a request takes `current` once, at its
beginning, and keeps it to the end. A Config is also a source of itself, so that a part can be
built on either. What a change needs beyond being read next time is a listener's work.

Order: flags override KIROPROXY_<UPPER_SNAKE>, which override the file, which overrides the
defaults here.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kiroproxy import values
from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import type_name
from kiroproxy.logs import LEVELS
from kiroproxy.reading import Reading, environment_name
from kiroproxy.values import WrongValue

__all__ = [
    "BY_KEY",
    "SETTINGS",
    "Config",
    "Setting",
    "Settings",
    "environment_name",
    "examine",
    "load",
]

SYSTEM_VERSIONS = ("darwin#24.6.0", "win32#10.0.22631")
LOAD_BALANCING = ("priority", "balanced")
MAX_CONCURRENCY = 10_000
MAX_CREDITS = 1_000_000
MAX_RPM = 255  # what one byte of the shared page counts; accounts are throttled far below it
TLS_BACKENDS = ("rustls", "native-tls")
AUTH_TYPES = ("x-api-key", "bearer")
ENDPOINTS = ("ide", "cli", "kas")
# Claude Code asks for this small model by itself; Kiro's newest one of the family is older.
MODEL_ALIASES = {"claude-haiku-5-5": "claude-haiku-4.5"}


@dataclass(frozen=True, slots=True)
class UpstreamUrls:
    """URL templates that replace Kiro's own hosts; `{region}` is filled in. Empty = built in."""

    api_url: str = ""
    management_url: str = ""
    social_auth_url: str = ""
    oidc_url: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """How long each phase of an answer may take. Units: seconds; see the settings' meanings."""

    connect_timeout_s: float = 10.0
    head_timeout_s: float = 0.0
    first_byte_timeout_s: float = 180.0
    idle_timeout_s: float = 300.0
    total_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator decided. Units: seconds for `*_s`, bytes for `*_bytes`."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    api_key: str = field(default="", repr=False)
    admin_api_key: str = field(default="", repr=False)
    region: str = "us-east-1"
    auth_region: str = ""
    api_region: str = ""
    kiro_version: str = "0.11.107"
    machine_id: str = ""
    system_version: str = ""
    node_version: str = "22.22.0"
    tls_backend: str = "rustls"
    count_tokens_api_url: str = ""
    count_tokens_api_key: str = field(default="", repr=False)
    count_tokens_auth_type: str = "x-api-key"
    proxy_url: str = ""
    proxy_username: str = ""
    proxy_password: str = field(default="", repr=False)
    load_balancing_mode: str = "priority"
    max_concurrency: int = 0
    rpm: int = 0
    min_remaining_credits: float = 0.0
    min_remaining_percent: float = 0.0
    balance_interval_s: float = 3600.0
    refresh_ahead: bool = True
    extract_thinking: bool = True
    default_endpoint: str = "ide"
    model_aliases: Mapping[str, str] = field(default_factory=lambda: dict(MODEL_ALIASES))
    model_overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_level: str = "info"
    # Kiro's first token may take 60-120 s on a large prompt with thinking.
    connect_timeout_s: float = 10.0
    head_timeout_s: float = 0.0  # 0 = none of its own: the head comes with the first content
    first_byte_timeout_s: float = 180.0
    idle_timeout_s: float = 300.0
    total_timeout_s: float = 0.0  # 0 = none: a long answer is not a fault
    timeouts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pool_idle_s: float = 30.0
    # Claude Code shows "waiting" after 20 s of silence.
    ping_interval_s: float = 10.0
    # Until then a refusal keeps its real HTTP status; after it the 200 and pings go out.
    early_start_s: float = 8.0
    drain_timeout_s: float = 600.0
    receive_timeout_s: float = 60.0
    max_body_bytes: int = 32 * 1024 * 1024  # Anthropic's own limit
    records_path: str = "kiroproxy.db"  # beside config.json; "" = nothing is recorded
    records_days: int = 30
    records_rows: int = 200_000  # about 100 MB
    allow_url_fetch: bool = False  # a client's URL makes this machine connect somewhere
    upstream: UpstreamUrls = field(default_factory=UpstreamUrls)
    path: Path = Path("config.json")
    credentials_path: Path = Path("credentials.json")
    # KIRO_API_KEY: a credential held in memory only, never written.
    kiro_api_key: str = field(default="", repr=False)
    # How it came about: what a later reading of the file needs, and what the admin page shows.
    flags: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    times: Times = field(init=False, repr=False, compare=False)  # for models not in `timeouts`

    def __post_init__(self) -> None:
        found = {name: getattr(self, name) for name in _TIMES.values()}
        object.__setattr__(self, "times", Times(**found))

    def times_for(self, model_id: str) -> Times:
        """Return the times that hold for a model, by Kiro's id; of several rows all, in order."""
        found = self.times
        for pattern, row in self.timeouts.items():
            if values.fits(model_id, pattern):
                found = replace(found, **{_TIMES[key]: value for key, value in row.items()})
        return found

    @property
    def current(self) -> "Config":
        """Be the source of a configuration that never changes."""
        return self

    @property
    def records_file(self) -> Path | None:
        """Where requests, usage and client keys are kept; None = nowhere."""
        return self.path.parent / self.records_path if self.records_path else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, whatever form the operator gave it."""
        keys = (self.api_key, self.admin_api_key, self.count_tokens_api_key, self.kiro_api_key)
        return (*keys, self.proxy_password)


class Source(Protocol):
    """Where the configuration of the moment is found: a `Settings`, or a Config for good."""

    @property
    def current(self) -> Config: ...


_TIMES = {
    "connectTimeout": "connect_timeout_s",
    "headTimeout": "head_timeout_s",
    "firstByteTimeout": "first_byte_timeout_s",
    "idleTimeout": "idle_timeout_s",
    "totalTimeout": "total_timeout_s",
}


class Setting(NamedTuple):
    """One key of config.json: how it is named and checked, what it means, when it takes effect.

    Shape: `live` = a running gateway takes a change over; else the next start does.
    """

    key: str
    field: str  # of Config
    parse: Callable[[Any], Any]
    meaning: str
    group: str  # routing, limits, timeouts, logging, models, network or server
    unit: str = ""
    live: bool = True
    secret: bool = False

    @property
    def kind(self) -> str:
        """Return what a value is: bool, int, float, string, enum or map."""
        kinds = {values.Whole: "int", values.Number: "float", values.OneOf: "enum"}
        return _KINDS.get(self.parse) or kinds.get(type(self.parse), "string")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return the least and the greatest value, both allowed; None: not a number."""
        if isinstance(self.parse, (values.Whole, values.Number)):
            return self.parse.low, self.parse.high
        return None

    @property
    def choices(self) -> tuple[str, ...]:
        return self.parse.choices if isinstance(self.parse, values.OneOf) else ()

    @property
    def default(self) -> Any:
        return self.value(Config())

    def value(self, config: Config) -> Any:
        """Return the value as config.json would write it, rows of a map as text; with secrets."""
        found = getattr(config, self.field)
        if isinstance(found, UpstreamUrls):
            urls = {key: getattr(found, name) for key, name in _URL_KEYS.items()}
            return {key: url for key, url in urls.items() if url}
        if isinstance(found, Mapping):
            return {k: json.dumps(v) if isinstance(v, Mapping) else v for k, v in found.items()}
        return found


_URL_KEYS = {
    "apiUrl": "api_url",
    "managementUrl": "management_url",
    "socialAuthUrl": "social_auth_url",
    "oidcUrl": "oidc_url",
}


def _upstream(value: Any) -> UpstreamUrls:
    if not isinstance(value, dict):
        raise WrongValue(f"is {type_name(value)}, not an object", "Write { ... }")
    urls: dict[str, str] = {}
    faults: list[WrongValue] = []
    for key, template in value.items():
        try:
            if key not in _URL_KEYS:
                raise WrongValue("is not known", "Write one of " + ", ".join(_URL_KEYS))
            urls[_URL_KEYS[key]] = values.url_template(template)
        except WrongValue as fault:
            faults.append(WrongValue(fault.reason, fault.remedy, key=key))
    if faults:
        first, *others = faults
        raise WrongValue(first.reason, first.remedy, key=first.key, others=tuple(others))
    return UpstreamUrls(**urls)


def _aliases(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise WrongValue("is not an object of strings", 'Write {"asked-for": "kiro-model-id"}')
    return dict(value)


_TIME_RANGES: dict[str, Callable[[Any], Any]] = {
    "connectTimeout": values.seconds(0.1, 300),
    "headTimeout": values.seconds(0, 3600),
    "firstByteTimeout": values.seconds(0.1, 3600),
    "idleTimeout": values.seconds(0.1, 3600),
    "totalTimeout": values.seconds(0, 86400),
}
_timeouts = values.by_model(_TIME_RANGES)
_overrides = values.by_model(
    {
        "contextWindow": values.whole(1000, 100_000_000),
        "maxOutputTokens": values.whole(1, 10_000_000),
        "displayName": values.text,
        "hidden": values.flag,
    }
)

_KINDS: Mapping[Callable[[Any], Any], str] = {
    values.flag: "bool",
    _upstream: "map",
    _aliases: "map",
    _timeouts: "map",
    _overrides: "map",
}

SETTINGS: tuple[Setting, ...] = (
    Setting("host", "host", values.host, "address to listen on", "server", live=False),
    Setting(
        "port",
        "port",
        values.whole(0, 65535),
        "port to listen on; 0 picks a free one",
        "server",
        live=False,
    ),
    Setting("workers", "workers", values.whole(1, 256), "worker processes", "server", live=False),
    Setting(
        "apiKey",
        "api_key",
        values.printable,
        "the key clients present; required",
        "server",
        secret=True,
    ),
    Setting(
        "adminApiKey",
        "admin_api_key",
        values.printable,
        "key of the admin API and the web page; empty: both are off",
        "server",
        live=False,
        secret=True,
    ),
    Setting("region", "region", values.region, "AWS region", "network"),
    Setting(
        "authRegion",
        "auth_region",
        values.region,
        "region for token refresh; default: region",
        "network",
    ),
    Setting(
        "apiRegion", "api_region", values.region, "region for API calls; default: region", "network"
    ),
    Setting(
        "kiroVersion",
        "kiro_version",
        values.printable,
        "Kiro IDE version in the request identity",
        "network",
    ),
    Setting(
        "machineId",
        "machine_id",
        values.machine_id,
        "64 hex digits or a UUID; default: derived",
        "network",
    ),
    Setting(
        "systemVersion", "system_version", values.printable, "OS in the request identity", "network"
    ),
    Setting(
        "nodeVersion",
        "node_version",
        values.printable,
        "Node version in the request identity",
        "network",
    ),
    Setting(
        "tlsBackend",
        "tls_backend",
        values.one_of(*TLS_BACKENDS),
        "which roots are trusted",
        "network",
        live=False,
    ),
    Setting(
        "countTokensApiUrl",
        "count_tokens_api_url",
        values.plain_url,
        "external token counter",
        "models",
    ),
    Setting(
        "countTokensApiKey",
        "count_tokens_api_key",
        values.printable,
        "its key",
        "models",
        secret=True,
    ),
    Setting(
        "countTokensAuthType",
        "count_tokens_auth_type",
        values.one_of(*AUTH_TYPES),
        "how its key is sent: x-api-key or bearer",
        "models",
    ),
    Setting(
        "proxyUrl",
        "proxy_url",
        values.proxy_url,
        "http, https, socks5 or socks5h proxy for all output",
        "network",
    ),
    Setting("proxyUsername", "proxy_username", values.text, "proxy user", "network"),
    Setting(
        "proxyPassword", "proxy_password", values.text, "proxy password", "network", secret=True
    ),
    Setting(
        "loadBalancingMode",
        "load_balancing_mode",
        values.one_of(*LOAD_BALANCING),
        "priority (lowest number first) or balanced",
        "routing",
    ),
    Setting(
        "maxConcurrency",
        "max_concurrency",
        values.whole(0, MAX_CONCURRENCY),
        "requests in flight a credential, where it names no limit of its own; 0: no limit",
        "limits",
    ),
    Setting(
        "rpm",
        "rpm",
        values.whole(0, MAX_RPM),
        "requests in any 60 s a credential, where it names no limit of its own; 0: no limit",
        "limits",
    ),
    Setting(
        "minRemainingCredits",
        "min_remaining_credits",
        values.number(0, MAX_CREDITS),
        "credits to keep of each plan: with fewer left a credential rests until its reset date",
        "limits",
        unit="credits",
    ),
    Setting(
        "minRemainingPercent",
        "min_remaining_percent",
        values.number(0, 100),
        "the same as a share of the plan",
        "limits",
        unit="%",
    ),
    Setting(
        "balanceInterval",
        "balance_interval_s",
        values.seconds(0, 86400),
        "s between two looks at what is left of each plan; 0: only after a refusal",
        "timeouts",
        unit="s",
    ),
    Setting(
        "refreshAhead",
        "refresh_ahead",
        values.flag,
        "renew tokens of idle credentials before they expire",
        "routing",
    ),
    Setting(
        "extractThinking",
        "extract_thinking",
        values.flag,
        "non-stream answers: <thinking> text becomes a thinking block",
        "models",
    ),
    Setting(
        "defaultEndpoint",
        "default_endpoint",
        values.one_of(*ENDPOINTS),
        "where a credential that names no endpoint begins",
        "network",
    ),
    Setting(
        "modelAliases",
        "model_aliases",
        _aliases,
        "names Kiro does not offer → Kiro's ids; replaces the default",
        "models",
    ),
    Setting(
        "modelOverrides",
        "model_overrides",
        _overrides,
        "model id, with * → contextWindow, maxOutputTokens, displayName, hidden: instead of what"
        " Kiro lists",
        "models",
    ),
    Setting(
        "logLevel", "log_level", values.one_of(*LEVELS), "debug, info, warning or error", "logging"
    ),
    Setting(
        "connectTimeout",
        "connect_timeout_s",
        _TIME_RANGES["connectTimeout"],
        "s to reach Kiro",
        "timeouts",
        unit="s",
    ),
    Setting(
        "headTimeout",
        "head_timeout_s",
        _TIME_RANGES["headTimeout"],
        "s from the sent request to the answer's head; 0: no limit of its own",
        "timeouts",
        unit="s",
    ),
    Setting(
        "firstByteTimeout",
        "first_byte_timeout_s",
        _TIME_RANGES["firstByteTimeout"],
        "s from the sent request to the answer's first content",
        "timeouts",
        unit="s",
    ),
    Setting(
        "idleTimeout",
        "idle_timeout_s",
        _TIME_RANGES["idleTimeout"],
        "s of silence within an answer",
        "timeouts",
        unit="s",
    ),
    Setting(
        "totalTimeout",
        "total_timeout_s",
        _TIME_RANGES["totalTimeout"],
        "s for a whole answer; 0: none",
        "timeouts",
        unit="s",
    ),
    Setting(
        "timeouts",
        "timeouts",
        _timeouts,
        "model id, with * → any of the five limits above, for that model",
        "timeouts",
    ),
    Setting(
        "poolIdleTimeout",
        "pool_idle_s",
        values.seconds(0, 3600),
        "s a spare connection is kept",
        "timeouts",
        unit="s",
    ),
    Setting(
        "pingInterval",
        "ping_interval_s",
        values.seconds(0.1, 300),
        "s of quiet before a ping",
        "timeouts",
        unit="s",
    ),
    Setting(
        "earlyStart",
        "early_start_s",
        values.seconds(0, 300),
        "s without an answer after which a stream starts with pings",
        "timeouts",
        unit="s",
    ),
    Setting(
        "drainTimeout",
        "drain_timeout_s",
        values.seconds(0, 86400),
        "s running streams get at stop",
        "timeouts",
        unit="s",
        live=False,
    ),
    Setting(
        "receiveTimeout",
        "receive_timeout_s",
        values.seconds(0.1, 3600),
        "s a request may take to arrive",
        "timeouts",
        unit="s",
        live=False,
    ),
    Setting(
        "maxBodyBytes",
        "max_body_bytes",
        values.whole(1024, 2**31),
        "largest request body",
        "limits",
        unit="bytes",
    ),
    Setting(
        "recordsPath",
        "records_path",
        values.text,
        "SQLite file of request log, usage and client keys, beside config.json; empty: none",
        "logging",
        live=False,
    ),
    Setting(
        "recordsDays",
        "records_days",
        values.whole(1, 3650),
        "days requests stay in the log",
        "logging",
        "d",
        live=False,
    ),
    Setting(
        "recordsRows",
        "records_rows",
        values.whole(1000, 10**8),
        "requests in the log at most",
        "logging",
        live=False,
    ),
    Setting(
        "allowUrlFetch",
        "allow_url_fetch",
        values.flag,
        "fetch images and documents that clients name by https URL; public hosts only, no proxy",
        "network",
    ),
    Setting(
        "upstream", "upstream", _upstream, "URL templates that replace Kiro's hosts", "network"
    ),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked configuration and what deserves a warning but not a refusal."""

    config: Config
    warnings: tuple[str, ...] = ()
    faults: tuple[ConfigError, ...] = ()


def load(
    path: Path,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
    *,
    required: bool = True,
) -> Config:
    """Read, override, check.

    Raises: ConfigError — the first fault; `examine` gives all of them.
    """
    loaded = examine(path, environ, flags or {}, required=required)
    if loaded.faults:
        raise loaded.faults[0]
    return loaded.config


def examine(
    path: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    required: bool = True,
    text: str | None = None,
) -> Loaded:
    """Read everything and report every fault and warning found, not only the first.

    Shape: flags are keyed by Config field name; None means "not given". `text` is what the file
    is to hold; without it the file is read.
    """
    reading = Reading(path, SETTINGS)
    if text is None:
        reading.take_file(required)
    else:
        reading.take_text(text)
    reading.take_environment(environ)
    given = {name: value for name, value in flags.items() if value is not None}
    sources = reading.sources | {each.key: "flag" for each in SETTINGS if each.field in given}
    key = environ.get("KIRO_API_KEY", "").strip()
    chosen = {"kiro_api_key": key, "flags": given, "sources": sources} | reading.chosen | given
    config = _completed(Config(path=path, **chosen))
    _look_over(reading, config)
    return Loaded(config, tuple(reading.warnings), tuple(reading.faults))


def _look_over(reading: Reading, config: Config) -> None:
    """Find what no single value shows."""
    told = any(fault.key in ("apiKey", "KIROPROXY_API_KEY") for fault in reading.faults)
    if not config.api_key and reading.is_readable and not told:
        reading.faults.append(
            ConfigError(
                "is missing or empty",
                file=str(reading.path),
                key="apiKey",
                remedy='Add "apiKey": "a long random string"; clients present it as x-api-key',
            )
        )
    for is_so, words in (
        ("REPLACE-THIS" in config.api_key, "apiKey: is the example's, which everybody knows."
         " Make your own: openssl rand -hex 24"),
        (bool(config.proxy_username or config.proxy_password) and not config.proxy_url,
         "proxyUsername, proxyPassword: have no effect without proxyUrl"),
        (bool(config.proxy_url and config.proxy_password) and not config.proxy_username,
         "proxyPassword: has no effect without proxyUsername"),
        (bool(config.count_tokens_api_key) and not config.count_tokens_api_url,
         "countTokensApiKey: has no effect without countTokensApiUrl"),
    ):  # fmt: skip
        if is_so:
            reading.warnings.append(f"{reading.path}: {words}")


def _completed(config: Config) -> Config:
    """Fill in what is stable for an installation rather than constant in the code."""
    if config.system_version:
        return config
    seed = f"{platform.node()}\0{config.credentials_path.resolve()}".encode()
    pick = hashlib.sha256(seed).digest()[0] % len(SYSTEM_VERSIONS)
    return replace(config, system_version=SYSTEM_VERSIONS[pick])


class Settings:
    """The configuration of a running gateway, which may become another one.

    Order: a listener is called after every change, with the configuration before it.
    """

    def __init__(self, config: Config) -> None:
        self.current = config
        self._listeners: list[Callable[[Config], None]] = []

    def on_change(self, listener: Callable[[Config], None]) -> None:
        self._listeners.append(listener)

    def take_over(self, config: Config) -> tuple[list[str], list[str]]:
        """Make another configuration the current one, as far as that goes without a restart.

        Shape: returns the keys that have another value now, and those that wait for a restart.
        """
        before = self.current
        differing = [each for each in SETTINGS if each.value(config) != each.value(before)]
        live = [each.key for each in differing if each.live]
        waiting = [each for each in differing if not each.live]
        kept = {each.field: getattr(before, each.field) for each in waiting}
        self.current = replace(config, **kept)
        for listener in self._listeners if live else ():
            listener(before)
        return live, [each.key for each in waiting]
