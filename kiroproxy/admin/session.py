"""Who may use the admin API: the key, a browser's signed cookie, and how guessing is slowed.

Rules of this file: keys are compared by digest in constant time; a wrong one costs its address
ever longer waits, counted in the page that all workers share. A cookie is good for changes only
from our own page. There is no CORS header anywhere.

Theory of operation. A session is a cookie and nothing else: its end and a random part, signed
with a key that is drawn from the admin key by scrypt, so that a stolen cookie is no quick way
to guess a weak admin key. All workers can check it, a restart does not end it, and another
admin key ends all of them. Who holds one is not locked out by somebody else's guesses.

Source: OWASP, Session Management and CSRF Prevention (Fetch Metadata, SameSite).
"""

import base64
import hashlib
import hmac
import ipaddress
import secrets
import time
from typing import Final
from urllib.parse import urlsplit

from kiroproxy._meter import Meter
from kiroproxy.admin.refusal import Refusal
from kiroproxy.server.request import Request

COOKIE: Final = "kiroproxy_session"
SHORT_S, LONG_S = 12 * 3600, 30 * 86_400
FREE_FAILURES: Final = 5
FREE_BEHIND_PROXY: Final = 100
FIRST_LOCK_MS, LONGEST_LOCK_MS = 10_000, 900_000
MEMORY_MS: Final = 3_600_000
_SAFE = ("GET", "HEAD", "OPTIONS")
_SAME = ("same-origin", "none")  # none: typed into the address bar


