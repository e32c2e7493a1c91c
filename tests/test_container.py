"""The container's files, as far as they can be checked without an engine."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.loading import examine

ROOT = Path(__file__).parent.parent


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    last = max(n for n, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def argument(word: str) -> str:
    (value,) = [rest for name, rest in final_stage() if name == word]
    return value


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in argument("ENV").split())


def health_command() -> list[str]:
    command: list[str] = json.loads(argument("HEALTHCHECK").partition("CMD ")[2])
    return command


def ignored(path: str) -> bool:
    """Apply .dockerignore as Docker does: the last matching line decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if not pattern or pattern.startswith("#"):
            continue
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        names = [Path(parent).name for parent in parents] if "**/" in line else []
        if any(fnmatch(name, pattern) for name in [*parents[:-1], *names] if name != "."):
            verdict = not line.startswith("!")
    return verdict


# -- the image ---------------------------------------------------------------------------


def test_compiler_and_node_stay_in_the_first_stages() -> None:
    stages = [rest for word, rest in instructions() if word == "FROM"]
    assert [stage.partition(" AS ")[2] for stage in stages] == ["page", "build", ""]
    assert not any("gcc" in rest or "npm" in rest for _, rest in final_stage())
    copies = [rest for word, rest in final_stage() if word == "COPY"]
    assert copies == ["--from=build /opt/kiroproxy /opt/kiroproxy"]


def test_process_is_not_root_and_receives_the_signals() -> None:
    assert argument("USER") == "kiroproxy"
    assert json.loads(argument("ENTRYPOINT")) == ["kiroproxy"]
    words = [word for word, _ in final_stage()]
    assert not any(word == "RUN" for word in words[words.index("USER") :])


def test_installed_command_exists_in_the_project() -> None:
    assert 'kiroproxy = "kiroproxy.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_image_listens_where_it_says_and_reads_its_volume(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"apiKey": "k", "host": "127.0.0.1", "port": 1}')
    found = examine(tmp_path / "config.json", environment(), {})
    assert found.faults == ()
    assert (found.config.host, found.config.port) == ("0.0.0.0", int(argument("EXPOSE")))
    assert argument("WORKDIR") == argument("VOLUME") == "/data"


def test_build_reads_only_files_that_exist_and_reach_it() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    sources = [name for names in copied for name in names if not name.startswith("-")]
    for name in sources:
        if name.startswith("/"):
            continue  # from the first stage
        assert (ROOT / name).exists(), name
        assert not ignored(name), name


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "credentials.json",
        "data/credentials.json",
        ".git/config",
        ".venv/bin/python",
        "tests/test_container.py",
        "admin-ui/node_modules/react/index.js",
        "kiroproxy/server/static/index.html",
        "kiroproxy/_codec.c",
        "kiroproxy/_codec.cpython-312-x86_64-linux-gnu.so",
        "kiroproxy/protocol/__pycache__/tokens.cpython-312.pyc",
    ],
)
def test_secrets_and_local_builds_never_reach_the_build(path: str) -> None:
    assert ignored(path)


def test_every_source_the_wheel_needs_reaches_the_build() -> None:
    for pattern in ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.h", "py.typed"):
        for path in (ROOT / "kiroproxy").rglob(pattern):
            assert not ignored(str(path.relative_to(ROOT))), path
    for name in ("package-lock.json", "vite.config.ts", "src/main.tsx", "public/theme.js"):
        assert not ignored(f"admin-ui/{name}"), name


# -- the health check --------------------------------------------------------------------


@contextmanager
def serving(status: int) -> Iterator[int]:
    """Serve one status on /health only; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def exit_code_of_health_check(port: int) -> int:
    program, *arguments = health_command()
    assert program == "python"
    variables = os.environ | environment() | {"KIROPROXY_PORT": str(port)}
    # A proxy for everything else must not be asked for this.
    variables |= {"PATH": os.environ["PATH"], "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *arguments], env=variables, stderr=subprocess.DEVNULL, check=False
    ).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (500, False)])
def test_health_check_follows_the_status_of_health(status: int, healthy: bool) -> None:
    with serving(status) as port:
        assert (exit_code_of_health_check(port) == 0) is healthy


def test_health_check_fails_where_nobody_listens() -> None:
    with serving(200) as port:
        pass
    assert exit_code_of_health_check(port) != 0


# -- compose -----------------------------------------------------------------------------


def compose() -> dict[str, str]:
    """Return the service's settings as text by key: enough for flat, known lines."""
    text = (ROOT / "compose.yaml").read_text().split("  kiroproxy:\n")[1]
    plain = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    parts = re.split(r"^    (\w+):", plain, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def test_service_is_published_to_this_machine_only() -> None:
    assert compose()["ports"] == f'- "127.0.0.1:8080:{argument("EXPOSE")}"'


def test_service_can_write_nothing_but_its_data() -> None:
    service = compose()
    assert service["read_only"] == "true"
    assert service["volumes"] == f"- ./data:{argument('VOLUME')}"
    assert service["cap_drop"] == "- ALL"
    assert service["security_opt"] == "- no-new-privileges:true"


def test_running_answers_get_their_time_before_the_service_is_killed() -> None:
    service = compose()
    (drain,) = re.findall(r'KIROPROXY_DRAIN_TIMEOUT: "(\d+)"', service["environment"])
    minutes = int(service["stop_grace_period"].removesuffix("m"))
    assert int(drain) < minutes * 60
