"""Reasoning signatures that only the simulator can make, and that bind the text they sign.

Rules of this file: no state. The key is a constant, so a conversation begun before a restart
goes on after it. It protects nothing: it tells a gateway that altered or invented reasoning.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

_KEY: Final = b"kiroproxy simulator: no secret"
_MARK: Final = b"SIMULATED"
_ROUNDS: Final = 6  # makes it about as long as a real one


def sign(text: str) -> str:
    """Return the signature of a reasoning text."""
    raw = text.encode("utf-8", "surrogatepass")
    parts = (hmac.digest(_KEY, bytes([n]) + raw, hashlib.sha256) for n in range(_ROUNDS))
    return base64.b64encode(_MARK + b"".join(parts)).decode()


def is_genuine(signature: str, text: str) -> bool:
    """Tell whether `signature` was made here for exactly this text."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw.startswith(_MARK) and hmac.compare_digest(signature.encode(), sign(text).encode())
