"""What a route is, and a call of one: the table that dispatch and API document are made of.

Rules of this file: a route says all that may come in and what goes out; nothing that the
document needs is written a second time elsewhere.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kiroproxy.admin.refusal import invalid
from kiroproxy.admin.schema import Schema

if TYPE_CHECKING:
    from kiroproxy.admin.desk import Desk
    from kiroproxy.server.request import Request

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """A finished answer. Shape: `payload` is JSON, or bytes as they are; None = no body."""

    payload: Any
    status: int = 200
    headers: Headers = []  # noqa: RUF012 - never changed
    content_type: bytes = b"application/json"


class Event(NamedTuple):
    """One event of a stream. Shape: `data` is JSON."""

    name: str
    data: Any


class Events(NamedTuple):
    """An answer that goes on: events until the source ends, or the client leaves.

    Shape: an endless one ends when the server begins to stop.
    """

    source: AsyncGenerator[Event, None]
    endless: bool = False


Result = Answer | Events
Handler = Callable[["Call"], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Shape: `path` has {id} for a number and {name} for text; `query` and `body` are schemas;
    `answer` is the schema of a 200's body, or of a 201's where `status` says so.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    action: str = ""  # its name in the audit log; "" = it changes nothing
    body: Schema | None = None
    body_required: bool = True
    query: Mapping[str, Schema] = field(default_factory=dict)
    answer: Schema | None = None
    status: int = 200
    streams: bool = False
    open: bool = False  # needs no key
    errors: tuple[int, ...] = ()
    most_body_bytes: int = 1024 * 1024

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))


@dataclass(slots=True)
class Call:
    """One request to a route, checked. `target` and `detail` are for the audit log."""

    desk: "Desk"
    request: "Request"
    route: Route
    path: dict[str, str]
    query: dict[str, Any]
    body: Any = None
    actor: str = ""  # key or session; "" = nobody
    address: str = ""
    ends_at_ms: int = 0  # the session; 0 = it has no end
    table: Sequence[Route] = ()  # all routes there are
    target: str = ""
    detail: str = ""

    @property
    def id(self) -> int:
        """The number in the path."""
        return int(self.path["id"])


def read_query(schemas: Mapping[str, Schema], pairs: Mapping[str, str]) -> dict[str, Any]:
    """Turn a query's texts into what their schemas say. Unknown names are ignored."""
    return {
        name: _value(name, schemas[name], text) for name, text in pairs.items() if name in schemas
    }


def _value(name: str, schema: Schema, text: str) -> Any:
    kind = schema["type"]
    if kind == "integer":
        if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
            raise invalid("invalid_field", f"query.{name} is no whole number", "Write digits")
        return int(text[:20])
    if kind == "boolean":
        if text not in ("true", "false"):
            raise invalid("invalid_field", f"query.{name} is no boolean", "Write true or false")
        return text == "true"
    return text
