"""The settings: how each is named and checked in config.json, what it means, when it counts.

Rules of this file: `SETTINGS` is the only list of settings; the loader, the environment names,
the unknown-key suggestions, the admin API and the documentation's table all follow from it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kiroproxy import values
from kiroproxy.config import (
    ENDPOINTS,
    LOAD_BALANCING,
    MAX_CONCURRENCY,
    MAX_CREDITS,
    MAX_RPM,
    Config,
    UpstreamUrls,
)
from kiroproxy.jsonc import type_name
from kiroproxy.logs import LEVELS
from kiroproxy.values import WrongValue

TLS_BACKENDS = ("rustls", "native-tls")
AUTH_TYPES = ("x-api-key", "bearer")


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
