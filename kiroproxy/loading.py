"""config.json, the environment and the flags, read into a `Config`; and a change of it at work.

Rules of this file: every fault names file, line, key, reason and remedy.

Order: flags override KIROPROXY_<UPPER_SNAKE>, which override the file, which overrides the
defaults of `Config`.
"""

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kiroproxy.config import Config
from kiroproxy.errors import ConfigError
from kiroproxy.reading import Reading
from kiroproxy.settings import SETTINGS

SYSTEM_VERSIONS = ("darwin#24.6.0", "win32#10.0.22631")


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
