"""Images and documents of one Kiro message, hoisted out of its text.

Rules of this file: Kiro shows a message's attachments apart from its text and drops, without
a word, images that stay inside tool results; so every attachment is lifted to the message and
leaves a mark where it stood. What cannot be attached becomes text; what cannot become text is
refused if the user just sent it, and otherwise leaves a note, since a tool's result or an old
turn is nothing the user can take back.

Source: Kiro's UserInputMessage: at most ten images; document names of 1-200 letters, digits,
single spaces and `-_()[]`, unique in the request, without extension. Its reasons
IMAGE_COUNT_EXCEEDED, DOCUMENT_MODEL_NOT_SUPPORTED, DOCUMENT_SIZE_EXCEEDED.
"""

import re
from typing import Any

from kiroproxy.errors import RequestError
from kiroproxy.protocol.content import Document, Image, Piece
from kiroproxy.protocol.documents import text_of
from kiroproxy.protocol.models import Model

MAX_IMAGES = 10  # images of one UserInputMessage, from Kiro's own model
MAX_DOCUMENT_BYTES = 10_000_000
# Kiro has a limit that it does not tell; five is that of the service behind it.
MAX_DOCUMENTS = 5
_NAME_NOISE = re.compile(r"[^A-Za-z0-9\-_()\[\]]+")
_EXTENSION = re.compile(r"\.(csv|docx?|html?|md|pdf|txt|xlsx?)$", re.IGNORECASE)
_MAX_STEM_CHARS = 180  # of 200: the rest is for a number


class Attachments:
    """Collects attachments in the order in which their marks are rendered.

    Order: `admit` once with everything, render everything, then read `images`, `documents` and
    `legend`.
    """

    def __init__(self, names: set[str], model: Model, *, strict: bool) -> None:
        self._names = names  # document names of the whole request: Kiro refuses duplicates
        self._model = model
        self._strict = strict  # the message that is to be answered now
        self._origins: list[str] = []
        self._admitted: set[str] = set()  # paths of the images that fit
        self.images: list[dict[str, Any]] = []
        self.documents: list[dict[str, Any]] = []

    # -- images --------------------------------------------------------------------------

    def admit(self, parts: list[Piece]) -> None:
        """Choose the images that fit: the user's own first, then the newest of the tools'.

        Raises: RequestError — more of the user's own than Kiro takes, or a model without eyes.
        """
        images = [part for part in parts if isinstance(part, Image)]
        own = [image for image in images if not _is_result(image)]
        results = [image for image in images if _is_result(image)]
        if own and self._strict:
            self._check_own(own)
        if self._model.images:
            room = max(MAX_IMAGES - len(own), 0)
            kept = own[-MAX_IMAGES:] + (results[-room:] if room else [])
            self._admitted = {image.path for image in kept}

    def _check_own(self, own: list[Image]) -> None:
        if not self._model.images:
            raise RequestError(
                f"{own[0].path}.image: '{self._model.id}' does not support image input."
            )
        if len(own) > MAX_IMAGES:
            raise RequestError(
                f"{own[MAX_IMAGES].path}.image: Too much media: {len(own)} images > {MAX_IMAGES} "
                "in one message"
            )

    # -- marks ---------------------------------------------------------------------------

    def render(self, parts: list[Piece], origin: str) -> str:
        """Join pieces to text, keeping attachments aside. `origin` completes "image from"."""
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        return "\n".join([self._place(part, origin) for part in parts])

    def _place(self, part: Piece, origin: str) -> str:
        if isinstance(part, str):
            return part
        return self._image(part, origin) if isinstance(part, Image) else self._document(part)

    def _image(self, image: Image, origin: str) -> str:
        if not self._model.images:
            return "[Image left out: this model takes no images]"
        if image.path not in self._admitted:
            return f"[Image left out: Kiro takes at most {MAX_IMAGES} images in one message]"
        self.images.append({"format": image.format, "source": {"bytes": image.data}})
        self._origins.append(origin)
        return f"[Image {len(self.images)}]"

    # -- documents -----------------------------------------------------------------------

    def _document(self, document: Document) -> str:
        obstacle = self._obstacle(document)
        if not obstacle and len(self.documents) < MAX_DOCUMENTS:
            return self._attached(document)
        text = text_of(document.format, document.data)
        if text is not None:
            return _as_text(document, text)
        if not obstacle:
            return self._attached(document)  # one too many, perhaps; Kiro will say so
        if self._strict and not _is_result(document):
            raise RequestError(f"{document.path}.document.source.base64: {obstacle}")
        return f"[Document left out: {document.title or document.format}: {obstacle}]"

    def _obstacle(self, document: Document) -> str:
        """Say why a document cannot be attached, "" if it can."""
        if not self._model.images:  # a listing names text and image; readers of both read files
            return f"'{self._model.id}' does not support {document.format} document input."
        size = len(document.data) * 3 // 4 - document.data.count("=", -2)
        if size > MAX_DOCUMENT_BYTES:
            return f"document exceeds 10 MB maximum: {size} bytes > {MAX_DOCUMENT_BYTES} bytes"
        return ""

    def _attached(self, document: Document) -> str:
        stem, name = self._named(document.title)
        entry = {"name": name, "format": document.format, "source": {"bytes": document.data}}
        self.documents.append(entry)
        shown = document.title or name
        if name != stem:  # two of one name: the mark says which of them is meant
            shown = f"{shown}, attached as {name}" if document.title else name
        return f"[Document: {shown}]" + (f"\n{document.context}" if document.context else "")

    def _named(self, title: str) -> tuple[str, str]:
        """Return a title's legal form, and the same made unique in the request."""
        stem = _EXTENSION.sub("", title)
        stem = _NAME_NOISE.sub(" ", stem).strip()[:_MAX_STEM_CHARS].strip() or "document"
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem} {count}"
        self._names.add(name)
        return stem, name

    @property
    def legend(self) -> str:
        """Say which image is which: with several, position alone was seen to mislead models."""
        if len(self.images) < 2:
            return ""
        listed = ", ".join(
            f"[Image {number}] from {origin}" for number, origin in enumerate(self._origins, 1)
        )
        return f"Images attached to this message, in order: {listed}."


def _is_result(part: Image | Document) -> bool:
    return ".tool_result." in part.path


def _as_text(document: Document, text: str) -> str:
    named = (("title", document.title), ("context", document.context))
    attributes = "".join(f' {name}="{value}"' for name, value in named if value)
    return f"<document{attributes}>\n{text}\n</document>"
