"""The API document against the API: what it says comes back, what it forbids is refused.

Theory of operation. Schemathesis makes requests of the document, right ones and wrong ones, and
compares each answer with it. Streams that never end are left to the direct tests.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.console import ADMIN_KEY, Console, console

from kiroproxy.admin.routes import Route
from kiroproxy.admin.table import ROUTES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own dependencies' deprecations
    import schemathesis
    from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
]
EXAMPLES = 8
ENDLESS = {"/live", "/requests/follow"}
TESTED = [route for route in ROUTES if route.path not in ENDLESS]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Console]:
    async with console(tmp_path) as made:
        await made.send("POST", "/keys", {"name": "app"}, 201)
        await made.ask()
        yield made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("route", TESTED, ids=lambda route: f"{route.method} {route.path}")
async def test_the_document_and_the_api_agree(desk: Console, route: Route) -> None:
    await asyncio.to_thread(agree, desk.url, route)


def agree(url: str, route: Route) -> None:
    headers = {"x-api-key": ADMIN_KEY}
    schema: Any = schemathesis.openapi.from_url(f"{url}/api/admin/openapi.json", headers=headers)
    operation = schema[route.path][route.method]

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    def one(case: Any) -> None:
        if route.path == "/session":
            case.headers.pop("x-api-key", None)
        answer = case.call(headers=headers, timeout=10)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=CHECKS)

    one()


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    from kiroproxy.admin.openapi import document

    paths = document(ROUTES)["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert told == {(route.method, route.path) for route in ROUTES}
    ids = [each["operationId"] for methods in paths.values() for each in methods.values()]
    assert len(ids) == len(set(ids))
