"""The tools of the latest requests, as they are declared to Kiro.

Rules of this file: bounded; an offer never changes once it is kept, for requests share it.

Theory of operation. Clients send the same tools with every request of a session, 30 to 100 KB. A
list that was seen lately is known again by its bytes alone (one comparison of memory, no digest),
and with it what follows from it alone: names, specifications as JSON, its share of the tokens. A
conversation changes them only where it calls tools that are deferred, or not in the list: each
such set of names has specifications of its own. Where a tool is chosen, they are made anew.

Source: protocol.tools and tokens, for everything that is kept.
"""

from typing import Any, TypeAlias

from kiroproxy._json import write
from kiroproxy.protocol import searching
from kiroproxy.protocol.tokens import Share, share_of_tools
from kiroproxy.protocol.tools import Toolbox

Declared: TypeAlias = tuple[Toolbox, bytes | None]

LISTS_MAX = 8
# Of one list. It is kept as it came, as objects of about three times its bytes, and as
# specifications for some sets of names: 1 MB a list and 8 a worker at the very worst, a quarter of
# one for the tools of one client.
LIST_BYTES_MAX = 128 * 1024
NAMES_MAX = 3


class Offer:
    """One list of tools, as it is declared where none is chosen."""

    __slots__ = ("_declared", "share", "tools")

    def __init__(self, tools: list[Any]) -> None:
        self.tools = tools
        self.share: Share | None = share_of_tools(tools)
        self._declared: dict[tuple[str, ...], Declared] = {}
        self._declare(())

    def declared(self, called: list[str]) -> Declared:
        """Return the toolbox of a history that calls these tools, and the specifications."""
        plain, _ = self._declared[()]
        names = tuple(name for name in called if not plain.is_shown(name))
        return self._declared.get(names) or self._declare(names)

    def _declare(self, names: tuple[str, ...]) -> Declared:
        toolbox = Toolbox({"tools": self.tools}, [])
        for name in names:
            toolbox.use(name)
        specifications = toolbox.specifications()
        made = toolbox, write(specifications) if specifications else None
        if len(self._declared) <= NAMES_MAX:
            self._declared[names] = made
        return made


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
