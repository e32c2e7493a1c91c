"""credentials.json: the only reader and the only writer of it.

Rules of this file: every write re-reads the file inside the lock and changes only what it was
asked to, so that what the IDE, another worker or a person wrote meanwhile survives. A value that
could not be written is kept and written with the next chance; it is never dropped silently.
Blocking: call from a thread when an event loop runs.

Theory of operation. `load` finishes or clears what a killed writer left, tightens the mode,
gives missing ids and machine ids and writes them down, once: from then on a rotated token no
longer changes the machine id. `update` is compare-and-set on the refresh token: if somebody put
another one there, that one stays. A failed write leaves its changes in `_unsaved`, laid over
every later reading until they are written or the file's token is no longer the one they replace.
An editor that saves an old copy over a renewed token has it put back (`rotations`).

Source: the credentials.json contract in README.md.
"""

import contextlib
import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kiroproxy.accounts.credential import Credential, Parsed, derived_machine_id, parse
from kiroproxy.accounts.document import Document, Entry
from kiroproxy.accounts.fields import is_cut
from kiroproxy.accounts.file import GuardedFile, Signature
from kiroproxy.accounts.lock import FileLock
from kiroproxy.accounts.rotations import Rotations
from kiroproxy.config import Config, Source
from kiroproxy.errors import ConfigError
from kiroproxy.logs import keep_token
from kiroproxy.values import normal_machine_id

log = logging.getLogger(__name__)

SECRET_KEYS = ("accessToken", "refreshToken", "clientSecret", "kiroApiKey", "proxyPassword")


class NotSaved(ConfigError):
    """A change that is valid in memory and not on disk; `credential` holds it."""

    def __init__(self, fault: ConfigError, credential: Credential) -> None:
        self.credential = credential
        super().__init__(
            fault.reason, file=fault.file, line=fault.line, key=fault.key, remedy=fault.remedy
        )


@dataclass(frozen=True, slots=True)
class _Unsaved:
    replaced: object  # the refreshToken that stood in the file; another one there wins
    changes: Mapping[str, Any]


