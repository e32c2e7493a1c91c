"""One-line structured logs: a request id on every line, secrets masked at every level.

Rules of this file: nothing is written to a handler before `mask` has seen its words, whatever
the level. Masking works on the finished line, so it also covers exceptions, third-party loggers
and bodies logged for debugging. A record is one line, whatever a client wrote into its path or
model name; only an exception may follow it, indented.

Theory of operation. A secret is recognised by the name it stands behind, by its form, or by its
value: the operator's few with `keep_secret`, the credentials' many with `keep_token`. By value it
is found in any text that somebody else wrote, such as an error that quotes the request.
"""

import functools
import json
import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import IO

import orjson

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")

LEVELS = ("debug", "info", "warning", "error")

# Every field name under which a secret travels in a file, a header or a body, ours or a client's.
_SECRET_NAME = (
    r"(?:access_?token|refresh_?token|id_?token|client_?secret|kiro_?api_?key|admin_?api_?key"
    r"|count_?tokens_?api_?key|proxy_?password|api_?key|x-api-key|password|code_?verifier"
    r"|device_?code|authorization|auth(?:orization)?_?token|session_?token|secret_?access_?key"
    r"|private_?key|passphrase|cookie)"
)
# Prose about a setting, as in "apiKey: is missing", is for the operator to read.
_PROSE = r"(?!(?:is|does|holds)\b)"
_MASKS = (
    (re.compile(rf'(?i)("{_SECRET_NAME}"\s*:\s*")(?:[^"\\]|\\.)*("?)'), r"\1***\2"),
    (re.compile(rf"(?i)(\\\"{_SECRET_NAME}\\\"\s*:\s*\\\")(?:[^\"\\])*"), r"\1***"),
    (re.compile(rf"(?i)('{_SECRET_NAME}'\s*:\s*')(?:[^'\\]|\\.)*(')"), r"\1***\2"),
    (
        re.compile(rf"(?i)\b({_SECRET_NAME}\s*[=:]\s*)(?!Bearer\b){_PROSE}[^\s\"',;&}}\]]+"),
        r"\1***",
    ),
    (re.compile(r"(?i)\b(Bearer\s+)(?!token\b)[A-Za-z0-9._~+/=:-]+"), r"\1***"),
    (re.compile(r"\b(ksk_)[A-Za-z0-9_-]+"), r"\1***"),
    (re.compile(r"\b(ao[ar]A)[A-Za-z0-9+/=:_-]{16,}"), r"\1***"),  # Kiro's own token prefixes
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)+"), "***"),  # a JWT
    (re.compile(r"(?i)\b((?:https?|socks5h?)://)[^/\s:@]+:[^@\s/]+@"), r"\1***@"),
)


# Each mask needs one of these; looking for them costs a hundredth of the masks.
_SIGNS = (
    *("secret", "key", "passw", "passphrase", "verifier", "device", "auth", "cookie", "bearer"),
    *("ksk_", "aoaa", "aora", "eyj", "://"),
)


def _may_name_a_secret(folded: str) -> bool:
    if folded.count("token") > folded.count("tokens"):  # a count of tokens is in every line
        return True
    return any(map(folded.__contains__, _SIGNS))


_own: list[str] = []  # secrets known by value: the operator chose their form
_SHORTEST_OWN = 8  # a shorter one would blot out ordinary words


def keep_secret(*values: str) -> None:
    """Mask these values from now on, wherever in a line they stand."""
    _own.extend(value for value in values if len(value) >= _SHORTEST_OWN and value not in _own)


# Tokens are found by the start of each long run in them: one lookup a word, however many there
# are, and a text that was cut within a token still shows nothing of it.
_RUN = re.compile(r"[A-Za-z0-9_-]{16,}")
_START_CHARS = 16
_starts: set[str] = set()


def keep_token(*values: str) -> None:
    """Mask these long values from now on, whole or cut, wherever they stand as words."""
    for value in values:
        _starts.update(run[:_START_CHARS] for run in _RUN.findall(value))


def mask(text: str) -> str:
    """Return the text with every secret it names or repeats replaced by `***`."""
    for value in _own:
        text = text.replace(value, "***")
    if _may_name_a_secret(text.casefold()):
        for pattern, replacement in _MASKS:
            text = pattern.sub(replacement, text)
    return _RUN.sub(_masked_run, text) if _starts else text


