"""config.json, the environment and the flags, checked and frozen into one `Config`.

Rules of this file: `SETTINGS` is the only list of settings; the loader, the environment
names, the unknown-key suggestions and the documentation's table all follow from it. Every
fault names file, line, key, reason and remedy.

Order: flags override KIROPROXY_<UPPER_SNAKE>, which override the file, which overrides the
defaults here.
"""

import difflib
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kiroproxy import values
from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import line_of, parse_object, repeated_keys, type_name
from kiroproxy.logs import LEVELS
from kiroproxy.values import WrongValue

SYSTEM_VERSIONS = ("darwin#24.6.0", "win32#10.0.22631")
LOAD_BALANCING = ("priority", "balanced")
MAX_CONCURRENCY = 10_000
MAX_RPM = 255  # what one byte of the shared page counts; accounts are throttled far below it
TLS_BACKENDS = ("rustls", "native-tls")
AUTH_TYPES = ("x-api-key", "bearer")
ENDPOINTS = ("ide",)
_ENV = "environment"  # where a fault stands that is in no file
# Read by the build and by compose.yaml.
_NOT_SETTINGS = frozenset({"KIROPROXY_DEBUG", "KIROPROXY_UID", "KIROPROXY_GID"})
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
    extract_thinking: bool = True
    default_endpoint: str = "ide"
    model_aliases: Mapping[str, str] = field(default_factory=lambda: dict(MODEL_ALIASES))
    log_level: str = "info"
    # Kiro's first token may take 60-120 s on a large prompt with thinking.
    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 180.0
    idle_timeout_s: float = 300.0
    total_timeout_s: float = 0.0  # 0 = none: a long answer is not a fault
    pool_idle_s: float = 30.0
    # Claude Code shows "waiting" after 20 s of silence.
    ping_interval_s: float = 10.0
    # Until then a refusal keeps its real HTTP status; after it the 200 and pings go out.
    early_start_s: float = 8.0
    drain_timeout_s: float = 600.0
    receive_timeout_s: float = 60.0
    max_body_bytes: int = 32 * 1024 * 1024  # Anthropic's own limit
    allow_url_fetch: bool = False  # a client's URL makes this machine connect somewhere
    upstream: UpstreamUrls = field(default_factory=UpstreamUrls)
    path: Path = Path("config.json")
    credentials_path: Path = Path("credentials.json")
    # KIRO_API_KEY: a credential held in memory only, never written.
    kiro_api_key: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, whatever form the operator gave it."""
        keys = (self.api_key, self.admin_api_key, self.count_tokens_api_key, self.kiro_api_key)
        return (*keys, self.proxy_password)


class Setting(NamedTuple):
    """One key of config.json: its name there, its field here, how it is checked, what it means."""

    key: str
    field: str
    parse: Callable[[Any], Any]
    meaning: str


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


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "host", values.host, "address to listen on"),
    Setting("port", "port", values.whole(0, 65535), "port to listen on; 0 picks a free one"),
    Setting("workers", "workers", values.whole(1, 256), "worker processes"),
    Setting("apiKey", "api_key", values.printable, "the key clients present; required"),
    Setting(
        "adminApiKey",
        "admin_api_key",
        values.printable,
        "key of the admin API, which this version does not have yet",
    ),
    Setting("region", "region", values.region, "AWS region"),
    Setting(
        "authRegion", "auth_region", values.region, "region for token refresh; default: region"
    ),
    Setting("apiRegion", "api_region", values.region, "region for API calls; default: region"),
    Setting(
        "kiroVersion", "kiro_version", values.printable, "Kiro IDE version in the request identity"
    ),
    Setting(
        "machineId", "machine_id", values.machine_id, "64 hex digits or a UUID; default: derived"
    ),
    Setting("systemVersion", "system_version", values.printable, "OS in the request identity"),
    Setting(
        "nodeVersion", "node_version", values.printable, "Node version in the request identity"
    ),
    Setting("tlsBackend", "tls_backend", values.one_of(*TLS_BACKENDS), "which roots are trusted"),
    Setting(
        "countTokensApiUrl", "count_tokens_api_url", values.plain_url, "external token counter"
    ),
    Setting("countTokensApiKey", "count_tokens_api_key", values.printable, "its key"),
    Setting(
        "countTokensAuthType",
        "count_tokens_auth_type",
        values.one_of(*AUTH_TYPES),
        "how its key is sent: x-api-key or bearer",
    ),
    Setting(
        "proxyUrl",
        "proxy_url",
        values.proxy_url,
        "http, https, socks5 or socks5h proxy for all output",
    ),
    Setting("proxyUsername", "proxy_username", values.text, "proxy user"),
    Setting("proxyPassword", "proxy_password", values.text, "proxy password"),
    Setting(
        "loadBalancingMode",
        "load_balancing_mode",
        values.one_of(*LOAD_BALANCING),
        "priority (lowest number first) or balanced",
    ),
    Setting(
        "maxConcurrency",
        "max_concurrency",
        values.whole(0, MAX_CONCURRENCY),
        "requests in flight a credential, where it names no limit of its own; 0: no limit",
    ),
    Setting(
        "rpm",
        "rpm",
        values.whole(0, MAX_RPM),
        "requests in any 60 s a credential, where it names no limit of its own; 0: no limit",
    ),
    Setting(
        "extractThinking",
        "extract_thinking",
        values.flag,
        "non-stream answers: <thinking> text becomes a thinking block",
    ),
    Setting(
        "defaultEndpoint", "default_endpoint", values.one_of(*ENDPOINTS), "endpoint generation"
    ),
    Setting(
        "modelAliases",
        "model_aliases",
        _aliases,
        "names Kiro does not offer → Kiro's ids; replaces the default",
    ),
    Setting("logLevel", "log_level", values.one_of(*LEVELS), "debug, info, warning or error"),
    Setting("connectTimeout", "connect_timeout_s", values.seconds(0.1, 300), "s to reach Kiro"),
    Setting(
        "firstByteTimeout",
        "first_byte_timeout_s",
        values.seconds(0.1, 3600),
        "s from the sent request to the answer's first content",
    ),
    Setting(
        "idleTimeout", "idle_timeout_s", values.seconds(0.1, 3600), "s of silence within an answer"
    ),
    Setting(
        "totalTimeout", "total_timeout_s", values.seconds(0, 86400), "s for a whole answer; 0: none"
    ),
    Setting(
        "poolIdleTimeout", "pool_idle_s", values.seconds(0, 3600), "s a spare connection is kept"
    ),
    Setting(
        "pingInterval", "ping_interval_s", values.seconds(0.1, 300), "s of quiet before a ping"
    ),
    Setting(
        "earlyStart",
        "early_start_s",
        values.seconds(0, 300),
        "s without an answer after which a stream starts with pings",
    ),
    Setting(
        "drainTimeout", "drain_timeout_s", values.seconds(0, 86400), "s running streams get at stop"
    ),
    Setting(
        "receiveTimeout",
        "receive_timeout_s",
        values.seconds(0.1, 3600),
        "s a request may take to arrive",
    ),
    Setting("maxBodyBytes", "max_body_bytes", values.whole(1024, 2**31), "largest request body"),
    Setting(
        "allowUrlFetch",
        "allow_url_fetch",
        values.flag,
        "fetch images and documents that clients name by https URL; public hosts only, no proxy",
    ),
    Setting("upstream", "upstream", _upstream, "URL templates that replace Kiro's hosts"),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked configuration and what deserves a warning but not a refusal."""

    config: Config
    warnings: tuple[str, ...] = ()
    faults: tuple[ConfigError, ...] = ()


