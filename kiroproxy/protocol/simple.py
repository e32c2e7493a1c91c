"""The plan of a request that holds nothing but one question: the short way through `request`.

Rules of this file: pure; it makes the plan that `request.convert` makes, to the byte, or none. It
refuses nothing and repairs nothing: what it does not know is `convert`'s.

Theory of operation. Much of what `convert` costs is to find out that there are no tools, no
history, no attachments, no thinking and no demands. A body with none of the members that could
hold such, and one message of text alone, has one form on Kiro's side; it is written here at once.
Of a call that was cut is told behind the answer that held it: a single message has no such.
What is simple and what its body and plan look like stands here; `_plain` goes by it, compiled, for
this is done for nearly every small request and shall cost less than reading its JSON.

Source: request.convert, which the tests compare it with.
"""

from collections.abc import Callable
from typing import Any, Final

from kiroproxy._plain import OWN, Mould, Simple
from kiroproxy.protocol import conversation
from kiroproxy.protocol.history import ORIGIN
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import BILLING_HEADER, OVERFLOW_FACTOR, Plan, uncorrected
from kiroproxy.protocol.tokens import plain_measure

# Members that change nothing in the request to Kiro, or what `_plain` reads.
_KNOWN = frozenset(
    (
        *("model", "max_tokens", "messages", "stream", "system", "metadata"),
        *("temperature", "top_p", "top_k", "service_tier"),
    )
)
# What the plan of a simple request has in common with every other's.
_ALIKE: dict[str, object] = {
    "split_tags": False,
    "drop_thinking": False,
    "tool_names": {},
    "stop_sequences": (),
    "wants_web_search": None,
    "search": None,
    "search_tool": "",
    "demand": None,
    "max_calls": None,
    "mark": b"",
    "written_calls": None,
    "_parts": None,
}
RULES: Final = Simple(
    known=_KNOWN,
    unwanted=BILLING_HEADER,
    mould=Mould(Plan, OWN, _ALIKE),
    measure=plain_measure,
    overflow=OVERFLOW_FACTOR,
    conversation_id=conversation.conversation_id,
    space=conversation.SPACE,
    first=b"/1",  # as conversation.numbered writes the first prompt
    form=(
        b'{"conversationState":{"agentContinuationId":"',
        b'","agentTaskType":"vibe","chatTriggerType":"MANUAL","conversationId":"',
        b'","currentMessage":{"userInputMessage":{"content":',
    ),
    ending=b',"modelId":%b,"origin":"' + ORIGIN.encode("ascii") + b'"}}}',
)


def plan(
    body: dict[str, Any],
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str,
    correct: Callable[[str, int], int] = uncorrected,
) -> Plan | None:
    """Translate a simple request; None: it is not simple. Shape: as `request.convert`.

    Raises: NotFound — the model, as `convert` says it.
    """
    return RULES.plan(body, catalogue, ids, session_id, correct)
