"""The commands that bring credentials in and out: login, import, export.

Rules of this file: the terminal ends here; what a credential is and when it is kept is decided
in `accounts` and `upstream.enrolment`. A secret is printed only by `export -`, which was asked
for just that; it is never taken from the command line, where other users could read it.

Theory of operation. The commands write credentials.json as a running gateway does, under the
same lock, so both may run at once: the gateway sees the file change and takes it over.
"""

import asyncio
import getpass
import json
import os
import sys
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiroproxy.accounts import imports, local
from kiroproxy.accounts.document import Document
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError, GatewayError
from kiroproxy.upstream import device
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.enrolment import Enrolment, Kept
from kiroproxy.upstream.refresh import Refresher

_RULES = "Any program that holds the same login trades its token too: use a login of its own"


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """What `kiroproxy login` was told."""

    method: str
    start_url: str = ""
    region: str = ""
    priority: int = 0
    browser: bool = True
    verify: bool = True


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What `kiroproxy import` was told."""

    source: str
    format: str = "auto"
    dry_run: bool = False
    verify: bool = True
    keep_errored: bool = False


# -- login ---------------------------------------------------------------------------------


def login(config: Config, options: LoginOptions) -> int:
    """Log in, keep the credential. Returns the exit code."""
    return asyncio.run(_login(config, options))


async def _login(config: Config, options: LoginOptions) -> int:
    async with _workshop(config) as (enrolment, control):
        try:
            if options.method == "api-key":
                fields: dict[str, Any] = {"authMethod": "api_key", "kiroApiKey": _asked_key()}
                if options.region:
                    fields["apiRegion"] = options.region
            else:
                fields = await _confirmed(control, config, options)
            if options.priority:
                fields["priority"] = options.priority
            kept = await enrolment.keep(fields, verify=options.verify, renew=False)
        except GatewayError as fault:
            return _failed(_words(fault))
    _say(f"{config.credentials_path}: {_described(kept)}")
    return 1 if kept.problem else 0


async def _confirmed(
    control: ControlPlane, config: Config, options: LoginOptions
) -> dict[str, Any]:
    social = options.method in device.PROVIDERS
    pending = await device.start(
        "social" if social else options.method,
        control,
        config,
        start_url=options.start_url,
        region=options.region,
        provider=options.method if social else "google",
    )
    _say("Open this page, on any device, and confirm the code there:\n")
    _say(f"  page  {pending.verification_uri_complete}")
    _say(f"  code  {pending.user_code}\n")
    if options.browser and sys.stdout.isatty():
        await asyncio.to_thread(webbrowser.open, pending.verification_uri_complete)
    _say("Waiting for it ...  (Ctrl-C to give up)")
    return await device.complete(pending, control, config)


def _asked_key() -> str:
    """Read the key where it is not shown, or from a pipe."""
    if sys.stdin.isatty():
        return getpass.getpass("Kiro API key (ksk_..., not shown): ").strip()
    return sys.stdin.readline().strip()


# -- import --------------------------------------------------------------------------------


def import_(config: Config, options: ImportOptions) -> int:
    """Take in what another program left. Returns the exit code."""
    return asyncio.run(_import(config, options))


async def _import(config: Config, options: ImportOptions) -> int:
    found = _found(config, options)
    store = Store(config.credentials_path, config)
    present = store.load(repair=False)
    bad = taken = 0
    async with _workshop(config) as (enrolment, _):
        for candidate in found.candidates:
            reason = _reason_against(candidate, imports.duplicate_of(candidate, present), options)
            if reason or options.dry_run:
                _say(f"  {'skipped' if reason else 'usable'}  {candidate.label}  {reason}".rstrip())
                bad += bool(candidate.problem)
                continue
            try:
                kept = await enrolment.keep(candidate.fields, verify=options.verify)
            except (ConfigError, GatewayError) as fault:
                _say(f"  refused  {candidate.label}  {_words(fault)}")
                bad += 1
                continue
            taken += not kept.problem
            bad += bool(kept.problem)
            _say(f"  kept     {candidate.label}  {_described(kept)}")
    total = len(found.candidates)
    _say(f"{taken} of {total} kept in {config.credentials_path} (form: {found.format})")
    if taken and options.source in ("ide", "cli"):
        _say(f"{_RULES} (kiroproxy login) if it should go on working.")
    return 1 if bad else 0


def _found(config: Config, options: ImportOptions) -> imports.Found:
    if options.source == "ide":
        return local.from_ide(Path.home(), config)
    if options.source == "cli":
        return local.from_cli(Path.home(), os.environ, config)
    if options.source == "-":
        return imports.read(sys.stdin.buffer.read(), config, format=options.format)
    return local.from_file(Path(options.source), config, format=options.format)


def _reason_against(
    candidate: imports.Candidate, duplicate: int | None, options: ImportOptions
) -> str:
    if candidate.problem:
        return candidate.problem
    if duplicate is not None:
        return f"is here already, as credential {duplicate}"
    if candidate.errored and not options.keep_errored:
        return "does not work, says the program it comes from (--keep-errored takes it)"
    return ""


# -- export --------------------------------------------------------------------------------


def export(config: Config, target: str, ids: Sequence[int]) -> int:
    """Write credentials with their secrets to a new file, or to standard output."""
    entries = exported(config, ids)
    text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return 0
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        remedy = "Name a file that does not exist yet" if isinstance(fault, FileExistsError) else ""
        raise ConfigError(
            f"cannot be written ({fault.strerror})", file=target, remedy=remedy
        ) from fault
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _say(f"{target}: {len(entries)} credentials, readable by you only. It holds their secrets.")
    return 0


def exported(config: Config, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return entries as the file holds them. Raises: ConfigError — an id that is not there."""
    path = config.credentials_path
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    entries = [entry for _, entry in Document(text, str(path)).objects()]
    missing = set(ids) - {entry["id"] for entry in entries}
    if missing:
        raise ConfigError(f"holds no credential {min(missing)}", file=str(path))
    return [entry for entry in entries if not ids or entry["id"] in ids]


# -- both ----------------------------------------------------------------------------------


@asynccontextmanager
async def _workshop(config: Config) -> AsyncIterator[tuple[Enrolment, ControlPlane]]:
    """Open what an enrolment needs, and write down what is still in memory at the end."""
    store = Store(config.credentials_path, config)
    async with ControlPlane(config) as control:
        store.load()
        refresher = Refresher(store, control, config)
        try:
            yield Enrolment(store, refresher, control), control
        finally:
            await refresher.aclose()


def _described(kept: Kept) -> str:
    parts = [f"credential {kept.credential.id}", kept.email, kept.subscription]
    if kept.problem:
        parts.append(f"kept, but disabled: {kept.problem}")
    return ", ".join(part for part in parts if part)


def _words(fault: Exception) -> str:
    detail = getattr(fault, "detail", "")
    return f"{fault} ({detail})" if detail else str(fault)


def _say(text: str) -> None:
    print(text, flush=True)


def _failed(reason: str) -> int:
    print(f"kiroproxy: {reason}", file=sys.stderr)
    return 1
