"""Credentials as other programs keep them, turned into entries of credentials.json.

Rules of this file: no I/O; nothing here raises for one bad entry,
which becomes a candidate with a problem, so that the good ones beside it still come in. No
message holds a secret.

Theory of operation. `read` takes whatever an operator has: a parsed JSON value, its text, lines
of bare keys, or kiro-cli's database as bytes. The shapes differ in where they put the same dozen
facts, so one lenient reading serves them all: names in either case style, a nested
`credentials` object, an identity provider in place of a method, times in five spellings. Only
the region needs the format: for other programs it is where the login lives, never the API.

Source: the files that Kiro IDE, kiro-cli and the account managers of this family were seen to
write; README.md lists them.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kiroproxy.accounts.credential import KNOWN_KEYS, Credential, digest, parse
from kiroproxy.accounts.expiry import parse_time, rfc3339
from kiroproxy.accounts.kiro_cli import SQLITE_MAGIC, entry_of_bytes
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError
from kiroproxy.jsonc import parse as parse_json

FORMATS = ("kiroproxy", "kiro-ide", "kiro-cli", "kam")
_SQLITE_BASE64 = base64.b64encode(SQLITE_MAGIC[:15]).decode()
_MOST_ENTRIES = 10_000

# Where another program's name for a fact is not ours in snake_case.
_OTHER_NAMES = {
    "auth": "authMethod",
    "authmethod": "authMethod",
    "kiroapikey": "kiroApiKey",
    "apikey": "kiroApiKey",
    "token": "refreshToken",
    "rttoken": "refreshToken",
    "expires": "expiresAt",
    "expiry": "expiresAt",
    "profile": "profileArn",
    "starturl": "startUrl",
    "idp": "provider",
}
_KEPT = KNOWN_KEYS | {"provider", "startUrl", "clientIdHash", "nickname", "status"}
# What only a gateway of this family has a use for.
_OURS = frozenset(("id", "priority", "machineId", "authRegion", "apiRegion", "proxyUrl"))
_SOCIAL_PROVIDERS = frozenset(("google", "github", "cognito", "apple"))
_IDC_PROVIDERS = frozenset(("builderid", "enterprise", "internal", "idc", "awsidc"))
_SOUND_STATES = frozenset(("", "active", "ok", "valid", "normal", "unknown", "enabled", "正常"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One login that was found.

    Shape: `fields` are credentials.json's; `problem` says why it cannot be used, "" = it can;
    `errored`: the program it comes from says that the account does not work.
    """

    index: int
    fields: Mapping[str, Any] = field(repr=False)
    label: str
    problem: str = ""
    errored: bool = False

    @property
    def secret_hash(self) -> str:
        """SHA-256 of what makes two logins the same, "" where there is nothing."""
        secret = self.fields.get("refreshToken") or self.fields.get("kiroApiKey") or ""
        return digest(secret) if secret and isinstance(secret, str) else ""


class Found(NamedTuple):
    """What an import holds, and whose form it has."""

    format: str
    candidates: tuple[Candidate, ...]


def read(data: object, config: Config, *, format: str = "auto") -> Found:
    """Return every login in a value, a text or a database.

    Raises: ConfigError — nothing in it can be a login.
    """
    value = _value_of(data)
    entries: list[Any]
    if isinstance(value, bytes):
        entries, kind = [entry_of_bytes(value)], "kiro-cli"
    else:
        entries, kind = _entries(value)
    kind = kind if format == "auto" else format
    if kind not in FORMATS:
        raise _fault(f'format "{kind}" is not known', f"Write one of {', '.join(FORMATS)}")
    if not entries:
        raise _fault("holds no login", "Give an export, a token file or credentials.json")
    if len(entries) > _MOST_ENTRIES:
        raise _fault(f"holds over {_MOST_ENTRIES} entries", "Import it in parts")
    candidates = [_candidate(index, entry, kind, config) for index, entry in enumerate(entries)]
    return Found(kind, tuple(_without_repetitions(candidates)))


def duplicate_of(candidate: Candidate, present: Iterable[Credential]) -> int | None:
    """Return the id of the credential that holds the same login, None where none does."""
    wanted = candidate.secret_hash
    for credential in present if wanted else ():
        secret = credential.refresh_token or credential.kiro_api_key
        if secret and digest(secret) == wanted:
            return credential.id
    return None


# -- from what was given to entries ------------------------------------------------------


def _value_of(data: object) -> object:
    """Return a JSON value, or a database's bytes."""
    if isinstance(data, (bytes, bytearray)):
        if data.startswith(SQLITE_MAGIC):
            return bytes(data)
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise _fault("is neither text nor an SQLite database", "Choose another file") from None
    if not isinstance(data, str):
        return data
    text = data.strip().lstrip("\ufeff")
    if text.startswith(_SQLITE_BASE64[:16]):
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(text, validate=False)
    if text[:1] in ("{", "["):
        return parse_json(text, "the import")
    return [entry for line in text.splitlines() if (entry := _bare(line.strip()))]


def _bare(line: str) -> dict[str, str] | None:
    """Read one line that is nothing but a key, or a refresh token, perhaps `|` its region."""
    secret, _, region = line.partition("|")
    if not secret or " " in secret:
        return None
    if secret.startswith("ksk_"):
        return {"kiroApiKey": secret} | ({"apiRegion": region} if region else {})
    return {"refreshToken": secret} | ({"authRegion": region} if region else {})


def _entries(value: object) -> tuple[list[Any], str]:
    """Return the entries of a value and whose form it has."""
    if isinstance(value, dict):
        accounts = value.get("accounts")
        if isinstance(accounts, dict):
            accounts = list(accounts.values())
        if isinstance(accounts, list):
            return accounts, "kam"
        credentials = value.get("credentials")
        if isinstance(credentials, list):
            return credentials, "kiroproxy"
        value = [value]
    if not isinstance(value, list):
        return [], "kiroproxy"
    plain = [_camel(entry) if isinstance(entry, dict) else entry for entry in value]
    return _with_registrations(plain), _form_of(value)


