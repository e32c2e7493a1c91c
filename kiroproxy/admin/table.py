"""Every route of the admin API, in the order of the document; dispatch and document use this."""

from kiroproxy.admin import access, bulk, credentials, flows, history, keys, settings, trial
from kiroproxy.admin.routes import Route

ROUTES: tuple[Route, ...] = (
    *access.ROUTES,
    *history.ROUTES,
    *credentials.ROUTES,
    *trial.ROUTES,
    *bulk.ROUTES,
    *flows.ROUTES,
    *keys.ROUTES,
    *settings.ROUTES,
)