def _masked_run(found: re.Match[str]) -> str:
    return "***" if found[0][:_START_CHARS] in _starts else found[0]


# Line ends, escape sequences, the C1 controls, and what Unicode calls a line end.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _on_one_line(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = REQUEST_ID.get()
        return True


class TerminalFormatter(logging.Formatter):
    """Lines for a person: time, level, request id, message, then `key=value` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        request_id = getattr(record, "request_id", "-")
        where = f" [{request_id}]" if request_id != "-" else ""
        pairs = "".join(f" {key}={value}" for key, value in fields_of(record).items())
        line = f"{clock} {record.levelname.lower():7}{where} {record.getMessage()}{pairs}"
        told = self.formatException(record.exc_info).splitlines() if record.exc_info else []
        # Masked before it is escaped: the masks know how JSON writes a secret, not how we do.
        lines = (_on_one_line(mask(part)) for part in (line, *told))
        return "\n    ".join(lines)


class JsonFormatter(logging.Formatter):
    """Lines for a machine: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message, fields = record.getMessage(), fields_of(record)
        if not record.exc_info and _is_known_clean(record.name, message, fields):
            return _json(_line(record, message, fields))
        told = "\n".join([message, *(value for value in fields.values() if type(value) is str)])
        if mask(told) != told:  # one look for all of them: as a rule there is nothing to mask
            message = mask(message)
            fields = {key: _masked(value) for key, value in fields.items()}
        line = _line(record, message, fields)
        if record.exc_info:
            line["exception"] = mask(self.formatException(record.exc_info))
        # JSON leaves the C1 controls as they are, and a terminal that shows the file obeys them.
        return _on_one_line(mask(_json(line)))


def _line(record: logging.LogRecord, message: str, fields: dict[str, object]) -> dict[str, object]:
    return {
        "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "request_id": getattr(record, "request_id", "-"),
        "message": message,
        **fields,
    }


@functools.lru_cache(maxsize=2)
def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def _is_known_clean(name: str, message: str, fields: dict[str, object]) -> bool:
    """Say whether a line of these words was looked at before, and has nothing to mask or escape.

    The lines of ordinary requests differ in numbers only, and masks cost more than all the rest.
    """
    values = fields.values()
    if not _HARMLESS.issuperset(map(type, values)):
        return False
    words = tuple([value if type(value) is str else 0 for value in values])
    return _is_clean(name, message, tuple(fields), words, len(_own), len(_starts))


_HARMLESS = frozenset((str, int, float, bool, type(None)))


@functools.lru_cache(maxsize=512)
def _is_clean(
    name: str,
    message: str,
    keys: tuple[str, ...],
    words: tuple[str | int, ...],
    *_known_secrets: int,
) -> bool:
    try:
        text = orjson.dumps((name, message, dict(zip(keys, words, strict=True)))).decode()
    except TypeError:
        return False
    return "\\" not in text and mask(text) == text and not _CONTROLS.search(text)


def _json(line: dict[str, object]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        return json.dumps(line, ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the `extra={"fields": {...}}` a call attached, or nothing."""
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


# All that `logging` finds out about a line, most of which nothing of ours writes.
_UNSAID = vars(logging.LogRecord("", 0, __file__, 0, "", None, None))


def tell(
    logger: logging.Logger, level: int, message: str, fields: dict[str, object], request_id: str
) -> None:
    """Log a line as `logger.log` does. Order: only if the level is enabled.

    Cost: before any handler, a third of that, which looks for caller, thread and process.
    """
    now = time.time()
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = {
        **_UNSAID,
        "name": logger.name,
        "msg": message,
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "created": now,
        "msecs": now % 1 * 1000,
        "fields": fields,
        "request_id": request_id,
    }
    logger.handle(record)


def _masked(value: object) -> object:
    return mask(value) if isinstance(value, str) else value


def setup(level: str, stream: IO[str] | None = None) -> None:
    """Send every logger of the process to one stream, readable on a terminal, JSON otherwise."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(TerminalFormatter() if out.isatty() else JsonFormatter())
    handler.addFilter(_RequestIdFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    for own in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(own)
        logger.handlers[:] = []
        logger.propagate = True


def set_level(level: str) -> None:
    """Say from now on what is of that level or above."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    # These narrate every connection at info and debug; their warnings still matter.
    for noisy in ("httpx", "httpcore", "uvicorn.access", "asyncio", "hpack", "PIL"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
