"""One web search, asked of Kiro with a credential of the conversation's.

Rules of this file: a failed search is said to have failed; it is never an empty result, and
never fails the request, for whoever asked can go on without it.

Theory of operation. It goes the way of a stream's try, in small: a lease from the pool, a fresh
token, a report; a refused token or profile is mended once, then another credential is asked,
or the same one again where the fault may pass by itself.

Source: `upstream.dispatch`; BEHAVIOUR.md, "Web search" and "Retries inside the gateway".
"""

import uuid

from kiroproxy._request import Record
from kiroproxy.accounts.pool import Lease
from kiroproxy.errors import GatewayError, Throttled, UpstreamError
from kiroproxy.protocol import websearch
from kiroproxy.protocol.request import Plan
from kiroproxy.protocol.searching import WebSearch
from kiroproxy.server.gateway import Gateway, now_ms
from kiroproxy.upstream import verdict
from kiroproxy.upstream.mending import mended

# Another credential, or another moment, may have better luck; more is not worth a search's wait.
TRIES = 3
PAUSE_S = 0.5  # before the same credential is asked again

Found = websearch.SearchResults | websearch.SearchError


class Lookup:
    """The searches of one request."""

    def __init__(self, gateway: Gateway, plan: Plan, record: Record) -> None:
        self._gateway, self._plan, self._record = gateway, plan, record

    async def found(self, search: WebSearch) -> Found:
        """Return what a search found, its terms applied, or why it failed."""
        found = search.refusal or await self._asked(search.query)
        if isinstance(found, websearch.SearchError):
            self._record.error = f"search:{found.code}"
            self._record.detail = found.detail
            return found
        self._record.searches += 1
        return websearch.filtered(search, found)

    async def _asked(self, query: str) -> Found:
        tried: list[int] = []
        fault: GatewayError | None = None
        for _ in range(TRIES):
            may_pass = isinstance(fault, UpstreamError) and not verdict.condemns(fault)
            if may_pass:
                await self._gateway.dispatcher.sleep(PAUSE_S)
            try:
                return await self._try(query, self._lease(tried, may_pass), tried)
            except UpstreamError as error:
                fault = error
            except GatewayError as error:  # nobody left to ask: the reason before says more
                fault = fault or error
                break
        assert fault is not None, "the loop ends by a return or a fault"
        self._record.note(fault)
        return websearch.failure_of(fault)

    def _lease(self, tried: list[int], may_repeat: bool) -> Lease:
        """Take a credential that was not asked yet, or one again if the fault may pass."""
        try:
            return self._acquire(tried)
        except GatewayError:
            if not may_repeat:
                raise
        return self._acquire([])

    def _acquire(self, exclude: list[int]) -> Lease:
        return self._gateway.pool.acquire(
            model_id=self._plan.model.id,
            conversation=self._plan.conversation_id,
            exclude=exclude,
            now_ms=now_ms(),
        )

    async def _try(self, query: str, lease: Lease, tried: list[int]) -> Found:
        pool = self._gateway.pool
        tried.append(lease.credential.id)
        self._record.tries += 1
        self._record.credential_id = lease.credential.id
        try:
            payload = websearch.mcp_request(query, lambda: str(uuid.uuid4()), now_ms())
            answer = await mended(
                self._gateway.dispatcher,
                lease.credential,
                lambda credential: self._gateway.control.mcp(credential, payload),
            )
        except UpstreamError as error:
            # The search is another service: its haste or its failures say nothing about the
            # conversation, which the same credential is to go on with.
            if verdict.condemns(error) and not isinstance(error, Throttled):
                pool.report(lease, error, now_ms())
            raise
        finally:
            lease.release()
        pool.report(lease, None, now_ms())
        return websearch.parse_mcp(answer)
