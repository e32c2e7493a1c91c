"""The simulator on its own: `kiroproxy simulate`.

Rules of this file: start, say where and with which credentials, wait for a signal, stop.
"""

import asyncio
import json
import signal

from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState


def accounts() -> TokenState:
    """Make one account of each kind, for trying all ways of signing in."""
    tokens = TokenState()
    tokens.add_social()
    tokens.add_idc()
    tokens.add_api_key()
    return tokens


async def run(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises: OSError — the address cannot be listened on."""
    stopped = asyncio.Event()
    # Named, since a shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Simulator(host=host, port=port, tokens=accounts()) as simulator:
        print(f"Kiro simulator on {simulator.url}")
        print(f'config.json:      "upstream": {json.dumps(simulator.upstream())}')
        print(f"credentials.json: {json.dumps(simulator.credentials())}", flush=True)
        await stopped.wait()
