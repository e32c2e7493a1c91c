"""A proxy as the operator wrote it, split into the parts that a tunnel needs.

Rules of this file: no I/O; a password leaves only through `url(with_auth=True)`.
"""

from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from kiroproxy.values import check_proxy_url

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a credential's connections leave from."""

    scheme: str  # http, https, socks5 or socks5h
    host: str  # without the brackets of an IPv6 address
    port: int
    username: str = ""
    password: str = field(default="", repr=False)

    def url(self, with_auth: bool) -> str:
        """Return the URL; without its user and password it may be logged."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        auth = ""
        if with_auth and (self.username or self.password):
            auth = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"
        return f"{self.scheme}://{auth}{host}:{self.port}"

    def __str__(self) -> str:
        return self.url(with_auth=False)


def parse_proxy(url: str, username: str = "", password: str = "") -> Proxy | None:
    """Return the proxy a URL names, None for "direct" and for nothing.

    Shape: a user given beside the URL replaces the one inside it, password included.
    Raises: ValueError — not a proxy URL; it carries `reason` and `remedy`, never the URL.
    """
    if not url or url.lower() == DIRECT:
        return None
    check_proxy_url(url)
    parts = urlsplit(url)
    if not username:
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(
        scheme=parts.scheme,
        host=parts.hostname or "",  # checked above: there is one
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        username=username,
        password=password,
    )
