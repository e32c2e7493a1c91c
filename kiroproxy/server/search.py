"""A web search request's way: through Kiro's search tool instead of a conversation.

Rules of this file: a failed search is said to have failed; it is never an empty result, and
never fails the request, for the client's model can go on without it.

Source: protocol.websearch for the events; BEHAVIOUR.md, web search.
"""

import uuid

from kiroproxy.errors import GatewayError, UpstreamError
from kiroproxy.protocol import websearch
from kiroproxy.server.gateway import now_ms
from kiroproxy.server.relay import Relay

# Another credential may have better luck; more than that is not worth a search's wait.
TRIES = 3


class SearchRelay(Relay):
    """One search on its way."""

    async def _work(self) -> bytes:
        search = self._plan.wants_web_search
        assert search is not None, "only searches come here"
        found = search.refusal or await self._found(search)
        await self._target.start()
        if isinstance(found, websearch.SearchError):
            self._record.error = f"search:{found.code}"
            self._record.detail = found.detail
        self._record.stop_reason = "end_turn"
        whole = websearch.events(
            search,
            found,
            self._answer.message_id,
            self._plan.requested_model,
            self._plan.input_tokens,
        )
        # The target's opening has sent its own message_start with the same id and numbers.
        return whole.split(b"\n\n", 1)[1]

    async def _found(
        self, search: websearch.WebSearch
    ) -> websearch.SearchResults | websearch.SearchError:
        tried: list[int] = []
        last: GatewayError | None = None
        while len(tried) < TRIES:
            try:
                return await self._ask(search, tried)
            except UpstreamError as error:
                last = error
            except GatewayError as error:  # nobody left to ask: the reason before says more
                last = last or error
                break
        assert last is not None, "the loop ends by a return or an error"
        self._record.note(last)
        return websearch.failure_of(last)

    async def _ask(
        self, search: websearch.WebSearch, tried: list[int]
    ) -> websearch.SearchResults | websearch.SearchError:
        gateway = self._gateway
        lease = gateway.pool.acquire(model_id=self._plan.model.id, exclude=tried, now_ms=now_ms())
        tried.append(lease.credential.id)
        self._record.tries += 1
        self._record.credential_id = lease.credential.id
        try:
            credential = await gateway.refresher.fresh(lease.credential)
            payload = websearch.mcp_request(search.query, lambda: str(uuid.uuid4()), now_ms())
            answer = await gateway.control.mcp(credential, payload)
        except UpstreamError as error:
            gateway.pool.report(lease, error, now_ms())
            raise
        finally:
            lease.release()
        gateway.pool.report(lease, None, now_ms())
        return websearch.parse_mcp(answer)
