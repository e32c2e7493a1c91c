"""The simulator on its own: `kiroproxy simulate`.

Rules of this file: start, say where and with which credentials, wait, stop.
"""

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState


def accounts() -> TokenState:
    """Make one account of each kind, for trying all ways of signing in."""
    tokens = TokenState()
    tokens.add_social()
    tokens.add_idc()
    tokens.add_api_key()
    return tokens


async def run(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    demo: bool = True,
    tls: ssl.SSLContext | None = None,
    tokens: TokenState | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled.

    Shape: `ready` is called once with the URL, when the port is open. `demo=False` answers at
    once instead of at a reading pace.
    """
    pace_s = None if demo else 0.0
    sim = Simulator(tls=tls, tokens=tokens or accounts(), host=host, port=port, pace_s=pace_s)
    async with sim:
        if ready is not None:
            ready(sim.url)
        await asyncio.Event().wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run from a command line, until interrupted."""
    parser = argparse.ArgumentParser("kiroproxy simulate", description="Run the Kiro simulator.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--fast", action="store_true", help="answer at once, not at reading pace")
    options = parser.parse_args(argv)
    tokens = accounts()

    def ready(url: str) -> None:
        names = ("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl")
        told = {"upstream": dict.fromkeys(names, url), "credentials": tokens.credentials()}
        sys.stdout.write(f"Kiro simulator on {url}\n{json.dumps(told, indent=2)}\n")
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):
        asyncio.run(
            run(options.host, options.port, demo=not options.fast, tokens=tokens, ready=ready)
        )
    return 0
