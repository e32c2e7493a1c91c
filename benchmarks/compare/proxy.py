"""A plain Python reverse proxy: Starlette in front, httpx behind, bytes passed as they come.

What a Python gateway costs before it translates anything; UPSTREAM names the other side.

Run: UPSTREAM=http://127.0.0.1:9100 uvicorn --no-access-log benchmarks.compare.proxy:app
"""

import os
import ssl

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

# httpx's own defaults (100 connections, 5 s) would refuse the load instead of carrying it.
client = httpx.AsyncClient(
    base_url=os.environ["UPSTREAM"],
    verify=ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE")),
    timeout=None,
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
)


async def forward(request: Request) -> StreamingResponse:
    """Pass one request on and stream its answer back."""
    content = await request.body()
    headers = {"content-type": request.headers.get("content-type", "application/json")}
    outgoing = client.build_request("POST", request.url.path, content=content, headers=headers)
    answer = await client.send(outgoing, stream=True)
    return StreamingResponse(
        answer.aiter_raw(),
        status_code=answer.status_code,
        headers={"content-type": answer.headers["content-type"]},
        background=BackgroundTask(answer.aclose),
    )


app = Starlette(routes=[Route("/{path:path}", forward, methods=["POST"])])
