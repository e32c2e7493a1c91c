"""The simulator with answers that a soak needs, as a process: `python -m benchmarks.soak.kiro`.

`[soak: flood]` in a prompt is an answer of 3 MB as fast as it is taken. What else a prompt may ask
for is the simulator's own (`[simulate: reset]`). Prints its address and credentials as one JSON.

Rules of this file: it may not grow either, so it forgets the requests it has answered.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
from pathlib import Path

from kiroproxy.simulator import Script, Simulator, TokenState, answer, magic
from kiroproxy.simulator.demo import answer_to
from kiroproxy.simulator.request import Request
from kiroproxy.simulator.script import Text

FLOOD = "[soak: flood]"
PACE_S = 0.01
LIFETIME_S = 240  # of a token: short enough to see each renewed several times
FORGET_S = 5.0


def choose(request: Request) -> Script:
    """Return what to answer."""
    if FLOOD in request.prompt:
        return answer(Text("x" * 3_000_000, size=8000))
    return magic.find(request) or answer_to(request, PACE_S)


async def serve(chain: Path | None, key: Path | None) -> None:
    """Serve until SIGTERM."""
    tls = None
    if chain:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)
    tokens = TokenState(lifetime_s=LIFETIME_S)
    for _ in range(4):
        tokens.add_social()
        tokens.add_idc()
    tokens.add_api_key()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Simulator(choose, tls=tls, tokens=tokens) as simulator:
        told = {"url": simulator.url, "port": simulator.port}
        print(json.dumps(told | {"credentials": simulator.credentials()}), flush=True)
        while not stopped.is_set():
            simulator.requests.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), FORGET_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CHAIN", "KEY"), default=(None, None))
    asyncio.run(serve(*parser.parse_args().tls))
