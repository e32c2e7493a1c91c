"""The smallest value that a JSON schema of the usual kind accepts, for the demo to answer with.

Rules of this file: no randomness. Where a schema asks for more than its types, names and bounds
say (a pattern, a format), the value may not do; it is a demo.
"""

from typing import Any

_DEPTH_MAX = 16  # a schema that requires itself has no smallest value


def sample(schema: Any, title: str) -> Any:
    """Make a value. Shape: `title` is the text for what is a title, or has no name."""
    return _Sampler(schema, title).value(schema, "", 0)


class _Sampler:
    def __init__(self, root: Any, title: str) -> None:
        self._root, self._title = root, title

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _DEPTH_MAX:
            return None
        if isinstance(schema.get("$ref"), str):
            return self.value(self._referred(schema["$ref"]), name, depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word):
                return self.value(schema[word][0], name, depth + 1)
        if "const" in schema or schema.get("enum"):
            return schema.get("const", (schema.get("enum") or [None])[0])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            parts = schema.get("properties", {})
            names = schema.get("required", list(parts))
            return {part: self.value(parts.get(part, {}), part, depth + 1) for part in names}
        if kind == "array":
            item = self.value(schema.get("items", {}), name, depth + 1)
            return [item] * int(schema.get("minItems", 0))
        if kind == "string":
            return self._title if name in ("title", "") else f"simulated {name}"
        lowest = schema.get("minimum", 1)
        return {"boolean": True, "integer": lowest, "number": float(lowest)}.get(kind)

    def _referred(self, reference: str) -> Any:
        found = self._root
        for part in reference.split("/")[1:]:
            found = found.get(part) if isinstance(found, dict) else None
        return found
