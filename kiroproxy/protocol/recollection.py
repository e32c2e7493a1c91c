"""What a model is told of its own earlier answer that was cut while it wrote a tool call.

Rules of this file: pure; whoever remembers is the caller. The model is told what happened and
nothing else: no advice. Where it is not sure that the answer is the one meant, nothing is said.

Theory of operation. A cut call never reaches the client, so nothing in what the client sends back
tells of it. An answer is known by the user's message it answered: `mark` makes a short digest of
that message, of its place, and of nothing a client changes from turn to turn (cache marks, the
order of members). Once another user's message follows it, `told` puts a system message behind
that one, where it stays from then on, so that the prompt's beginning does not change.

Source: BEHAVIOUR.md, "Tool calls".
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

Message = dict[str, Any]

_EDGE = 256  # characters looked at on either end of a text; equal lengths do the rest
_BLOCKS = 4  # blocks looked at on either end of a message


def mark(messages: list[Message]) -> bytes:
    """Return the mark of the answer to these messages. Cost: bounded, some µs."""
    asked = [message for message in messages if message["role"] == "user"]
    return mark_of(len(asked) - 1, asked[-1]) if asked else b""


def told(messages: list[Message], cut: Mapping[bytes, str]) -> list[Message]:
    """Return the messages with a word behind those that follow a cut answer.

    Shape: `cut` maps marks to the names of tools, as the model knows them.
    """
    found: list[Message] = []
    ordinal, name = -1, None
    for message in messages:
        found.append(message)
        if message["role"] != "user":
            continue
        if name is not None:
            found.append({"role": "system", "content": _words(name)})
        ordinal += 1
        name = cut.get(mark_of(ordinal, message))
    return found


def _words(tool: str) -> str:
    return (
        "The assistant's answer before this message was cut off by the service while it wrote a "
        f"call of the tool {tool}. That call did not arrive and was not run."
    )


def mark_of(ordinal: int, message: Message) -> bytes:
    """Return the mark of the answer to the user's message of this number, from 0 on."""
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = content if isinstance(content, list) else []
    seen = [str(ordinal)]
    for block in blocks if len(blocks) <= 2 * _BLOCKS else blocks[:_BLOCKS] + blocks[-_BLOCKS:]:
        if isinstance(block, dict):
            for member in ("type", "text", "tool_use_id"):
                value = block.get(member)
                if type(value) is str:
                    seen += (member, str(len(value)), value[:_EDGE], value[-_EDGE:])
    return blake2b("\0".join(seen).encode("utf-8", "surrogatepass"), digest_size=16).digest()
