"""What the operator decided, checked and frozen: one `Config`.

Rules of this file: values and their defaults; `settings` says how each is written, `loading`
reads them.

Theory of operation. A `Config` never changes. A running gateway holds one `loading.Settings`,
whose `current` is the Config of the moment: whoever serves a request takes `current` once, at its
beginning, and keeps it to the end. A Config is also a source of itself, so that a part can be
built on either. What a change needs beyond being read next time is a listener's work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from kiroproxy import values

LOAD_BALANCING = ("priority", "balanced")
MAX_CONCURRENCY = 10_000
MAX_CREDITS = 1_000_000
MAX_RPM = 255  # what one byte of the shared page counts; accounts are throttled far below it
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