def environment_name(key: str) -> str:
    """Return the variable that overrides a key: apiKey → KIROPROXY_API_KEY."""
    return "KIROPROXY_" + re.sub(r"(?<!^)(?=[A-Z])", "_", key).upper()


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
    path: Path, environ: Mapping[str, str], flags: Mapping[str, Any], *, required: bool = True
) -> Loaded:
    """Read everything and report every fault and warning found, not only the first.

    Shape: flags are keyed by Config field name; None means "not given".
    """
    reading = _Reading(path)
    reading.take_file(required)
    reading.take_environment(environ)
    given = {name: value for name, value in flags.items() if value is not None}
    chosen = {name: value for name, value in reading.chosen.items() if name != "path"} | given
    config = _completed(Config(path=path, **chosen))
    reading.look_over(config)
    return Loaded(config, tuple(reading.warnings), tuple(reading.faults))


class _Reading:
    """What was chosen, by field, and everything that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chosen: dict[str, Any] = {}
        self.faults: list[ConfigError] = []
        self.warnings: list[str] = []
        self._is_readable = True

    def take_file(self, required: bool) -> None:
        file = str(self.path)
        try:
            text = _read(self.path, required)
            raw = parse_object(text, file)
        except ConfigError as fault:
            self.faults.append(fault)
            self._is_readable = False
            return
        for line, key in repeated_keys(text):
            self.warnings.append(f'{file}:{line}: "{key}" stands here again; the last one counts')
        for key, value in raw.items():
            if key not in _BY_KEY:
                self.warnings.append(_unknown(key, self.path, line_of(text, key)))
            elif value is not None:  # null means "as if it were not there"
                self._take(_BY_KEY[key], value, file, text, key)

    def take_environment(self, environ: Mapping[str, str]) -> None:
        names = {environment_name(setting.key): setting for setting in SETTINGS}
        names["KIROPROXY_LOG"] = _BY_KEY["logLevel"]
        for name, setting in names.items():
            value: Any = environ.get(name)
            if value is None or (name == "KIROPROXY_LOG" and not value):
                continue
            if setting.key in ("upstream", "modelAliases"):
                try:
                    value = json.loads(value)
                except json.JSONDecodeError as fault:
                    reason, remedy = f"is not JSON ({fault})", 'Write one like {"key": "value"}'
                    self.faults.append(ConfigError(reason, file=_ENV, key=name, remedy=remedy))
                    continue
            self._take(setting, value, _ENV, "", name)
        for name in environ:
            if name.startswith("KIROPROXY_") and name not in names and name not in _NOT_SETTINGS:
                self.warnings.append(f"{_ENV}: {name} is ignored{_nearest(name, names)}")
        if environ.get("KIRO_API_KEY"):
            self.chosen["kiro_api_key"] = environ["KIRO_API_KEY"].strip()

    def _take(self, setting: Setting, value: Any, file: str, text: str, key: str) -> None:
        try:
            self.chosen[setting.field] = setting.parse(value)
        except WrongValue as fault:
            for each in (fault, *fault.others):
                keys = (key, each.key) if each.key else (key,)
                self.faults.append(
                    ConfigError(
                        each.reason,
                        file=file,
                        line=line_of(text, *keys),
                        key=".".join(keys),
                        remedy=each.remedy,
                    )
                )

    def look_over(self, config: Config) -> None:
        """Find what no single value shows."""
        told = any(fault.key in ("apiKey", "KIROPROXY_API_KEY") for fault in self.faults)
        if not config.api_key and self._is_readable and not told:
            self.faults.append(
                ConfigError(
                    "is missing or empty",
                    file=str(self.path),
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
                self.warnings.append(f"{self.path}: {words}")


def _completed(config: Config) -> Config:
    """Fill in what is stable for an installation rather than constant in the code."""
    if config.system_version:
        return config
    seed = f"{platform.node()}\0{config.credentials_path.resolve()}".encode()
    pick = hashlib.sha256(seed).digest()[0] % len(SYSTEM_VERSIONS)
    return replace(config, system_version=SYSTEM_VERSIONS[pick])


def _read(path: Path, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return "{}"
        raise ConfigError(
            "does not exist",
            file=str(path),
            remedy="Copy config.example.json and set apiKey, or name another file with --config",
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(
            f"is not UTF-8 at byte {fault.start}", file=str(path), remedy="Save it as UTF-8"
        ) from fault
    except OSError as fault:
        raise ConfigError(
            f"cannot be read ({fault.strerror})",
            file=str(path),
            remedy="It has to be a file that the user of the gateway may read",
        ) from fault


def _unknown(key: str, path: Path, line: int) -> str:
    return f'{path}:{line}: unknown key "{key}" is ignored{_nearest(key, _BY_KEY)}'


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
