"""The path Kiro does not have: steering the simulator from another process.

    PUT    /_simulator/script[?route=generate]   a script or a list: replaces the route's queue
    GET    /_simulator/requests[?route=…]        what came in so far; DELETE forgets it
    GET    /_simulator/credentials               credentials.json entries with live tokens
    POST   /_simulator/release/{name}            let answers at Hold(name) go on
    POST   /_simulator/expire                    every access token is invalid from now on

Rules of this file: no authentication, since the simulator listens on loopback and guards nothing.
"""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson

from kiroproxy.simulator.connection import Connection, Message
from kiroproxy.simulator.script import BadScript, from_json

if TYPE_CHECKING:
    from kiroproxy.simulator.server import Simulator

PREFIX: Final = b"/_simulator/"


async def serve(sim: "Simulator", message: Message, connection: Connection) -> None:
    """Answer one admin call."""
    url = urlsplit(message.target.decode("latin-1"))
    route = parse_qs(url.query).get("route", [""])[0]
    status, answer = _answer(sim, message, url.path.removeprefix(PREFIX.decode()), route)
    body = orjson.dumps(answer)
    await connection.send_head(status, [("content-type", "application/json")], len(body))
    await connection.send_body(body)


def _answer(sim: "Simulator", message: Message, path: str, route: str) -> tuple[int, Any]:
    match (message.method, *path.split("/")):
        case ("PUT", "script"):
            return _put_script(sim, message.body, route or "generate")
        case ("GET", "requests"):
            chosen = sim.of(route) if route else sim.requests
            return 200, [request.summary() for request in chosen]
        case ("DELETE", "requests"):
            sim.requests.clear()
            return 200, {}
        case ("GET", "credentials"):
            return 200, sim.credentials()
        case ("POST", "release", name):
            sim.release(name)
            return 200, {}
        case ("POST", "expire"):
            sim.tokens.expire_all()
            return 200, {}
    return 404, {"message": "no such admin path"}


def _put_script(sim: "Simulator", body: bytes, route: str) -> tuple[int, Any]:
    try:
        told = orjson.loads(body)
        scripts = [from_json(entry) for entry in (told if isinstance(told, list) else [told])]
    except (orjson.JSONDecodeError, BadScript) as error:
        return 400, {"message": str(error)}
    sim.queues[route].clear()
    sim.enqueue(*scripts, route=route)
    return 200, {"queued": len(scripts)}
