"""A strict stand-in for Kiro: imports nothing else of this package.

    async with Simulator(script=answer("Hello")) as sim:
        ...  # sim.url, sim.upstream(), sim.credentials(), sim.requests

`frames` writes and reads event-stream frames, `script` describes answers, `validation` refuses
what Kiro refuses, `tokens` issues and rotates tokens, `demo` answers when no script does,
`magic` lists the faults a prompt can ask for, and `serve` runs it alone.
"""

from kiroproxy.simulator.script import Script, answer, refuse
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

__all__ = ["Script", "Simulator", "TokenState", "answer", "refuse"]
