"""Conversation ids: the same client session and the same turn always get the same ones.

Rules of this file: no randomness; the caller supplies the id for a conversation that says
nothing about itself. Kiro's prompt caches and credential affinity both follow these ids.

Source: `conversationId` and `agentContinuationId` as Kiro's own clients use them: one for the
session, one for the tool rounds of one user prompt; Claude Code's `metadata.user_id`.
"""

import re
import uuid
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson

from kiroproxy._json import write
from kiroproxy._plain import is_uuid, uuid_named

_SPACE = uuid.UUID("6b1f0a52-3b67-5c0e-9c55-3f8d8a4c2d10")  # ours, fixed for ever
SPACE = _SPACE.bytes
_SESSION = re.compile(r"_session_(.+)$", re.DOTALL)


def conversation_id(body: dict[str, Any], session_id: str, ids: Callable[[], str]) -> str:
    """Name the conversation by the client's session, else by how it began, else by `ids`."""
    if named_id := by_session(body, session_id):
        return named_id
    user_id = _user_id(body)
    opening = next((m for m in body["messages"] if m["role"] == "user" and m.get("content")), None)
    if opening is None:
        return ids()
    seed = sha256()
    for part in (user_id, body.get("system"), opening["content"]):
        seed.update(write(part))  # it may hold images: other threads run meanwhile
    return named(seed.hexdigest())


def by_session(body: dict[str, Any], session_id: str) -> str:
    """Name the conversation by the client's session; "" where the client names none."""
    session = _session(_user_id(body)) or session_id
    return _as_uuid(session) if session else ""


def continuation_id(conversation: str, messages: list[dict[str, Any]]) -> str:
    """Name the user turn: constant while only tool results are added to it."""
    prompts = sum(message["role"] == "user" and not _has_results(message) for message in messages)
    return numbered(conversation, prompts)


def numbered(conversation: str, prompts: int) -> str:
    """Name the turn of a conversation by how many prompts of the user's it has."""
    return named(f"{conversation}/{prompts}")


def _has_results(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _user_id(body: dict[str, Any]) -> str:
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    return user_id if isinstance(user_id, str) else ""


def _session(user_id: str) -> str:
    if user_id.startswith("{"):
        try:
            session = orjson.loads(user_id).get("session_id")
        except orjson.JSONDecodeError:
            return ""
        return session if isinstance(session, str) else ""
    match = _SESSION.search(user_id)
    return match[1] if match else ""


def _as_uuid(session: str) -> str:
    if is_uuid(session):
        return session
    try:
        return str(uuid.UUID(session))
    except ValueError:
        return named(session)


def named(name: str) -> str:
    """Return what `uuid.uuid5(_SPACE, name)` writes; it is made twice for every request."""
    return uuid_named(SPACE, name.encode())
