"""The parts that every request of one worker shares: built at start, closed at the end.

Rules of this file: parts are put together here and nowhere else; what runs in the background
belongs to `Gateway`, which stops it and waits for it.

Theory of operation: three background tasks. One has `upstream.listings` ask Kiro for the models
of every credential, so that names resolve to what the accounts really have; until one has
answered the built-in catalogue stands in. The other looks whether somebody changed the
credentials file (the IDE, another worker, a person) or config.json and takes the change over. The
third cares for idle credentials, in one worker of all: `upstream.keeper`. With several workers
another one watches the shared page for what the others have renewed or read; faults and cooldowns
need no watching, for every choice reads them there.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kiroproxy import logs
from kiroproxy.accounts.balance_file import BalanceFile
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.page import (
    open_cuts,
    open_metrics,
    open_ring,
    private_cuts,
    private_metrics,
    private_ring,
)
from kiroproxy.accounts.pool import Pool
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config
from kiroproxy.errors import ConfigError
from kiroproxy.loading import Loaded, Settings
from kiroproxy.protocol.corrections import Corrections
from kiroproxy.protocol.models import Catalogue
from kiroproxy.server.config_file import ConfigFile
from kiroproxy.server.cuts import Cuts
from kiroproxy.upstream.connection import ConnectionPool
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.dispatch import Dispatcher
from kiroproxy.upstream.keeper import Keeper
from kiroproxy.upstream.listings import Listings
from kiroproxy.upstream.mending import mended
from kiroproxy.upstream.refresh import Refresher
from kiroproxy.upstream.usage import Usage

_log = logging.getLogger(__name__)

MODELS_S = 10.0  # what is due then is asked for: new credentials, old listings
FIRST_LISTING_S = 5.0  # a request for a model nobody knows yet waits that long for the list
FILES_S = 1.0  # two stat() each
WORKERS_S = 0.05  # two loads each; half of what a change may take to reach every worker
WORKERS_RETRY_S = 1.0


class Gateway:
    """One worker's shared parts. Order: start() → requests → aclose()."""

    def __init__(self, config: Config, page: str = "") -> None:
        self.settings = Settings(config)
        self._config_file = ConfigFile(self.settings)
        self._page = page  # names what the workers share; "" = there is one worker
        self.corrections = Corrections()
        self.cuts = Cuts(open_cuts(page, config.workers) if page else private_cuts())
        self.metrics = open_metrics(page, config.workers) if page else private_metrics()
        self._listed: list[dict[str, Any]] = []  # what Kiro said last
        self.catalogue = _catalogue([], config)
        self.settings.on_change(self._reconfigure)
        self._background: list[asyncio.Task[None]] = []

    @property
    def config(self) -> Config:
        """The configuration of the moment; a request takes it once and keeps it."""
        return self.settings.current

    async def start(self) -> None:
        """Open everything. Raises: ConfigError — the credentials file cannot be read."""
        await self._look_at_config()  # a worker that replaces a dead one knows an old one
        config = self.settings
        self.store = Store(self.config.credentials_path, config)
        credentials = await asyncio.to_thread(self.store.load)
        for notice in (*self.store.warnings, *map(str, self.store.faults)):
            _log.warning("%s", notice)
        self._ring = open_ring(self._page) if self._page else private_ring()
        self.metrics.claim(self._ring.row)
        self.pool = Pool(credentials, self.config.load_balancing_mode, self._ring)
        config.on_change(self._choose_anew)
        self.control = ControlPlane(config)
        self.refresher = Refresher(
            self.store,
            self.control,
            config,
            on_renewed=self.pool.replace,
            on_landed=self.metrics.refreshed,
        )
        self.connections = ConnectionPool(config)
        self.dispatcher = Dispatcher(
            config, self.pool, self.refresher, self.connections, self.control
        )
        self.usage = Usage(
            self.pool,
            self.dispatcher.ready,
            self.control,
            BalanceFile(self.config.credentials_path),
            now_ms,
        )
        self.listings = Listings(self.pool, self._listing, now_ms, on_news=self.offer)
        self.pool.on_exhausted = self.usage.ask_after_refusal
        await self.usage.apply_known()
        keeper = Keeper(
            self.pool, self.refresher, self.usage, self.store.duty_lock(), config, now_ms
        )
        self._background = [
            asyncio.create_task(keeper.run()),
            asyncio.create_task(_forever(self._look_at_models, MODELS_S, MODELS_S)),
            asyncio.create_task(_forever(self._follow_files, FILES_S, FILES_S)),
        ]
        if self._page:
            follow = _forever(self._follow_workers, WORKERS_S, WORKERS_RETRY_S)
            self._background.append(asyncio.create_task(follow))

    async def aclose(self) -> None:
        """Close everything, in the order of use."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.listings.aclose()
        await self.usage.aclose()
        await self.refresher.aclose()
        await self.connections.aclose()
        await self.control.aclose()
        self.metrics.leave()
        self._ring.leave()

    def workers(self) -> list[int]:
        """Return the pids of all workers."""
        return self._ring.workers()

    def credential_counts(self) -> tuple[int, int]:
        """Return how many credentials there are, and how many could serve now."""
        return self.pool.counts(now_ms())

    async def first_listing(self) -> bool:
        """Wait until Kiro was asked for its models once. False: it had been already."""
        if self.listings.were_asked.is_set():
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.listings.were_asked.wait(), FIRST_LISTING_S)
        return True

    def offer(self) -> Catalogue:
        """Bring the catalogue up to what the enabled credentials can do, and return it."""
        listed = self.listings.rows()
        if listed is not self._listed:
            self._listed = listed
            self.catalogue = _catalogue(listed, self.config)
        return self.catalogue

    async def _listing(self, credential: Credential) -> list[dict[str, Any]]:
        return await mended(self.dispatcher, credential, self.control.list_models)

    async def _look_at_models(self) -> bool:
        done = await self.listings.look()
        self.offer()
        return done

    # -- changes from outside ----------------------------------------------------------------

    async def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Write settings to config.json, by key, and take them over; the other workers follow.

        Raises: ConfigError — refused, or not written; then nothing has changed.
        """
        self._take_over(await asyncio.to_thread(self._config_file.edit, changes))
        await self._reread_credentials()
        self.pool.announce()

    async def _follow_files(self) -> bool:
        if await self._look_at_config():
            await self._reread_credentials()  # regions, proxy and limits may come from it
            self.pool.announce()
        return await self._follow_file()

    async def _look_at_config(self) -> bool:
        """Take over an edit of config.json. Returns whether anything is different now."""
        try:
            loaded = await asyncio.to_thread(self._config_file.look)
        except ConfigError as fault:
            _log.warning("%s", fault)
            return False
        return loaded is not None and self._take_over(loaded)

    def _take_over(self, loaded: Loaded) -> bool:
        for fault in loaded.faults:
            _log.error("the edited settings are refused, the old ones stay: %s", fault)
        if loaded.faults:
            return False
        logs.keep_secret(*loaded.config.secrets)
        changed, waiting = self.settings.take_over(loaded.config)
        for warning in loaded.warnings if changed or waiting else ():
            _log.warning("%s", warning)
        for key in waiting:
            _log.warning("%s: %s has changed and needs a restart", loaded.config.path, key)
        if changed:
            _log.info("settings taken over", extra={"fields": {"keys": ",".join(changed)}})
        return bool(changed)

    def _reconfigure(self, before: Config) -> None:
        if self.config.log_level != before.log_level:
            logs.set_level(self.config.log_level)
        names = "model_aliases", "model_overrides"
        if any(getattr(self.config, name) != getattr(before, name) for name in names):
            self.catalogue = _catalogue(self._listed, self.config)

    def _choose_anew(self, before: Config) -> None:
        self.pool.mode = self.config.load_balancing_mode

    async def _reread_credentials(self) -> None:
        try:
            self.pool.sync(await asyncio.to_thread(self.store.load))
            self._tell_faults()
            await self.usage.apply_known()  # what has to be kept of a plan may have changed
        except (ConfigError, OSError) as fault:
            _log.warning("%s", fault)

    async def _follow_file(self) -> bool:
        try:
            changed = await asyncio.to_thread(self._changed_credentials)
            if changed is not None:
                self.pool.sync(changed)
                _log.info("the credentials file was changed and read again")
                self._tell_faults()
        except (ConfigError, OSError) as fault:  # half-written: the next look finds it whole
            _log.warning("%s", fault)
        return True

    def _tell_faults(self) -> None:
        for fault in self.store.faults:
            _log.error("the edited entry is refused, its old values stay: %s", fault)

    async def _follow_workers(self) -> bool:
        """Take over tokens that other workers renewed, and file changes they noticed first."""
        try:
            for id, generation in self.pool.stale():
                renewed = await asyncio.to_thread(self.store.reload_one, id)
                if renewed is not None:  # else it was removed, which is the file's news to tell
                    self.pool.adopt(renewed, generation)
                    _log.debug("credential %s: took over what another worker renewed", renewed.name)
        except (ConfigError, OSError) as fault:
            _log.warning("%s", fault)
            return False
        if self.pool.is_outdated():
            await self._follow_files()
        return True

    def _changed_credentials(self) -> list[Credential] | None:
        """Return what the file holds if that is news. Blocks."""
        path = self.config.credentials_path
        # Gone or empty: it is being replaced, or was lost; what it held is still good.
        if not path.exists() or not path.stat().st_size or not self.store.has_changed():
            return None
        return self.store.load()


async def _forever(work: Callable[[], Awaitable[bool]], every_s: float, retry_s: float) -> None:
    """Repeat some background work; a bug in it must not end it, nor anything else."""
    while True:
        done = False
        try:
            done = await work()
        except Exception:
            _log.exception("background work failed")
        await asyncio.sleep(every_s if done else retry_s)


def _catalogue(listed: list[dict[str, Any]], config: Config) -> Catalogue:
    return Catalogue.from_live(listed, config.model_aliases, config.model_overrides)


def now_ms() -> int:
    """Return the time as credentials count it."""
    return time.time_ns() // 1_000_000