def _form_of(entries: list[Any]) -> str:
    objects = [entry for entry in entries if isinstance(entry, dict)]
    if any(isinstance(entry.get("credentials"), dict) for entry in objects):
        return "kam"
    if any({"nickname", "idp", "usageData", "subscription"} & entry.keys() for entry in objects):
        return "kam"
    if any(_OURS & entry.keys() for entry in objects):
        return "kiroproxy"
    if any("clientIdHash" in entry or "provider" in entry for entry in objects):
        return "kiro-ide"
    return "kiroproxy"


def _with_registrations(entries: list[Any]) -> list[Any]:
    """Give logins without a client the registration that stands beside them, and drop that."""
    loose = [
        entry
        for entry in entries
        if isinstance(entry, dict) and "clientId" in entry and not _has_login(entry)
    ]
    rest = [entry for entry in entries if entry not in loose]
    if len(loose) != 1:
        return rest or entries
    client = {key: loose[0][key] for key in ("clientId", "clientSecret") if key in loose[0]}
    return [
        {**entry, **client}
        if isinstance(entry, dict) and "clientId" not in entry and "clientIdHash" in entry
        else entry
        for entry in rest
    ]


def _has_login(entry: Mapping[str, Any]) -> bool:
    nested = entry.get("credentials")
    held = nested if isinstance(nested, dict) else None
    return bool(entry.get("refreshToken") or entry.get("kiroApiKey") or held)


# -- one entry ---------------------------------------------------------------------------


def _candidate(index: int, entry: object, kind: str, config: Config) -> Candidate:
    if not isinstance(entry, dict):
        return Candidate(index, {}, f"entry {index + 1}", "is not an object")
    told = _camel(entry)
    nested = told.pop("credentials", None)
    if isinstance(nested, dict):
        told = {**told, **_camel(nested)}
    fields = _fields(told, kind)
    faults = parse(fields, config, id=0).faults
    problem = "; ".join(f"{fault.key} {fault.reason}" for fault in faults)
    label = str(told.get("email") or told.get("nickname") or f"entry {index + 1}")[:120]
    state = str(told.get("status") or "").strip().lower()
    return Candidate(index, fields, label, problem, state not in _SOUND_STATES)


def _fields(told: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Keep what credentials.json knows, in its spelling."""
    own = kind == "kiroproxy"
    kept = KNOWN_KEYS if not own else KNOWN_KEYS | (told.keys() - _KEPT)
    fields = {key: value for key, value in told.items() if key in kept and value not in (None, "")}
    fields.pop("id", None)  # the file gives its own
    if not own:
        if region := fields.pop("region", None):
            fields.setdefault("authRegion", region)
        # How it is scheduled over there is no decision for here; nor is their switch.
        for key in ("priority", "disabled"):
            fields.pop(key, None)
    fields |= {key: told[key] for key in ("provider", "startUrl") if told.get(key)}
    method = _method(told)
    if method:
        fields["authMethod"] = method
    if str(fields.get("kiroApiKey", "")).startswith("ksk_"):
        fields["authMethod"] = "api_key"
    elif method != "api_key":
        fields.pop("kiroApiKey", None)  # some other service's key under a common name
    _write_time(fields)
    return fields


def _method(told: Mapping[str, Any]) -> str:
    """Return the method, also from the identity provider alone; "" = credentials.json's rule."""
    named = str(told.get("authMethod") or "").strip().lower().replace("_", "-")
    if named in ("social", "idc", "builder-id", "builderid", "iam", "api-key", "apikey"):
        return {"social": "social", "api-key": "api_key", "apikey": "api_key"}.get(named, "idc")
    provider = str(told.get("provider") or "").strip().lower().replace("-", "").replace("_", "")
    if provider in _SOCIAL_PROVIDERS:
        return "social"
    return "idc" if provider in _IDC_PROVIDERS else ""


def _write_time(fields: dict[str, Any]) -> None:
    """Spell the expiry as credentials.json does; drop one that cannot be read."""
    value = fields.pop("expiresAt", None)
    if isinstance(value, str):
        value = re.sub(r"^(\d{4})/(\d{1,2})/(\d{1,2})", _dashed, value.strip())
    at_ms = parse_time(value) if value is not None else None
    if at_ms:
        fields["expiresAt"] = rfc3339(at_ms)


def _dashed(date: "re.Match[str]") -> str:
    return f"{date[1]}-{int(date[2]):02}-{int(date[3]):02}"


def _camel(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Spell every name as credentials.json does; a name in its own spelling wins."""
    plain = {known.lower(): known for known in _KEPT}
    named: dict[str, Any] = {}
    for key, value in entry.items():
        lower = str(key).replace("_", "").replace("-", "").lower()
        spelt = plain.get(lower) or _OTHER_NAMES.get(lower) or str(key)
        if spelt not in named or spelt == key:
            named[spelt] = value
    return named


def _without_repetitions(candidates: list[Candidate]) -> Iterator[Candidate]:
    """Mark a login that stands there twice: two owners would rotate its token away."""
    seen: dict[str, int] = {}
    for candidate in candidates:
        first = seen.setdefault(candidate.secret_hash, candidate.index)
        if candidate.secret_hash and first != candidate.index:
            problem = f"is the same login as entry {first + 1}"
            candidate = Candidate(candidate.index, candidate.fields, candidate.label, problem)
        yield candidate


def _fault(reason: str, remedy: str) -> ConfigError:
    return ConfigError(reason, file="the import", remedy=remedy)