class Gatekeeper:
    """Order: `warm_up` before the first cookie, in a thread."""

    def __init__(self, admin_key: str, meter: Meter) -> None:
        self._key = admin_key.encode()
        self._digest = hashlib.sha256(self._key).digest()
        self._meter = meter
        self._signing = b""

    @property
    def is_cold(self) -> bool:
        """Say whether the next cookie takes long to check: `warm_up` in a thread first."""
        return not self._signing

    def warm_up(self) -> None:
        """Draw the signing key. Blocks for some 40 ms."""
        if not self._signing:
            # 16 MB of memory: nothing for us once, much for who has to try every key.
            salt = b"kiroproxy admin session"
            self._signing = hashlib.scrypt(self._key, salt=salt, n=2**14, r=8, p=1, dklen=32)

    def identify(self, request: Request) -> tuple[str, int]:
        """Return who asks, key or session, and when that ends (ms; 0 = never).

        Raises: Refusal — 401, 403 for a foreign page's request, 429 while locked out.
        """
        if _presented(request):
            self.check_key(request, *_presented(request))
            return "key", 0
        expires_ms = self._session_end(request)
        if not expires_ms:
            raise Refusal(
                "authentication_error", "sign_in_required", "Invalid or missing admin key",
                "Send adminApiKey as x-api-key, or sign in",
            )  # fmt: skip
        if request.method not in _SAFE and not is_same_origin(request):
            raise _foreign()
        return "session", expires_ms

    def check_page(self, request: Request) -> None:
        """Refuse to weigh a key that a foreign page sends: its guesses would lock its visitor out.

        Raises: Refusal. Shape: a script sends neither header and may go on.
        """
        names = (b"sec-fetch-site", b"origin")
        if any(name in request.headers for name in names) and not is_same_origin(request):
            raise _foreign()

    def check_key(self, request: Request, *keys: str) -> None:
        """Compare keys with the admin key. Raises: Refusal — wrong, or locked out."""
        now_ms = time.time_ns() // 1_000_000
        places = _places(request)
        until_ms = max(self._meter.locked_until(place, now_ms, free) for place, free in places)
        if until_ms:
            raise _locked(until_ms, now_ms)
        matches = [
            hmac.compare_digest(hashlib.sha256(key.encode()).digest(), self._digest) for key in keys
        ]
        if not self._key or not any(matches):
            for place, free in places:
                self._meter.failed(place, now_ms, free, FIRST_LOCK_MS, LONGEST_LOCK_MS, MEMORY_MS)
            raise Refusal(
                "authentication_error", "wrong_key", "Invalid or missing admin key",
                "The key is adminApiKey of config.json",
            )  # fmt: skip
        self._meter.forgive(places[0][0])

    # -- the cookie --------------------------------------------------------------------------

    def new_cookie(self, request: Request, remember: bool) -> tuple[bytes, int]:
        """Return a Set-Cookie value, and when it ends (ms)."""
        lifetime_s = LONG_S if remember else SHORT_S
        expires_s = int(time.time()) + lifetime_s
        told = f"{expires_s}.{secrets.token_urlsafe(12)}"
        value = f"{told}.{self._signature(told)}"
        age = f"; Max-Age={lifetime_s}" if remember else ""
        return _cookie(request, value, age), expires_s * 1000

    def no_cookie(self, request: Request) -> bytes:
        """Return the Set-Cookie value that takes the cookie away."""
        return _cookie(request, "", "; Max-Age=0")

    def _session_end(self, request: Request) -> int:
        """Return when the request's session ends (ms), 0 where there is none."""
        value = _cookies(request).get(COOKIE, "")
        told, _, signature = value.rpartition(".")
        expires = told.partition(".")[0]
        if not signature or not expires.isdigit() or len(expires) > 12:
            return 0
        if not hmac.compare_digest(signature.encode(), self._signature(told).encode()):
            return 0
        return int(expires) * 1000 if int(expires) > time.time() else 0

    def _signature(self, told: str) -> str:
        self.warm_up()
        made = hmac.digest(self._signing, told.encode(), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


def is_same_origin(request: Request) -> bool:
    """Say whether a browser's request comes from a page of this very origin."""
    site = request.text(b"sec-fetch-site")
    if site:
        return site in _SAME
    origin = request.text(b"origin")
    # Every browser that knows neither sends one with a change; who sends none is no browser.
    return bool(origin) and urlsplit(origin).netloc.lower() == request.text(b"host").lower()


def address_of(request: Request) -> str:
    """Return where a request comes from, as far as that can be believed.

    Shape: behind a proxy on this machine, the last address that it has added; else the peer's.
    An IPv6 address counts as its /64: that is what one person has.
    """
    peer = request.client[0] if request.client else ""
    forwarded = request.text(b"x-forwarded-for").rpartition(",")[2].strip()
    try:
        address = _plain_address(peer)
        if address.is_loopback and forwarded:
            address = _plain_address(forwarded)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def _plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address. Raises: ValueError.

    A listener on `::` sees IPv4 clients as ::ffff:a.b.c.d, all of them in one /64.
    """
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _places(request: Request) -> list[tuple[int, int]]:
    """Return where wrong keys are counted, and how many each place has free.

    Shape: the address, and behind a proxy the proxy as well, more patiently: who may write the
    forwarded address himself would have a new one for every guess.
    """
    address, peer = address_of(request), request.client[0] if request.client else ""
    places = [(_hashed(address), FREE_FAILURES)]
    if b"x-forwarded-for" in request.headers and address != peer:
        places.append((_hashed(f"proxy {peer}"), FREE_BEHIND_PROXY))
    return places


def _hashed(address: str) -> int:
    """Return an address as the shared page holds it."""
    return int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "big")


def _presented(request: Request) -> list[str]:
    scheme, _, token = request.text(b"authorization").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (request.text(b"x-api-key"), bearer) if key]


def _cookies(request: Request) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in request.text(b"cookie").split(";"))
    return {name: value for name, _, value in pairs}


def _cookie(request: Request, value: str, more: str) -> bytes:
    secure = "; Secure" if request.text(b"x-forwarded-proto").lower() == "https" else ""
    return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}".encode()


def _foreign() -> Refusal:
    return Refusal(
        "authentication_error", "foreign_origin", "This request came from another page",
        "Use the page of this gateway, or send the admin key as x-api-key", status=403,
    )  # fmt: skip


def _locked(until_ms: int, now_ms: int) -> Refusal:
    wait_s = max(1, -(-(until_ms - now_ms) // 1000))
    return Refusal(
        "rate_limited", "locked_out", "Too many wrong keys from this address",
        f"Wait {wait_s} seconds", retry_after_s=wait_s,
    )  # fmt: skip
