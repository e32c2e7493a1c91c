"""The domain lists of a web search: which pages a client wants to see.

Source: Anthropic's web search tool page: no scheme, subdomains included, a path narrows the
entry to what lies below it, `*` stands for anything within the path.
"""

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit


def permits(allowed: Sequence[str], blocked: Sequence[str]) -> Callable[[str], bool]:
    """Return a test for URLs: on an allowed site, if any is named, and on no blocked one."""
    wanted = [_site(entry) for entry in allowed]
    unwanted = [_site(entry) for entry in blocked]
    return lambda url: (
        (not wanted or any(_is_on(url, site) for site in wanted))
        and not any(_is_on(url, site) for site in unwanted)
    )


def _site(entry: str) -> tuple[str, re.Pattern[str]]:
    """Split "example.com/docs/*" into a host and a pattern for the path."""
    host, _, path = entry.lower().partition("://")[2].partition("/")
    if not host:  # no scheme, as documented
        host, _, path = entry.lower().partition("/")
    pattern = "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", path))
    # A path names a directory: "blog" holds "blog/post" but not "blogger".
    end = r"(?:/|$)" if pattern and not pattern.endswith(("/", ".*")) else ""
    return host.removeprefix("*.").partition(":")[0], re.compile(pattern + end)


def _is_on(url: str, site: tuple[str, re.Pattern[str]]) -> bool:
    host, path = site
    try:
        parts = urlsplit(url)
        name = (parts.hostname or "").rstrip(".")
    except ValueError:  # a bracket that opens no IPv6 address
        return False
    if name != host and not name.endswith("." + host):
        return False
    return path.match(parts.path.lower().removeprefix("/")) is not None
