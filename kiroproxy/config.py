"""config.json, the environment and the flags, checked and frozen into one `Config`.

Rules of this file: `SETTINGS` is the only list of settings; the loader, the environment
names, the unknown-key suggestions and the documentation's table all follow from it. Every
fault names file, line, key, reason and remedy.

Order: flags override KIROPROXY_<UPPER_SNAKE>, which override the file, which overrides the
defaults here.
"""

import contextlib
import difflib
import hashlib
import ipaddress
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kiroproxy.errors import ConfigError
from kiroproxy.logs import LEVELS

SYSTEM_VERSIONS = ("darwin#24.6.0", "win32#10.0.22631")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
LOAD_BALANCING = ("priority", "balanced")
TLS_BACKENDS = ("rustls", "native-tls")
AUTH_TYPES = ("x-api-key", "bearer")
ENDPOINTS = ("ide",)
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


class _WrongValue(ValueError):
    """Why a value was refused, and what to write instead."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongValue(f"is {_json_type(value)}, not a string", 'Put it in "quotes"')
    return value.strip()


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "1", "yes", "on"):
        return True
    if value in ("false", "0", "no", "off"):
        return False
    raise _WrongValue(f"is {_json_type(value)}, not true or false", "Write true or false")


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _WrongValue(
                f"is {_json_type(value)}, not a whole number", f"Write {low} to {high}"
            )
        if not low <= value <= high:
            raise _WrongValue(f"is {value}", f"Write a whole number from {low} to {high}")
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _WrongValue(f"is {_json_type(value)}, not a number of seconds", "Write a number")
        if not low <= value <= high:
            raise _WrongValue(f"is {value:g}", f"Write a number from {low:g} to {high:g}")
        return float(value)

    return parse


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = _text(value)
        if text not in allowed:
            near = difflib.get_close_matches(text, allowed, 1)
            hint = f'Did you mean "{near[0]}"' if near else "Write one of " + ", ".join(allowed)
            raise _WrongValue(f'is "{text}", which is not known', hint)
        return text

    return parse


def _region(value: Any) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", text):
        raise _WrongValue(f'is "{text}", not an AWS region', 'Write one like "us-east-1"')
    return text


def _proxy(value: Any) -> str:
    text = _text(value)
    if text and text != "direct":
        check_proxy_url(text)
    return text


def check_proxy_url(url: str) -> None:
    """Accept http, https, socks5 and socks5h URLs with a host. Raises: ValueError."""
    parts = urlsplit(url)
    try:
        good = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number
        good = False
    if not good:
        raise _WrongValue(
            "is not a proxy URL", "Write http://, https://, socks5:// or socks5h://host:port"
        )


def _machine_id(value: Any) -> str:
    text = _text(value)
    return normal_machine_id(text) if text else ""


def normal_machine_id(text: str) -> str:
    """Return 64 hex digits; a UUID loses its dashes and is doubled. Raises: ValueError."""
    plain = text.strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return plain
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", plain):
        return plain.replace("-", "") * 2
    raise _WrongValue(
        "is neither 64 hex digits nor a UUID", "Leave it out to have it derived from the token"
    )


def _url_template(value: Any) -> str:
    text = _text(value).rstrip("/")
    if not text:
        return ""
    parts = urlsplit(text.replace("{region}", "us-east-1"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _WrongValue(f'is "{text}", not a URL', 'Write one like "https://host.example"')
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise _WrongValue(
            "uses plain http to another machine, which would send tokens in clear",
            "Use https; plain http is for loopback addresses only",
        )
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_url(value: Any) -> str:
    text = _text(value)
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise _WrongValue(f'is "{text}", not a URL', 'Write one like "https://host.example/path"')
    return text


_URL_KEYS = {
    "apiUrl": "api_url",
    "managementUrl": "management_url",
    "socialAuthUrl": "social_auth_url",
    "oidcUrl": "oidc_url",
}


def _upstream(value: Any) -> UpstreamUrls:
    if not isinstance(value, dict):
        raise _WrongValue(f"is {_json_type(value)}, not an object", "Write { ... }")
    unknown = [key for key in value if key not in _URL_KEYS]
    if unknown:
        raise _WrongValue(f'holds the unknown key "{unknown[0]}"', "Known: " + ", ".join(_URL_KEYS))
    try:
        return UpstreamUrls(**{_URL_KEYS[k]: _url_template(v) for k, v in value.items()})
    except _WrongValue as fault:
        raise _WrongValue(f"one of its URLs {fault.reason}", fault.remedy) from fault


def _aliases(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise _WrongValue("is not an object of strings", 'Write {"asked-for": "kiro-model-id"}')
    return dict(value)


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "host", _text, "address to listen on"),
    Setting("port", "port", _whole(0, 65535), "port to listen on; 0 picks a free one"),
    Setting("workers", "workers", _whole(1, 256), "worker processes"),
    Setting("apiKey", "api_key", _text, "the key clients present; required"),
    Setting(
        "adminApiKey",
        "admin_api_key",
        _text,
        "key of the admin API, which this version does not have yet",
    ),
    Setting("region", "region", _region, "AWS region"),
    Setting("authRegion", "auth_region", _region, "region for token refresh; default: region"),
    Setting("apiRegion", "api_region", _region, "region for API calls; default: region"),
    Setting("kiroVersion", "kiro_version", _text, "Kiro IDE version in the request identity"),
    Setting("machineId", "machine_id", _machine_id, "64 hex digits or a UUID; default: derived"),
    Setting("systemVersion", "system_version", _text, "OS in the request identity"),
    Setting("nodeVersion", "node_version", _text, "Node version in the request identity"),
    Setting("tlsBackend", "tls_backend", _one_of(*TLS_BACKENDS), "which roots are trusted"),
    Setting("countTokensApiUrl", "count_tokens_api_url", _plain_url, "external token counter"),
    Setting("countTokensApiKey", "count_tokens_api_key", _text, "its key"),
    Setting(
        "countTokensAuthType",
        "count_tokens_auth_type",
        _one_of(*AUTH_TYPES),
        "how its key is sent: x-api-key or bearer",
    ),
    Setting("proxyUrl", "proxy_url", _proxy, "http, https, socks5 or socks5h proxy for all output"),
    Setting("proxyUsername", "proxy_username", _text, "proxy user"),
    Setting("proxyPassword", "proxy_password", _text, "proxy password"),
    Setting(
        "loadBalancingMode",
        "load_balancing_mode",
        _one_of(*LOAD_BALANCING),
        "priority (lowest number first) or balanced",
    ),
    Setting(
        "extractThinking",
        "extract_thinking",
        _flag,
        "non-stream answers: <thinking> text becomes a thinking block",
    ),
    Setting("defaultEndpoint", "default_endpoint", _one_of(*ENDPOINTS), "endpoint generation"),
    Setting(
        "modelAliases",
        "model_aliases",
        _aliases,
        "names Kiro does not offer → Kiro's ids; replaces the default",
    ),
    Setting("logLevel", "log_level", _one_of(*LEVELS), "debug, info, warning or error"),
    Setting("connectTimeout", "connect_timeout_s", _seconds(0.1, 300), "s to reach Kiro"),
    Setting(
        "firstByteTimeout",
        "first_byte_timeout_s",
        _seconds(0.1, 3600),
        "s from the sent request to the answer's first content",
    ),
    Setting("idleTimeout", "idle_timeout_s", _seconds(0.1, 3600), "s of silence within an answer"),
    Setting("totalTimeout", "total_timeout_s", _seconds(0, 86400), "s for a whole answer; 0: none"),
    Setting("poolIdleTimeout", "pool_idle_s", _seconds(0, 3600), "s a spare connection is kept"),
    Setting("pingInterval", "ping_interval_s", _seconds(0.1, 300), "s of quiet before a ping"),
    Setting(
        "earlyStart",
        "early_start_s",
        _seconds(0, 300),
        "s without an answer after which a stream starts with pings",
    ),
    Setting("drainTimeout", "drain_timeout_s", _seconds(0, 86400), "s running streams get at stop"),
    Setting(
        "receiveTimeout", "receive_timeout_s", _seconds(0.1, 3600), "s a request may take to arrive"
    ),
    Setting("maxBodyBytes", "max_body_bytes", _whole(1024, 2**31), "largest request body"),
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
    faults: list[ConfigError] = []
    warnings: list[str] = []
    values: dict[str, Any] = {}
    try:
        text = _read(path, required)
        raw = parse_json(text, str(path))
    except ConfigError as fault:
        return Loaded(Config(path=path), faults=(fault,))
    for key, value in raw.items():
        setting = _BY_KEY.get(key)
        if setting is None:
            warnings.append(_unknown(key, path, line_of(text, key)))
            continue
        if value is None:  # null means "as if it were not there"
            continue
        try:
            values[setting.field] = setting.parse(value)
        except _WrongValue as fault:
            faults.append(_fault(fault, str(path), line_of(text, key), key))
    for setting in SETTINGS:
        name = environment_name(setting.key)
        if name not in environ:
            continue
        try:
            values[setting.field] = setting.parse(_from_environment(setting, environ[name]))
        except (_WrongValue, json.JSONDecodeError) as fault:
            faults.append(_fault(fault, "environment", 0, name))
    if environ.get("KIROPROXY_LOG"):
        try:
            values["log_level"] = _one_of(*LEVELS)(environ["KIROPROXY_LOG"])
        except _WrongValue as fault:
            faults.append(_fault(fault, "environment", 0, "KIROPROXY_LOG"))
    values.update({name: value for name, value in flags.items() if value is not None})
    if environ.get("KIRO_API_KEY"):
        values["kiro_api_key"] = environ["KIRO_API_KEY"].strip()
    config = _completed(Config(path=path, **{k: v for k, v in values.items() if k != "path"}))
    if not config.api_key:
        faults.append(
            ConfigError(
                "is missing or empty",
                file=str(path),
                key="apiKey",
                remedy='Add "apiKey": "a long random string"; clients present it as x-api-key',
            )
        )
    return Loaded(config, tuple(warnings), tuple(faults))


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
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"cannot be read ({fault})", file=str(path)) from fault


def parse_json(text: str, file: str) -> dict[str, Any]:
    """Parse one JSON object in which `//` comments are allowed. Raises: ConfigError."""
    value = parse_json_value(text, file)
    if not isinstance(value, dict):
        raise ConfigError(
            f"holds {_json_type(value)}, not an object", file=file, line=1, remedy="Write { ... }"
        )
    return value


def parse_json_value(text: str, file: str) -> Any:
    """Parse any JSON value in which `//` comments are allowed. Raises: ConfigError."""
    try:
        return json.loads(without_comments(text))
    except json.JSONDecodeError as fault:
        raise ConfigError(
            f"is not JSON: {fault.msg} at column {fault.colno}",
            file=file,
            line=fault.lineno,
            remedy="Look for a missing comma or quote on this line or the one before",
        ) from None


def without_comments(text: str) -> str:
    """Blank out `//` comments outside strings; every other character keeps its position."""
    return re.sub(
        r'("(?:[^"\\\n]|\\.)*")|//[^\n]*',
        lambda found: found[1] if found[1] else " " * len(found[0]),
        text.removeprefix("\ufeff"),
    )


def line_of(text: str, key: str) -> int:
    """Return the line a key stands on, 0 when it cannot be told."""
    found = re.search(rf'"{re.escape(key)}"\s*:', without_comments(text))
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _from_environment(setting: Setting, value: str) -> Any:
    return json.loads(value) if setting.key in ("upstream", "modelAliases") else value


def _unknown(key: str, path: Path, line: int) -> str:
    near = difflib.get_close_matches(key, _BY_KEY, 1, cutoff=0.6)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'{path}:{line}: unknown key "{key}" is ignored{hint}'


def _fault(fault: ValueError, file: str, line: int, key: str) -> ConfigError:
    reason = getattr(fault, "reason", str(fault))
    return ConfigError(reason, file=file, line=line, key=key, remedy=getattr(fault, "remedy", ""))


def _json_type(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)


FIELD_NAMES = frozenset(f.name for f in fields(Config))