class Store:
    """The credentials of one file, plus the one that KIRO_API_KEY holds in memory.

    Shape: `faults` say which credentials of the last load cannot be used and why; `warnings`
    is everything else the operator should know.
    """

    def __init__(self, path: Path, config: Source) -> None:
        self.path = path
        self._source = config
        self.faults: list[ConfigError] = []
        self.warnings: list[str] = []
        self._file = GuardedFile(path)
        self._thread_lock = threading.Lock()
        self._known: dict[int, Entry] = {}  # as last read: outlives an unreadable file
        self._unsaved: dict[int, _Unsaved] = {}
        self._rotations = Rotations()
        self._signature: Signature | None = None  # of what `load` saw, or of our own write on it

    @property
    def config(self) -> Config:
        """What the entries are read with: regions, proxy, limits where they name none."""
        return self._source.current

    # -- reading ---------------------------------------------------------------------------

    def load(self, *, repair: bool = True) -> list[Credential]:
        """Read everything; a missing file holds nothing. Raises: ConfigError — not readable.

        Shape: without `repair` the same is said and nothing on the disk is changed.
        """
        self.faults, self.warnings = [], []
        document = self._load_and_repair() if repair else self._look()
        credentials = self._credentials_of(document) if document else []
        if document and document.has_comments:
            self.warnings.append(f"{self.path}: // comments are lost when a token is written back")
        own = self._from_environment()
        if own and all(own.kiro_api_key != other.kiro_api_key for other in credentials):
            credentials.append(own)
        return credentials

    def reload_one(self, id: int) -> Credential | None:
        """Read one credential again, None if it is gone. Raises: ConfigError — not readable."""
        if id == 0:
            return self._from_environment()
        with self._thread_lock:
            document = self._read()
            entry = document.find(id) if document else None
            return self._parsed(entry) if entry else None

    def has_changed(self) -> bool:
        """Say whether somebody else wrote the file since `load`. Cost: one stat."""
        return self._file.signature() != self._signature

    # -- writing ---------------------------------------------------------------------------

    def update(
        self, id: int, changes: Mapping[str, Any], *, replacing: str | None = None
    ) -> Credential:
        """Write fields of one credential, keyed by wire name; None removes a field.

        Shape: returns what the file holds afterwards. If `replacing` is given and the file's
        refreshToken is another one, nothing is written: compare what comes back.
        Raises: NotSaved — in memory only; it is tried again with the next write.
        """
        fault: ConfigError
        try:
            with self._transaction() as document:
                entry = document.find(id)
                if entry is None:
                    raise self._file.fault(f"holds no credential {id}")
                if replacing is not None and _text(entry, "refreshToken") != replacing:
                    return self._parsed(entry)
                _apply(entry, changes)
                document.is_changed = True
            self._rotations.note(id, replacing or "", changes)  # it is on disk
            return self._parsed(entry)
        except ConfigError as found:
            fault = found
        except OSError as found:
            fault = self._file.write_fault(found)
        if id not in self._known:
            raise fault
        raise NotSaved(fault, self._keep_unsaved(id, changes)) from fault

    def save_unsaved(self) -> bool:
        """Try again what could not be written; True when nothing is left in memory only."""
        if self._unsaved:
            with contextlib.suppress(ConfigError, OSError), self._transaction():
                pass
        return not self._unsaved

    def is_unsaved(self, id: int) -> bool:
        """Say whether a credential's latest token is in memory only."""
        return id in self._unsaved

    def add(self, fields: Mapping[str, Any]) -> Credential:
        """Append a credential. Raises: ConfigError — unusable, known already, or not written."""
        entry: Entry = {key: value for key, value in fields.items() if key != "id"}
        parsed = self._parse(entry, 0)
        if parsed.faults:
            raise parsed.faults[0]
        entry.setdefault("machineId", parsed.credential.machine_id)
        try:
            with self._transaction() as document:
                for secret in ("refreshToken", "kiroApiKey"):
                    present = {_text(other, secret) for _, other in document.objects()}
                    if _text(entry, secret) in present - {""}:
                        raise ConfigError("is already here", file=str(self.path), key=secret)
                document.add(entry)
        except OSError as found:
            raise self._file.write_fault(found) from found
        return self._parsed(entry)

    def update_many(self, changes: Mapping[int, Mapping[str, Any]]) -> list[Credential]:
        """Write fields of several credentials with one write; who is not there is left out.

        Raises: ConfigError — not written, and nothing has changed.
        """
        found: list[Entry] = []
        try:
            with self._transaction() as document:
                entries = {entry["id"]: entry for _, entry in document.objects()}
                for id in changes.keys() & entries.keys():
                    _apply(entries[id], changes[id])
                    found.append(entries[id])
                document.is_changed = bool(found) or document.is_changed
        except OSError as fault:
            raise self._file.write_fault(fault) from fault
        return [self._parsed(entry) for entry in found]

    def remove(self, id: int) -> None:
        """Delete a credential. Raises: ConfigError — not written."""
        self.remove_many((id,))

    def remove_many(self, ids: Collection[int]) -> None:
        """Delete credentials with one write. Raises: ConfigError — not written."""
        try:
            with self._transaction() as document:
                for id in ids:
                    document.remove(id)
        except OSError as found:
            raise self._file.write_fault(found) from found
        for id in ids:  # not before: what could not be deleted keeps its token
            self._known.pop(id, None)
            self._unsaved.pop(id, None)
            self._rotations.forget(id)

    def entry(self, id: int) -> Mapping[str, Any]:
        """Return a credential's own fields as last read, secrets included; empty = not there."""
        return self._known.get(id, {})

    def refresh_lock(self, id: int) -> FileLock:
        """Return the lock under which one process at a time renews a credential."""
        return self._file.lock_for(id)

    def duty_lock(self) -> FileLock:
        """Return the lock of the one process that cares for idle credentials."""
        return self._file.side_lock("keeper")

    # -- one file, read and replaced -------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Document]:
        """Read inside the lock, yield, write if `is_changed`. Raises: ConfigError, OSError."""
        with self._thread_lock, self._file.locked(self._is_whole):
            is_seen = self._file.signature() == self._signature
            document = self._read() or Document("", str(self.path))
            yield document
            if document.is_changed:
                self._file.write(document.dump())
                for _, entry in document.objects():
                    # Reading laid it over, or dropped it.
                    if saved := self._unsaved.pop(entry["id"], None):
                        self._rotations.note(entry["id"], str(saved.replaced), saved.changes)
                if is_seen:  # else `has_changed` still has something to tell
                    self._signature = self._file.signature()
            self._remember(document)

    def _load_and_repair(self) -> Document | None:
        self._signature = self._file.signature()
        if self._signature is None:
            return None
        if warning := self._file.tighten_mode():
            self.warnings.append(warning)
        document: Document | None = None
        try:
            with self._transaction() as document:
                pass
        except OSError as fault:
            self.warnings.append(str(self._file.write_fault(fault)))
            with self._thread_lock:
                document = document or self._read()
        if document:
            self.warnings += map(str, document.repairs)
        return document

    def _look(self) -> Document | None:
        if mode := self._file.exposure():
            self.warnings.append(
                f"{self.path}: other users can read it (mode {mode}); it gets 0600 at the start"
            )
        with self._thread_lock:
            document = self._read()
        if document:
            self.warnings += map(str, document.repairs)
        return document

    def _read(self) -> Document | None:
        """Read, complete ids and machine ids, lay over what is unsaved. None: no file."""
        text = self._file.read()
        if text is None:
            return None
        document = Document(text, str(self.path))
        for position, entry in document.objects():
            self._complete(document, position, entry)
        self._put_back(document)
        self._lay_over(document)
        self._remember(document)
        return document

    def _complete(self, document: Document, position: int, entry: Entry) -> None:
        """Give an entry a machine id that outlives its present refresh token."""
        if _has_machine_id(entry) or self.config.machine_id:
            return
        known = self._known.get(entry["id"], {})
        token = _text(entry, "refreshToken")
        if _has_machine_id(known):  # the IDE rewrote the file without our field
            machine_id = _text(known, "machineId")
        else:
            machine_id = derived_machine_id(
                "" if is_cut(token) else token, _text(entry, "kiroApiKey")
            )
        if machine_id:
            if entry.get("machineId"):
                reason = "is neither 64 hex digits nor a UUID; a derived one replaces it"
                document.repairs.append(document.fault(position, "machineId", reason, ""))
            entry["machineId"] = machine_id
            document.is_changed = True

    def _put_back(self, document: Document) -> None:
        """Undo the save of an old copy: a token that we have traded is no use to anybody."""
        for _, entry in document.objects():
            newer = self._rotations.newer(entry["id"], _text(entry, "refreshToken"))
            if newer is not None:
                log.warning(
                    "credential #%d: an old copy of %s was saved; its token was renewed since,"
                    " and stays so",
                    entry["id"],
                    self.path,
                )
                _apply(entry, newer)
                document.is_changed = True

    def _lay_over(self, document: Document) -> None:
        for id, unsaved in list(self._unsaved.items()):
            entry = document.find(id)
            if entry is None:  # perhaps the file comes back; the token must not be lost for that
                continue
            if entry.get("refreshToken") != unsaved.replaced:
                log.warning("credential #%d: %s holds a newer token", id, self.path)
                del self._unsaved[id]
                continue
            _apply(entry, unsaved.changes)
            document.is_changed = True

    def _keep_unsaved(self, id: int, changes: Mapping[str, Any]) -> Credential:
        with self._thread_lock:
            earlier = self._unsaved.get(id)
            entry = dict(self._known[id])
            replaced = earlier.replaced if earlier else entry.get("refreshToken")
            self._unsaved[id] = _Unsaved(
                replaced, {**(earlier.changes if earlier else {}), **changes}
            )
            _apply(entry, self._unsaved[id].changes)
            return self._parsed(entry)

    def _remember(self, document: Document) -> None:
        self._known |= {entry["id"]: dict(entry) for _, entry in document.objects()}

    # -- what an entry means ---------------------------------------------------------------

    def _credentials_of(self, document: Document) -> list[Credential]:
        credentials: list[Credential] = []
        seen: dict[str, int] = {}
        for position, value in enumerate(document.entries):
            if not isinstance(value, dict):
                self.faults.append(document.fault(position, "", "is not an object", "Write { }"))
                continue
            parsed = self._parse(value, value["id"])
            credential, faults = parsed.credential, list(parsed.faults)
            secret = credential.refresh_token or credential.kiro_api_key
            first = seen.setdefault(secret, credential.id)
            if secret and first != credential.id:
                # Two owners of one token would rotate it away from each other.
                key = "refreshToken" if credential.refresh_token else "kiroApiKey"
                faults.append(ConfigError(f"is the same as credential {first}'s", key=key))
                credential = replace(credential, fault=f"{key} {faults[-1].reason}")
            self.faults += [document.fault(position, f.key, f.reason, f.remedy) for f in faults]
            for found in parsed.warnings:
                warning = document.fault(position, found.key, found.reason, found.remedy)
                self.warnings.append(str(warning))
            credentials.append(credential)
        return credentials

    def _parsed(self, entry: Entry) -> Credential:
        return self._parse(entry, entry["id"]).credential

    def _parse(self, entry: Entry, id: int) -> Parsed:
        """Read one entry; from then on no log line repeats its secrets."""
        for key in SECRET_KEYS:
            keep_token(_text(entry, key))
        return parse(entry, self.config, id=id)

    def _from_environment(self) -> Credential | None:
        key = self.config.kiro_api_key
        return self._parse({"kiroApiKey": key}, 0).credential if key else None

    def _is_whole(self, data: bytes) -> bool:
        try:
            return bool(Document(data.decode(), str(self.path)).entries)
        except (ConfigError, UnicodeDecodeError):
            return False


def _apply(entry: Entry, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            entry.pop(key, None)
        else:
            entry[key] = value


def _text(entry: Entry, key: str) -> str:
    value = entry.get(key)
    return value.strip() if isinstance(value, str) else ""


def _has_machine_id(entry: Entry) -> bool:
    try:
        return bool(normal_machine_id(_text(entry, "machineId")))
    except ValueError:
        return False
