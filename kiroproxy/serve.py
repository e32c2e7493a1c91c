"""From a checked configuration to a running gateway: socket, event loop, workers, drain.

Rules of this file: the socket is bound before anything else, so a taken port is the first
thing said and port 0 is known before a worker starts; workers are spawned, so everything
they are given can be pickled.

Theory of operation: one worker runs uvicorn in this process. Several share one bound socket
and one page of memory, whose name they are given, under uvicorn's supervisor. It restarts a
dead worker, after which we take back the leases that one held. SIGTERM closes the listener and
lets running answers end, at most `drainTimeout`; a second signal ends at once.
"""

import functools
import gc
import logging
import multiprocessing
import multiprocessing.process
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from kiroproxy import logs
from kiroproxy._splice import keep_freed
from kiroproxy.accounts.page import SharedPage
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError
from kiroproxy.server.app import App, MakeMount, create
from kiroproxy.server.asgi import Limits, Protocol, ServerConfig

_log = logging.getLogger(__name__)

BACKLOG = 4096
# Longer than the pools of the SDKs keep a connection (5 s) and than most proxies in between
# wait: a server that closes first makes clients hit a closed connection.
KEEP_ALIVE_S = 75
HEAD_TIMEOUT_S = 10.0  # uvicorn's own issue list names it as the usual figure
SIGNAL_POLL_S = 0.2
# What the backstop of the protocol gives a body beyond the application's own limit.
BODY_GRACE_S = 5.0
# Of memory that a request of some hundred KB takes and frees, four times over.
KEPT_BYTES = 8 * 1024 * 1024
OWN_BYTES = 2 * 1024 * 1024
YOUNG_OBJECTS = 10_000  # containers made and kept since the collector last looked; 700 is Python's


class Server(uvicorn.Server):
    """uvicorn's server: says when it is up, and ends at once on any second signal."""

    def __init__(self, config: ServerConfig, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the address when the application is up, not before."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say what is being waited for, then drain."""
        running = len(self.server_state.tasks)
        drain_s = self.config.timeout_graceful_shutdown
        _log.info("stopping", extra={"fields": {"running": running, "drain_s": drain_s}})
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first SIGINT or SIGTERM."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)


class Supervisor(Multiprocess):
    """uvicorn's supervisor: clears up after a dead worker, passes a second signal on."""

    def __init__(
        self, config: ServerConfig, sockets: list[socket.socket], page: SharedPage
    ) -> None:
        super().__init__(config, sockets)
        self._page = page

    def keep_subprocess_alive(self) -> None:
        """Replace a worker that died, then take back what it held."""
        super().keep_subprocess_alive()
        for pid in self._page.sweep():
            _log.warning(
                "a worker died; its leases were taken back", extra={"fields": {"pid": pid}}
            )

    def join_all(self) -> None:
        """Wait for the workers; a signal meanwhile ends their waiting."""
        for worker in self.processes:
            while worker.process.is_alive():
                worker.process.join(SIGNAL_POLL_S)
                if self.signal_queue:
                    self.signal_queue.clear()
                    self._hurry()

    def _hurry(self) -> None:
        for worker in self.processes:
            if worker.process.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGINT)  # what uvicorn takes for "now"


def run(config: Config, ready: Callable[[str], None] | None = None) -> int:
    """Serve until a signal. Returns the exit code.

    Shape: `ready` gets the base URL once requests are accepted; the default prints it.
    Raises: ConfigError — the address cannot be listened on.
    """
    listener = bind(config.host, config.port)
    up = functools.partial(ready or announce, base_url(config.host, listener))
    # uvicorn raises the signal again after the drain; to be stopped is a success.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    try:
        if config.workers > 1:
            _supervise(config, listener, up)
            return 0
        _quiet_uvicorn(config.log_level)
        server = Server(server_config(config, functools.partial(worker, config)), up)
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 0
    finally:
        listener.close()
    return 0 if server.started else 1


def _supervise(config: Config, listener: socket.socket, up: Callable[[], None]) -> None:
    """Run several workers on one socket and one page. Raises: ConfigError."""
    try:
        page = SharedPage(config.workers)
    except OSError as error:
        raise ConfigError(
            f"needs shared memory that cannot be had ({error.strerror or error})",
            key="workers",
            remedy="Make room in /dev/shm, or set workers to 1",
        ) from error
    options = server_config(config, functools.partial(worker, config, page.path))
    try:
        up()  # the kernel queues connections until the workers are there
        Supervisor(options, [listener], page).run()
    finally:
        page.close()


def _quiet_uvicorn(level: str) -> None:
    """Leave out uvicorn's account of its own start and stop; its warnings stay."""
    if level != "debug":
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def worker(config: Config, page: str = "") -> App:
    """Build one worker's application, in its own process."""
    logs.setup(config.log_level)
    logs.keep_secret(*config.secrets)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        threading.Thread(target=_outlive, args=(supervisor,), daemon=True).start()
    app = create(config, page, _mount(config))
    _calm_collector()
    keep_freed(KEPT_BYTES, OWN_BYTES)
    return app


def _calm_collector() -> None:
    """Have cyclic garbage looked for less often: a request makes next to none.

    What exists by now stays, so it need not be looked through again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _mount(config: Config) -> MakeMount | None:
    """Return what answers for the admin API; without an admin key it is not even read."""
    if not config.admin_api_key:
        return None
    from kiroproxy.admin.app import Admin

    return Admin


def _outlive(supervisor: multiprocessing.process.BaseProcess) -> None:
    """Drain and end when the supervisor is gone: nobody else would ever stop this worker."""
    supervisor.join()
    _log.warning("the supervisor is gone; this worker drains and ends")
    os.kill(os.getpid(), signal.SIGTERM)


def _is_news(record: logging.LogRecord) -> bool:
    # Our protocol says the same as "refused", with the id that the client was told.
    return record.msg != "Invalid HTTP request received."


def server_config(config: Config, factory: Callable[[], App]) -> ServerConfig:
    """Return how uvicorn runs us."""
    return ServerConfig(
        factory,
        limits=Limits(
            head_timeout_s=min(HEAD_TIMEOUT_S, config.receive_timeout_s),
            body_timeout_s=config.receive_timeout_s + BODY_GRACE_S,
        ),
        factory=True,
        host=config.host,
        port=config.port,
        workers=config.workers,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here depends on the client's address
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(config.drain_timeout_s),
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises: ConfigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name with both kinds of address means the one every client tries: IPv4.
        family, kind, protocol, _, address = min(found, key=lambda f: f[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror or error})",
            key="host, port",
            remedy="Choose another address or port, or stop what uses it",
        ) from error
    listener.set_inheritable(True)
    return listener


def base_url(host: str, listener: socket.socket) -> str:
    """Return the URL a client on this machine uses."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host != "::" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(url: str) -> None:
    """Say where we are, on standard output and at once."""
    print(f"kiroproxy listens on {url}", file=sys.stdout, flush=True)
