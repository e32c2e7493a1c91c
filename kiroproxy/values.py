"""What a setting's value may be: each function checks one kind and returns it ready for use.

Rules of this file: a refusal says what is wrong and what to write instead, and repeats a
value only where it cannot be a secret.
"""

import contextlib
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from kiroproxy.jsonc import type_name

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class WrongValue(ValueError):
    """Why a value was refused, and what to write instead.

    Shape: `key` names the member of an object, `others` the further faults in it.
    """

    def __init__(
        self, reason: str, remedy: str, *, key: str = "", others: "tuple[WrongValue, ...]" = ()
    ) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.key, self.others = reason, remedy, key, others


def text(value: Any) -> str:
    """Accept any string, blanks around it removed."""
    if not isinstance(value, str):
        raise WrongValue(f"is {type_name(value)}, not a string", 'Put it in "quotes"')
    return value.strip()


def printable(value: Any) -> str:
    """Accept what a header can carry: a key that holds anything else could never be presented."""
    found = text(value)
    if not all(" " <= char <= "~" for char in found):
        raise WrongValue("holds a character outside printable ASCII", "Use letters and digits")
    return found


def host(value: Any) -> str:
    """Accept an address or a host name, and nothing around it."""
    found = text(value)
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(found))
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", found) and not found.isdigit():
        return found
    raise WrongValue(
        f'is "{found}", not an address or a host name', 'Write one like "127.0.0.1", no port'
    )


def flag(value: Any) -> bool:
    """Accept true and false, also in the words an environment uses."""
    if isinstance(value, bool):
        return value
    if value in ("true", "1", "yes", "on"):
        return True
    if value in ("false", "0", "no", "off"):
        return False
    raise WrongValue(f"is {type_name(value)}, not true or false", "Write true or false")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds, also as digits."""

    low: int
    high: int

    def __call__(self, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        remedy = f"Write a whole number from {self.low} to {self.high}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValue(f"is {type_name(value)}, not a whole number", remedy)
        if not self.low <= value <= self.high:
            raise WrongValue(f"is {value}", remedy)
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds, also as digits."""

    low: float
    high: float
    noun: str = "number"

    def __call__(self, value: Any) -> float:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongValue(f"is {type_name(value)}, not a {self.noun}", "Write a number")
        if not self.low <= value <= self.high:
            raise WrongValue(f"is {value:g}", f"Write a number from {self.low:g} to {self.high:g}")
        return float(value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    choices: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        written = text(value)
        if written not in self.choices:
            near = difflib.get_close_matches(written, self.choices, 1)
            hint = (
                f'Did you mean "{near[0]}"?' if near else f"Write one of {', '.join(self.choices)}"
            )
            raise WrongValue(f'is "{written}", which is not known', hint)
        return written


def whole(low: int, high: int) -> Whole:
    """Accept a whole number within bounds."""
    return Whole(low, high)


def number(low: float, high: float) -> Number:
    """Accept a number within bounds."""
    return Number(low, high)


def seconds(low: float, high: float) -> Number:
    """Accept a number of seconds within bounds."""
    return Number(low, high, "number of seconds")


def one_of(*allowed: str) -> OneOf:
    """Accept one of a few words."""
    return OneOf(allowed)


def region(value: Any) -> str:
    """Accept an AWS region: it becomes part of a host name."""
    written = text(value)
    if written and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", written):
        raise WrongValue(f'is "{written}", not an AWS region', 'Write one like "us-east-1"')
    return written


def proxy_url(value: Any) -> str:
    """Accept a proxy's URL or "direct"."""
    written = text(value)
    if written and written != "direct":
        check_proxy_url(written)
    return written


def check_proxy_url(url: str) -> None:
    """Accept http, https, socks5 and socks5h URLs with a host. Raises: ValueError."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, a bracket that is not closed
        good = False
    if not good:
        raise WrongValue(
            "is not a proxy URL", "Write http://, https://, socks5:// or socks5h://host:port"
        )


def machine_id(value: Any) -> str:
    """Accept a machine id in either of its forms."""
    written = text(value)
    return normal_machine_id(written) if written else ""


def normal_machine_id(text: str) -> str:
    """Return 64 hex digits; a UUID loses its dashes and is doubled. Raises: ValueError."""
    plain = text.strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return plain
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", plain):
        return plain.replace("-", "") * 2
    raise WrongValue(
        "is neither 64 hex digits nor a UUID", "Leave it out to have it derived from the token"
    )


def url_template(value: Any) -> str:
    """Accept a URL with `{region}` in it or not; plain http to this machine only."""
    written = text(value).rstrip("/")
    if not written:
        return ""
    parts = urlsplit(written.replace("{region}", "us-east-1"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongValue(f'is "{written}", not a URL', 'Write one like "https://host.example"')
    unknown = set(re.findall(r"\{([^}]*)\}", written)) - {"region"}
    if unknown:
        raise WrongValue(f"holds {{{min(unknown)}}}", "Only {region} is filled in")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise WrongValue(
            "uses plain http to another machine, which would send tokens in clear",
            "Use https; plain http is for loopback addresses only",
        )
    return written


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plain_url(value: Any) -> str:
    """Accept an http or https URL."""
    written = text(value)
    parts = urlsplit(written)
    if written and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise WrongValue(f'is "{written}", not a URL', 'Write one like "https://host.example/path"')
    return written


def by_model(members: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], dict[str, Any]]:
    """Accept an object of objects: a model's id, with * for any text, → some of the members.

    Shape: a row may also be the JSON text of its object, as a form's field holds it.
    """

    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongValue(f"is {type_name(value)}, not an object", "Write { ... }")
        found: dict[str, Any] = {}
        faults: list[WrongValue] = []
        for pattern, row in value.items():
            try:
                row = _object(row)
                found[pattern] = {name: _member(name, each, members) for name, each in row.items()}
            except WrongValue as fault:
                faults.append(WrongValue(fault.reason, fault.remedy, key=pattern))
        if faults:
            first, *others = faults
            raise WrongValue(first.reason, first.remedy, key=first.key, others=tuple(others))
        return found

    return parse


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, dict):
        raise WrongValue(f"is {type_name(value)}, not an object", "Write { ... }")
    return value


def _member(name: str, value: Any, members: Mapping[str, Callable[[Any], Any]]) -> Any:
    if name not in members:
        raise WrongValue(f'holds "{name}", which is not known', "Write " + ", ".join(members))
    try:
        return members[name](value)
    except WrongValue as fault:
        raise WrongValue(f"holds a {name} that {fault.reason}", fault.remedy) from None


def fits(model_id: str, pattern: str) -> bool:
    """Tell whether a pattern of `by_model` means a model, in Kiro's spelling or the public one."""
    wanted = pattern.strip().lower()
    return fnmatchcase(model_id, wanted) or fnmatchcase(model_id.replace(".", "-"), wanted)
