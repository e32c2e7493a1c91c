"""The demo: a gateway on the built-in simulator, with an admin key, and traffic if asked for.

Rules of this file: nothing of the operator's own set-up is read or touched, and nothing leaves
the machine. What the page shows is what happened: the traffic is requests like any client's,
sent to the gateway's own address.
"""

import asyncio
import http.client
import itertools
import json
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from kiroproxy import loading, logs, serve
from kiroproxy.config import UpstreamUrls
from kiroproxy.simulator.server import Simulator

PACE_S = 0.03  # between two events: about how fast Kiro writes, so that one sees it stream
CLIENTS = 3  # at once, in --traffic
_PAUSE_S = (0.2, 4.0)

# What the clients of --traffic ask, and of which model; one that does not exist is among them.
_ASKED = (
    ("claude-sonnet-4-5", "Hello!"),
    ("claude-sonnet-4-5", "Count to 40"),
    ("claude-opus-4-5", "What is 1234 * 5678?"),
    ("claude-haiku-4-5", "Who are you?"),
    ("claude-sonnet-4-6", "你好，请从 1 数到 30"),
    ("claude-haiku-4-5", "Thank you"),
    ("claude-opus-4-8", "Explain what a gateway does"),
    ("claude-nonesuch-9", "Is anybody there?"),
)


def run(flags: Mapping[str, object], *, traffic: bool = False) -> int:
    """Serve until a signal. Returns the exit code."""
    key, admin_key = (f"sk-{kind}-{secrets.token_hex(16)}" for kind in ("demo", "admin"))
    with tempfile.TemporaryDirectory(prefix="kiroproxy-demo-") as folder, _Simulation() as kiro:
        credentials = Path(folder, "credentials.json")
        credentials.write_text(json.dumps(kiro.credentials), encoding="utf-8")
        credentials.chmod(0o600)
        chosen = {
            **flags,
            "api_key": key,
            "admin_api_key": admin_key,
            "credentials_path": credentials,
            "upstream": UpstreamUrls(kiro.url, kiro.url, kiro.url, kiro.url),
        }
        settings = loading.load(Path(folder, "config.json"), {}, chosen, required=False)
        logs.setup(settings.log_level)

        def ready(url: str) -> None:
            print(_text(url, key, admin_key), flush=True)
            for number in range(CLIENTS if traffic else 0):
                client = _Client(url, key, number)
                threading.Thread(target=client.run, name=f"traffic {number}", daemon=True).start()

        return serve.run(settings, ready)


def _text(url: str, key: str, admin_key: str) -> str:
    # Thinking and a tool, so that the answer shows both; no quote that a shell would end at.
    body = (
        '{"model": "claude-sonnet-4-5", "max_tokens": 4096, "stream": true, '
        '"thinking": {"type": "enabled", "budget_tokens": 2048}, '
        '"tools": [{"name": "bash", "input_schema": {"type": "object", '
        '"properties": {"command": {"type": "string"}}, "required": ["command"]}}], '
        '"messages": [{"role": "user", "content": "Hello!"}]}'
    )
    return f"""
kiroproxy demo: the answers come from a simulator in this process, not from Kiro.
No account is used and nothing leaves this machine.

  address    {url}
  key        {key}

  web page   {url}/admin
  admin key  {admin_key}

Try it:

  curl -N {url}/v1/messages -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{body}'

Claude Code:

  export ANTHROPIC_BASE_URL={url}
  export ANTHROPIC_API_KEY={key}
"""


class _Client:
    """One client that asks again and again, and now and then leaves before the answer's end."""

    def __init__(self, url: str, key: str, number: int) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._random = random.Random(number)  # noqa: S311 - a mix, no secret
        self._user_agent = ("claude-cli/2.1 (demo)", "anthropic-python/1 (demo)", "curl (demo)")[
            number % 3
        ]

    def run(self) -> None:
        """Ask for ever."""
        for turn in itertools.count():
            try:
                self._ask(*self._random.choice(_ASKED), leaves=turn % 12 == 11)
            except (OSError, http.client.HTTPException):
                time.sleep(1.0)  # it is starting, or stopping
            time.sleep(self._random.uniform(*_PAUSE_S))

    def _ask(self, model: str, text: str, *, leaves: bool) -> None:
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": 2048,
            "stream": self._random.random() < 0.8,
            "messages": [{"role": "user", "content": text}],
        }
        headers = {"x-api-key": self._key, "content-type": "application/json"}
        headers["user-agent"] = self._user_agent
        host, port = self._address.hostname or "127.0.0.1", self._address.port
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            connection.request("POST", "/v1/messages", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read(400 if leaves and answer.status == 200 else None)
        finally:
            connection.close()


class _Simulation:
    """The simulator on a loop and a thread of its own, which end with the process."""

    def __enter__(self) -> "_Simulation":
        self._ready = threading.Event()
        self._fault: BaseException | None = None
        threading.Thread(target=self._run, name="simulator", daemon=True).start()
        self._ready.wait()
        if self._fault is not None:
            raise self._fault
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as fault:
            self._fault = fault
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Simulator(pace_s=PACE_S) as simulator:
            simulator.token_state.add_idc()
            simulator.token_state.add_api_key()
            self.url = simulator.url
            names = ("social", "builder-id", "api-key")
            self.credentials = [
                {**entry, "priority": place, "email": f"{name}@example.com"}
                for place, (name, entry) in enumerate(
                    zip(names, simulator.credentials(), strict=True)
                )
            ]
            self._ready.set()
            await self._end.wait()
