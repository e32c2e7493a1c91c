"""The model's side of the course that every SDK walks: what it says at each station.

Rules of this file: a station is told by the words of the prompt; `expect` is what any client must
have found, whatever its language. The clients' side is in tests/end_to_end/clients/course.*.
"""

import json
from typing import Any

from kiroproxy.simulator.request import Request
from kiroproxy.simulator.script import (
    Interleaved,
    Reasoning,
    Script,
    Start,
    Tail,
    Text,
    Throw,
    Tool,
    answer,
    refuse,
)

GREETING = "Bonjour, ça va ? 🌤️"
CITIES = ("Paris", "Oslo")
FINE = "Both are fine."
STATIONS = {
    "greet me": answer("Bon", "jour, ", "ça va ? 🌤️"),
    "think first": answer(Reasoning("A moment of thought.", size=5), GREETING),
    "weather in two cities": answer(
        "Let me look.",
        Interleaved(
            tuple(Tool("get_weather", json.dumps({"location": city}), size=3) for city in CITIES)
        ),
    ),
    "look": answer("A red square."),
    "too long": refuse(
        400, "ValidationException", "Input is too long.", "CONTENT_LENGTH_EXCEEDS_THRESHOLD"
    ),
    "break off": Script((Start(), Text("half an ans"), Throw())),
    "count": answer("one two three f", "our five"),
    "name a city": answer(Tool("final_result", '{"name": "Oslo", "people": 700000}', size=5)),
    "go on and on": answer("It was a dark and", Tail(stop_reason="MAX_TOKENS")),
}
BUSY = refuse(
    429, "ThrottlingException", "Too many requests", "USER_REQUEST_RATE_EXCEEDED", retry_after_s=1
)


class Course:
    """The model: `Simulator(Course())`. It is too busy once, whenever it is asked too often."""

    def __init__(self) -> None:
        self.refused = 0
        self.pictures: list[Any] = []

    def __call__(self, request: Request) -> Script | None:
        if request.tool_results:
            return answer(FINE)
        said = set(request.prompt.splitlines())  # the gateway may have added words of its own
        if "look" in said:
            self.pictures += request.current["images"]
        if "too often" in said:
            self.refused += 1
            return BUSY if self.refused == 1 else answer("There you are.")
        return next((STATIONS[line] for line in STATIONS if line in said), None)


def expect(found: dict[str, Any]) -> None:
    """Check what a client found on its way."""
    assert found["text"] == [GREETING, "end_turn", "claude-sonnet-4-6", True]
    assert found["streamed"] == [GREETING, True, "end_turn", True]
    assert found["thinking"] == [["thinking", "text"], "A moment of thought.", True, "end_turn"]
    assert found["tools"] == ["tool_use", [{"location": city} for city in CITIES], FINE]
    assert found["image"] == "A red square."
    assert 5 <= found["count"][0] <= 20 and found["count"][1] > found["count"][0] + 100
    assert found["throttled"] == "There you are."
    status, kind, message = found["too_long"]
    assert (status, kind) == (400, "invalid_request_error") and "prompt is too long: " in message
    assert found["unknown"] == [404, "not_found_error", "model: nonsense-9"]
    assert found["cut"][:2] == [200, "api_error"]
    assert found["stop"] == ["one two three ", "stop_sequence", "four"]
    assert found["length"] == "max_tokens"
    listed, different, is_same = found["models"]
    assert listed == different > 4 and is_same
    assert found["runner"] == FINE
