"""The admin API's account of itself, made of the table of routes.

Rules of this file: nothing about a single route; whatever is said here follows from the table.

Source: OpenAPI 3.1.
"""

import re
from collections.abc import Sequence
from typing import Any

from kiroproxy import __version__
from kiroproxy.admin.routes import Route

_REASONS = {
    400: "The request cannot be understood or done; `code` says why, `remedy` what to do",
    401: "No key or session, or a wrong one",
    403: "The request came from a foreign page, or the key given again is wrong",
    404: "There is no such thing",
    405: "The path has other methods",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not JSON by its own headers",
    429: "Too many wrong keys, or too much at once; Retry-After says how long",
    500: "A fault of the gateway; its log has more",
    502: "Kiro refused, or could not be reached",
    503: "The file of records cannot be used now",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "code", "remedy"],
            "properties": {
                "type": {
                    "enum": [
                        *("not_found", "api_error", "internal_error", "invalid_request"),
                        *("authentication_error", "rate_limited"),
                    ]
                },
                "message": {"type": "string"},
                "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
                "remedy": {"type": "string"},
            },
        }
    },
}

# One event of a stream; its data is JSON.
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kiroproxy admin API",
            "version": __version__,
            "description": "Looking at a running gateway, and changing it. Times are RFC 3339 in "
            "UTC; event streams send a comment every 15 s of quiet.",
        },
        "servers": [{"url": "/api/admin"}],
        "security": [{"key": []}, {"bearer": []}, {"session": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "kiroproxy_session"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}.{route.handler.__name__}",
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route),
    }
    parameters = [_path_parameter(name) for name in re.findall(r"\{(\w+)\}", route.path)]
    for name, schema in route.query.items():
        parameters.append({"name": name, "in": "query", "schema": dict(schema)})
    if parameters:
        found["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": dict(route.body)}}
        found["requestBody"] = {"required": route.body_required, "content": content}
    if route.open:
        found["security"] = []
    return found


def _path_parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1, "pattern": r"^[^/]+$"}
    if name == "id":
        schema = {"type": "integer", "minimum": 0, "maximum": 2**48}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _responses(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {str(route.status): _success(route)}
    statuses = [400, 401, 405, 429, 500, 503, *route.errors]
    if "{" in route.path:
        statuses.append(404)
    if route.method not in ("GET", "HEAD"):
        statuses.append(403)
    if route.body is not None:
        statuses += [408, 413, 415]
    for status in sorted(set(statuses)):
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        found[str(status)] = {"description": _REASONS[status], "content": content}
    return found


def _success(route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {"description": route.summary}
    content = {}
    if route.streams:
        content["text/event-stream"] = {"schema": _EVENT}
    if route.answer is not None:
        content["application/json"] = {"schema": dict(route.answer)}
    elif route.streams and "dryRun" in str(route.body):
        content["application/json"] = {"schema": {"type": "object"}}
    if content:
        told["content"] = content
    return told
