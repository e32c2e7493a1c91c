"""A real gateway process on its own two files."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from support import plain
from support.sse import judge

KEY = "sk-end-to-end"
ADDRESS = re.compile(r"kiroproxy listens on (http://\S+:(\d+))")


class Gateway:
    """One `kiroproxy` process on its own two files.

    Order: `await start()`, then `url`, then `await stop()`; `log` may be read at any time.
    """

    def __init__(self, folder: Path, config: dict[str, Any], credentials: Any) -> None:
        # Its own choice at the first start, so that no two tests can want the same.
        self.folder, self.port = folder, 0
        self.url, self.key = "", KEY
        self.credentials_path = folder / "credentials.json"
        (folder / "config.json").write_text(json.dumps({"apiKey": KEY} | config))
        self.credentials_path.write_text(json.dumps(credentials))
        self.credentials_path.chmod(0o600)
        self._log = folder / "gateway.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *flags: str, environ: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "kiroproxy", "-c", str(self.folder / "config.json")]
        command += ["--credentials", str(self.credentials_path), "--port", str(self.port), *flags]
        told = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
                | (environ or {}),
            )
        await self._listens(told)
        await self._answers()

    async def _listens(self, told: int) -> None:
        """Wait for the address in what it says from there on in its log."""
        while not (said := ADDRESS.search(self._log.read_bytes()[told:].decode())):
            assert self.process and self.process.returncode is None, self.log
            await asyncio.sleep(0.02)
        self.url, self.port = said[1], int(said[2])

    async def _answers(self) -> None:
        async with plain.client() as client:
            while True:
                assert self.process and self.process.returncode is None, self.log
                try:
                    answer = await client.get(f"{self.url}/health", timeout=1)
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code == 200, answer.text
                return

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def credentials(self) -> Any:
        return json.loads(self.credentials_path.read_text())

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    async def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:  # it never came to start
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            return await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise

    def client(self) -> httpx.AsyncClient:
        """Make a plain HTTP client with the right key, whose streams are read strictly."""
        return plain.client(
            self.url,
            headers={"x-api-key": self.key},
            timeout=20,
            event_hooks={"response": [judge]},
        )
