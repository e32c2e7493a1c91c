"""Images and documents of one Kiro message, hoisted out of its text.

Rules of this file: Kiro shows a message's attachments apart from its text and drops, without
a word, images that stay inside tool results; so every attachment is lifted to the message and
leaves a mark where it stood.

Source: Kiro's UserInputMessage: at most ten images; document names of 1-200 letters, digits,
single spaces and `-_()[]`, unique in the request, without extension.
"""

import re
from typing import Any

from kiroproxy.errors import RequestError
from kiroproxy.protocol.content import Document, Image, Piece

MAX_IMAGES = 10  # images of one UserInputMessage, from Kiro's own model
_NAME_NOISE = re.compile(r"[^A-Za-z0-9\-_()\[\]]+")
_EXTENSION = re.compile(r"\.(csv|docx?|html?|md|pdf|txt|xlsx?)$", re.IGNORECASE)


class Attachments:
    """Collects attachments in the order in which their marks are rendered.

    Order: render everything, then read `images`, `documents` and `legend`.
    """

    def __init__(self, names: set[str], *, strict: bool) -> None:
        self._names = names  # document names of the whole request: Kiro refuses duplicates
        self._strict = strict
        self._origins: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.documents: list[dict[str, Any]] = []

    def render(self, parts: list[Piece], origin: str) -> str:
        """Join pieces to text, keeping attachments aside. `origin` completes "image from"."""
        return "\n".join(self._place(part, origin) for part in parts)

    def _place(self, part: Piece, origin: str) -> str:
        if isinstance(part, str):
            return part
        return self._image(part, origin) if isinstance(part, Image) else self._document(part)

    def _image(self, image: Image, origin: str) -> str:
        if len(self.images) == MAX_IMAGES:
            if self._strict:
                raise RequestError(
                    f"{image.path}.image: Too many images in one message; "
                    f"at most {MAX_IMAGES} are allowed"
                )
            return "[Image left out: the message holds more than Kiro takes]"
        self.images.append({"format": image.format, "source": {"bytes": image.data}})
        self._origins.append(origin)
        return f"[Image {len(self.images)}]"

    def _document(self, document: Document) -> str:
        stem = _EXTENSION.sub("", document.title)
        stem = _NAME_NOISE.sub(" ", stem).strip()[:180].strip() or "document"
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem} {count}"
        self._names.add(name)
        entry = {"name": name, "format": document.format, "source": {"bytes": document.data}}
        self.documents.append(entry)
        shown = f"[Document: {document.title or name}]"
        return f"{shown}\n{document.context}" if document.context else shown

    @property
    def legend(self) -> str:
        """Say which image is which: with several, position alone was seen to mislead models."""
        if len(self.images) < 2:
            return ""
        listed = ", ".join(
            f"[Image {number}] from {origin}" for number, origin in enumerate(self._origins, 1)
        )
        return f"Images attached to this message, in order: {listed}."
