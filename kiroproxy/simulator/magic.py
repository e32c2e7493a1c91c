"""Magic words: faults on demand, for trying things out by hand.

Write `[simulate: NAME]` anywhere in a prompt, NAME being one of the words below, for example
`[simulate: truncated-tool]`. A name the list does not have is answered with the list.

Rules of this file: a table of scripts.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from kiroproxy.simulator import script as s
from kiroproxy.simulator.request import Request

_WORD: Final = re.compile(r"\[simulate:\s*([\w-]+)\s*\]")
_LONG: Final = "The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸跳过懒狗。🦊🐶 "
_CUT_JSON: Final = '{"file_path": "/tmp/a.txt", "content": "this text was never fini'


def _first_tool(request: Request) -> str:
    return next(iter(request.tools), "Bash")


def _thrown(name: str, message: str, **more: Any) -> s.Script:
    return s.Script((s.Start(), s.Text("This answer will not "), s.Throw(name, message, **more)))


def _throttled(request: Request) -> s.Script:
    message = "Too many requests, please wait before trying again."
    return s.refuse(
        429, "ThrottlingException", message, "USER_REQUEST_RATE_EXCEEDED", retry_after_s=2
    )


TABLE: Final[dict[str, Callable[[Request], s.Script]]] = {
    "text": lambda _: s.answer(s.Text(_LONG * 5, size=7), pace_s=0.02),
    "thinking": lambda _: s.answer(s.Reasoning("Let me think. " * 5, size=9), "Thought."),
    "redacted": lambda _: s.answer(s.Redacted(), "Thought in private."),
    "tag-thinking": lambda _: s.answer("<thinking>in tags</thinking>\n\nSaid aloud."),
    "split-tags": lambda _: s.answer(s.Text("<thinking>a</thinking>\n\nb", size=1)),
    "escaped-tags": lambda _: s.answer(
        s.Text("<thinking>a < b & c</thinking>\n\nd", size=5, escape="html")
    ),
    "cut-characters": lambda _: s.answer(s.Text(_LONG, size=1, unit="utf16", escape="ascii")),
    "tool": lambda r: s.answer("Calling.", s.Tool(_first_tool(r), "{}", size=1)),
    "no-arguments": lambda r: s.answer(s.Tool(_first_tool(r))),
    "truncated-tool": lambda r: s.Script(
        (s.Start(), s.Text("Writing."), s.Tool(_first_tool(r), _CUT_JSON, size=9, stop=False))
    ),
    "exception": lambda _: _thrown("InternalServerException", "unexpectedly high load"),
    "too-long": lambda _: _thrown("ContentLengthExceededException", "Input is too long."),
    "error": lambda _: s.Script((s.Start(), s.Text("This answer will not "), s.Error())),
    "reset": lambda _: s.Script((s.Start(), s.Text("This answer will not "), s.Drop())),
    "unfinished": lambda _: s.Script((s.Start(), s.Text("This answer just stops"))),
    "corrupt": lambda _: s.answer("fine so far", s.Damage(), s.Text("never seen")),
    "empty": lambda _: s.Script(),
    "json-exception": lambda _: s.Script(
        (s.Plain(body='{"__type":"ThrottlingException","message":"slow down"}'),)
    ),
    "html": lambda _: s.Script((s.Plain(502, "<html>Bad Gateway</html>", "text/html"),)),
    "400": lambda _: s.refuse(400, "ValidationException", "Improperly formed request."),
    "402": lambda _: s.refuse(
        402,
        "ServiceQuotaExceededException",
        "You have reached the limit.",
        "MONTHLY_REQUEST_COUNT",
    ),
    "403": lambda _: s.refuse(
        403,
        "AccessDeniedException",
        "Your account has been temporarily suspended.",
        "TEMPORARILY_SUSPENDED",
    ),
    "429": _throttled,
    "500": lambda _: s.refuse(
        500,
        "InternalServerException",
        "Encountered unexpectedly high load when processing the request, please try again.",
        "MODEL_TEMPORARILY_UNAVAILABLE",
    ),
    "503": lambda _: s.refuse(503, "ServiceUnavailableException", "Service is unavailable."),
    "slow": lambda _: s.Script((s.Wait(5), *s.answer(s.Text(_LONG, size=5)).steps), pace_s=1.0),
    "silent": lambda _: s.Script((s.Silence(),)),
    "dropped": lambda _: s.Script((s.Drop(),)),
}


def find(request: Request) -> s.Script | None:
    """Return the script a magic word in the prompt asks for."""
    found = _WORD.search(request.prompt)
    if found is None:
        return None
    make = TABLE.get(found[1])
    if make is None:
        return s.answer(f"The simulator knows these words: {', '.join(TABLE)}.")
    return make(request)
