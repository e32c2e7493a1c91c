"""The demo's answers: what a first-time user sees, streamed at a reading pace.

Rules of this file: it looks at the request and picks words; it invents no facts, and only ever
calls a shell tool, with `echo`, a web search, with the user's words, or the tool that must be
called. Structured answers follow the schema the gateway asked for in words. A tool result is
always followed by a closing answer, so that an agent's loop ends.

Source: the side calls and tool rounds of Claude Code, as its requests show them.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from kiroproxy.simulator import phrases
from kiroproxy.simulator import script as s
from kiroproxy.simulator.catalogue import MODELS
from kiroproxy.simulator.fitness import estimate_tokens
from kiroproxy.simulator.phrases import Language
from kiroproxy.simulator.request import Request
from kiroproxy.simulator.sample import sample

PACE_S: Final = 0.025  # 40 pieces a second: fast, and visibly not all at once
SHELLS: Final = frozenset({"bash", "shell", "execute_command", "run_command"})
_REMINDER: Final = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_HELLO: Final = re.compile(
    r"(say )?(hi|hello|hey|yo|good (morning|evening))\b|你好|您好|嗨|哈喽", re.I
)
_THANKS: Final = re.compile(r"\bthank|谢", re.I)
_WHO: Final = re.compile(r"who are you|what are you|which model|what model|你是谁|什么模型", re.I)
_COUNT: Final = re.compile(
    r"(?:count (?:up )?(?:to|from 1 to)|数到|从\s*1\s*数到)\s*(\d{1,3})", re.I
)
_SUM: Final = re.compile(r"(?<![\w.-])(\d{1,9})\s*([+*×-])\s*(\d{1,9})(?![\w-]|\.\d)")
_TOOL_WORDS: Final = re.compile(
    r"\b(run|tools?|bash|shell|command|echo|execute)\b|运行|执行|命令|工具", re.I
)
_SEARCH_WORDS: Final = re.compile(r"\b(search|look up|news|latest)\b|搜索|查一下|新闻", re.I)
_DEMAND: Final = re.compile(
    r"Answer by calling (?:the tool ([\w-]+)|at least one of the tools)\.[^\n]*\Z"
)
_WIDE: Final = "\u3000-\u9fff\uff00-\uffef"
_PIECE: Final = re.compile(rf"\s*(?:[{_WIDE}]{{1,2}}|[^\s{_WIDE}]+)|\s+")


def answer_to(request: Request, pace_s: float = PACE_S) -> s.Script:
    """Compose the ordinary answer to a request."""
    words = user_words(request)
    language: Language = "zh" if _CHINESE.search(words) else "en"
    wanted = _wanted_json(request, language)
    if wanted is not None:
        return _script(request, [_text(wanted)], pace_s)
    steps: list[s.Step] = []
    if demanded := _demanded_call(request, language):
        steps += _thoughts(request, language, [demanded])
    elif request.tool_results:
        steps += _thoughts(request, language, [_text(_closing(request, language))])
    elif search := _search_call(request, words):
        steps += [*_thoughts(request, language, [_text(phrases.BEFORE_SEARCH[language])]), search]
    elif tool := _shell_call(request, words, language):
        opening = f"{_reply(words, language)}\n\n{phrases.BEFORE_TOOL[language]}"
        steps += [*_thoughts(request, language, [_text(opening)]), tool]
    else:
        reply = f"{_reply(words, language)}\n\n{phrases.REAL_ONE[language]}"
        steps += _thoughts(request, language, [_text(reply)])
    return _script(request, steps, pace_s)


def user_words(request: Request) -> str:
    """Return the last thing the user wrote, without system prompt and reminders."""
    text = _REMINDER.sub("", request.prompt).strip()
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return paragraphs[-1] if paragraphs else ""


def _script(request: Request, steps: list[s.Step], pace_s: float) -> s.Script:
    called = any(isinstance(step, s.Tool) for step in steps)
    window = MODELS[request.model_id].max_input_tokens if request.model_id in MODELS else 200_000
    tail = s.Tail(
        stop_reason="TOOL_USE" if called else "END_TURN",
        context_percentage=round(100 * (estimate_tokens(request.json) + 150) / window, 4),
    )
    return s.answer(*steps, tail, pace_s=pace_s)


def _text(text: str) -> s.Text:
    """Cut at words (Chinese: two characters), each piece with the space before it."""
    return s.Text(pieces=tuple(_PIECE.findall(text)))


def _thoughts(request: Request, language: Language, steps: list[s.Step]) -> list[s.Step]:
    """Put thinking first, in the form the request asked for: an event, tags, or none."""
    thought = phrases.THOUGHT[language]
    fields = request.json.get("additionalModelRequestFields") or {}
    thinking = fields.get("thinking") or {}
    if thinking.get("type") in ("adaptive", "between_tools"):
        shown = "" if thinking.get("display") == "omitted" else thought
        return [s.Reasoning(shown, size=8), *steps]
    if "<thinking_mode>enabled</thinking_mode>" in _everything_said(request):
        return [_text(f"<thinking>{thought}</thinking>\n\n"), *steps]
    return steps


def _everything_said(request: Request) -> str:
    return "".join([*_said_before(request), request.prompt])


def _said_before(request: Request) -> Iterator[str]:
    for entry in request.state.get("history", []):
        yield entry.get("userInputMessage", {}).get("content", "")


def _reply(words: str, language: Language) -> str:
    if found := _COUNT.search(words):
        numbers = ", ".join(str(n) for n in range(1, int(found[1]) + 1))
        return phrases.COUNT[language].format(numbers=numbers)
    if found := _SUM.search(words):
        return _sum(found, language)
    for pattern, phrase in ((_WHO, phrases.WHO), (_THANKS, phrases.THANKS)):
        if pattern.search(words):
            return phrase[language]
    if not words or _HELLO.match(words):
        return phrases.GREETING[language]
    shown = words if len(words) <= 160 else words[:160] + "…"
    return phrases.ANYTHING[language].format(words=shown)


def _sum(found: re.Match[str], language: Language) -> str:
    left, sign, right = int(found[1]), found[2], int(found[3])
    result = {"+": left + right, "-": left - right}.get(sign, left * right)
    return phrases.SUM[language].format(sum=found[0], result=result)


def _closing(request: Request, language: Language) -> str:
    texts, is_bad = [], False
    for result in request.tool_results:
        is_bad = is_bad or result.get("status") == "error"
        texts += [part["text"] for part in result["content"] if part.get("text")]
    shown = "\n".join(texts).strip()[:300] or "(no output)"
    quote = "\n".join(f"> {line}" for line in shown.splitlines())
    phrase = phrases.TOOL_FAILED if is_bad else phrases.AFTER_TOOL
    return f"{phrase[language].format(quote=quote)}\n\n{phrases.REAL_ONE[language]}"


def _shell_call(request: Request, words: str, language: Language) -> s.Tool | None:
    """Call the client's shell: in a conversation's first turn, and when tools are spoken of."""
    is_first = not request.state.get("history")
    if not is_first and not _TOOL_WORDS.search(words):
        return None
    command, description = phrases.COMMAND[language]
    known = {"command": command, "description": description}
    for name, tool in request.tools.items():
        schema = tool["inputSchema"]["json"]
        wanted = schema.get("properties", {})
        is_text = isinstance(wanted.get("command"), dict) and (
            wanted["command"].get("type") == "string"
        )
        if name.lower() in SHELLS and is_text and set(schema.get("required", [])) <= known.keys():
            told = {key: value for key, value in known.items() if key in wanted}
            return s.Tool(name, orjson.dumps(told).decode(), size=6)
    return None


def _demanded_call(request: Request, language: Language) -> s.Tool | None:
    """Call the tool that the gateway says must be called."""
    demand = _DEMAND.search(request.prompt)
    name = (demand[1] or next(iter(request.tools), "")) if demand else ""
    if name not in request.tools:
        return None
    schema = request.tools[name]["inputSchema"]["json"]
    arguments = sample(schema, phrases.TITLE[language])
    return s.Tool(name, orjson.dumps(arguments).decode(), size=6)


def _search_call(request: Request, words: str) -> s.Tool | None:
    """Search the web if that is spoken of, or is all that can be done."""
    tool = request.tools.get("web_search")
    if tool is None or not (_SEARCH_WORDS.search(words) or len(request.tools) == 1):
        return None
    if tool["inputSchema"]["json"].get("required") != ["query"] or not words:
        return None
    return s.Tool("web_search", orjson.dumps({"query": words[:200]}).decode(), size=6)


def _wanted_json(request: Request, language: Language) -> str | None:
    """Return a value for the JSON schema the prompt asks for, None when it asks for none."""
    first = next(_said_before(request), "")
    for text in (request.prompt, first):
        if "isNewTopic" in text:  # Claude Code's older topic check
            return orjson.dumps({"isNewTopic": True, "title": phrases.TITLE[language]}).decode()
        at = text.find("JSON schema: {")
        if at >= 0 and isinstance(schema := _first_object(text[at:]), dict):
            return orjson.dumps(sample(schema, phrases.TITLE[language])).decode()
    return None


def _first_object(text: str) -> Any:
    import json  # orjson reads no prefix of a text

    try:
        return json.JSONDecoder().raw_decode(text, text.index("{"))[0]
    except ValueError:
        return None
