from typing import Any, Self, final

from kiroproxy._pump import Outlet

@final
class Record:
    model: str
    kiro_model: str
    stop_reason: str
    error: str
    error_message: str
    detail: str
    credential_id: int | None
    key_id: int | None
    tries: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    searches: int
    request_bytes: int
    credits: float
    first_token_s: float
    stream: bool
    cut: bool
    attempts: list[Any]
    def __new__(cls) -> Self: ...
    def charge(self, credits: float) -> object: ...
    def note(self, error: Any) -> None: ...
    @property
    def is_answered(self) -> bool: ...
    def outcome(self, status: int) -> str: ...

class Arrived:
    client: tuple[str, int] | None
    outlet: Outlet | None
    work: Any
    grant: Any
    def __init__(
        self, method: str, path: str, query: bytes, headers: dict[bytes, bytes]
    ) -> None: ...
    @classmethod
    def whole(
        cls,
        target: bytes,
        headers: dict[bytes, bytes],
        outlet: Outlet,
        client: tuple[str, int] | None,
    ) -> Self: ...
    @property
    def id(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def headers(self) -> dict[bytes, bytes]: ...
    @property
    def record(self) -> Record: ...
    @property
    def started_s(self) -> float: ...
    def text(self, name: bytes) -> str: ...
    def told(self, status: int) -> dict[str, object]: ...
