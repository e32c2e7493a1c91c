"""An agent of pydantic-ai: tools, a stream, a form to fill in, a picture; prints what it found.

Usage: GATEWAY_URL=… GATEWAY_KEY=… python agent.py PICTURE.png
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

provider = AnthropicProvider(api_key=os.environ["GATEWAY_KEY"], base_url=os.environ["GATEWAY_URL"])
model = AnthropicModel("claude-sonnet-4-6", provider=provider)
agent = Agent(model)
asked: list[str] = []


class City(BaseModel):
    """A city and how many people live there."""

    name: str
    people: int


@agent.tool_plain
def get_weather(location: str) -> str:
    """Get the current weather in a given location."""
    asked.append(location)
    return f"fine in {location}"


async def found() -> dict[str, Any]:
    tools = await agent.run("weather in two cities")
    async with agent.run_stream("greet me") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    form = await Agent(model, output_type=City).run("name a city")
    picture = BinaryContent(Path(sys.argv[1]).read_bytes(), media_type="image/png")
    image = await agent.run([picture, "look"])
    return {
        "tools": [sorted(asked), tools.output],
        "streamed": ["".join(pieces), len(pieces) > 1],
        "form": form.output.model_dump(),
        "image": image.output,
    }


print(json.dumps(asyncio.run(found())))
