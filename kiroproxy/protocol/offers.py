"""The tools of the latest requests, as they are declared to Kiro.

Rules of this file: bounded; an offer never changes once it is kept, for requests share it.

Theory of operation. Clients send the same tools with every request of a session, 30 to 100 KB. A
list that was seen lately is known again by its bytes alone (one comparison of memory, no digest),
and with it what follows from it alone: names, specifications as JSON, its share of the tokens.
What depends on the request as well, a choice or a deferred tool, is made anew from the list, which
is still not read again.

Source: protocol.tools and tokens, for everything that is kept.
"""

from typing import Any

from kiroproxy._json import write
from kiroproxy.protocol import searching
from kiroproxy.protocol.tokens import Share, share_of_tools
from kiroproxy.protocol.tools import Toolbox

LISTS_MAX = 16
# Of one list. A list of tools, what was read of it and what is declared of it take about five times
# its bytes: some 10 MB a worker at the very worst, under one for the tools of one client.
LIST_BYTES_MAX = 128 * 1024


class Offer:
    """One list of tools. Shape: `toolbox` is ready; None where a request must make its own."""

    __slots__ = ("declared", "share", "toolbox", "tools")

    def __init__(self, tools: list[Any]) -> None:
        self.tools = tools
        self.share: Share | None = share_of_tools(tools)
        toolbox = Toolbox({"tools": tools}, [])
        specifications = toolbox.specifications()
        self.declared = write(specifications) if specifications else None
        self.toolbox = toolbox if toolbox.is_fixed else None


class Offers:
    """The latest lists, the one used last in front."""

    def __init__(self) -> None:
        self.known: list[tuple[bytes, Offer]] = []

    def keep(self, raw: bytes, offer: Offer) -> None:
        """Remember a list by its JSON."""
        if len(raw) <= LIST_BYTES_MAX:
            self._put_first(raw, offer)

    def use(self, offer: Offer) -> None:
        """Note that a list was used."""
        for raw, known in self.known[1:]:  # as a rule it is in front already
            if known is offer:
                self._put_first(raw, offer)

    def _put_first(self, raw: bytes, offer: Offer) -> None:
        # Another thread may be reading the list as it was: it is replaced, not changed.
        others = [pair for pair in self.known if pair[0] != raw]
        self.known = [(raw, offer), *others][:LISTS_MAX]


def is_ordinary(tools: list[Any]) -> bool:
    """Whether no tool is a web search, which this gateway performs itself."""
    return not any(searching.is_search(tool) for tool in tools)
