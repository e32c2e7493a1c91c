"""Anthropic-defined tools, which clients name by `type` and send without a schema.

Two sorts: tools the client runs (bash, text editor, computer, memory), for which a schema and a
description are supplied here so that any model can call them; and tools Anthropic's servers
run (web search, web fetch, code execution, tool search, advisor, MCP toolsets), which nobody
behind this gateway could answer and which are therefore not shown to the model.

Source: Anthropic's tool reference; inputs as its reference implementations read them.
"""

import re
from typing import Any, TypeAlias

Tool: TypeAlias = dict[str, Any]

_DATED = re.compile(r"_20\d{6}$")
_STRING: Tool = {"type": "string"}
_INTEGER: Tool = {"type": "integer"}
_POINT: Tool = {"type": "array", "items": _INTEGER, "minItems": 2, "maxItems": 2}


def _schema(properties: Tool, *required: str) -> Tool:
    return {"type": "object", "properties": properties, "required": list(required)}


def _choice(*values: str) -> Tool:
    return {"type": "string", "enum": list(values)}


_BASH = _schema(
    {
        "command": {**_STRING, "description": "The command to run."},
        "restart": {"type": "boolean", "description": "True restarts the shell."},
    }
)
_EDITOR = {
    "path": {**_STRING, "description": "Absolute path of a file or directory."},
    "file_text": {**_STRING, "description": "Content of the file; for `create`."},
    "old_str": {**_STRING, "description": "Text to replace, unique; for `str_replace`."},
    "new_str": {**_STRING, "description": "Replacement; for `str_replace`."},
    "insert_line": {**_INTEGER, "description": "Insert after this line; for `insert`."},
    "insert_text": {**_STRING, "description": "Text to insert; for `insert`."},
    "view_range": {**_POINT, "description": "First and last line; for `view`."},
}
# The first editor, `str_replace_editor`, reads the inserted text from new_str and can undo.
_FIRST_EDITOR = {name: value for name, value in _EDITOR.items() if name != "insert_text"} | {
    "new_str": {**_STRING, "description": "Replacement or, for `insert`, text to insert."}
}
_EDIT_COMMANDS = ("view", "create", "str_replace", "insert")
_ACTIONS = (
    "key",
    "type",
    "mouse_move",
    "left_click",
    "left_click_drag",
    "right_click",
    "middle_click",
    "double_click",
    "triple_click",
    "left_mouse_down",
    "left_mouse_up",
    "scroll",
    "hold_key",
    "wait",
    "screenshot",
    "cursor_position",
    "zoom",
)
_COMPUTER = _schema(
    {
        "action": _choice(*_ACTIONS),
        "coordinate": {**_POINT, "description": "x and y in pixels from the top left."},
        "start_coordinate": {**_POINT, "description": "Where a drag starts."},
        "text": {**_STRING, "description": "Text to type, or keys such as ctrl+s."},
        "duration": {"type": "number", "description": "Seconds; for hold_key and wait."},
        "scroll_direction": _choice("up", "down", "left", "right"),
        "scroll_amount": {**_INTEGER, "description": "Clicks of the wheel."},
        "region": {"type": "array", "items": _INTEGER, "description": "x0, y0, x1, y1; zoom."},
    },
    "action",
)
_MEMORY = _schema(
    {
        "command": _choice(*_EDIT_COMMANDS, "delete", "rename"),
        **_EDITOR,
        "old_path": {**_STRING, "description": "Present path; for `rename`."},
        "new_path": {**_STRING, "description": "Path to rename to; for `rename`."},
    },
    "command",
)


def kind(tool: Tool) -> str:
    """Name the tool's sort without its date: "" for a client's own tool."""
    declared = tool.get("type")
    if not isinstance(declared, str) or declared == "custom":
        return ""
    return _DATED.sub("", declared)


def is_server_side(tool: Tool) -> bool:
    """Whether only Anthropic's servers could run the tool.

    An unknown type that brings its own schema is a client's tool; without one there is
    nothing a model could be told about it.
    """
    sort = kind(tool)
    return bool(sort) and sort not in _SUPPLIED and not isinstance(tool.get("input_schema"), dict)


def supplied(tool: Tool) -> Tool:
    """Complete a client-run Anthropic tool with schema and description; others unchanged."""
    found = _SUPPLIED.get(kind(tool))
    if found is None:
        return tool
    description, schema = found
    if tool.get("name") == "str_replace_editor":
        schema = _FIRST_EDITOR_SCHEMA
    size = tool.get("display_width_px"), tool.get("display_height_px")
    if all(size):
        description += f" The screen is {size[0]} by {size[1]} pixels."
    return {"description": description, "input_schema": schema, **tool}


_EDITOR_SCHEMA = _schema({"command": _choice(*_EDIT_COMMANDS), **_EDITOR}, "command", "path")
_FIRST_EDITOR_SCHEMA = _schema(
    {"command": _choice(*_EDIT_COMMANDS, "undo_edit"), **_FIRST_EDITOR}, "command", "path"
)
_SUPPLIED: dict[str, tuple[str, Tool]] = {
    "bash": ("Run commands in a persistent bash shell and return their output.", _BASH),
    "text_editor": ("View, create and edit text files.", _EDITOR_SCHEMA),
    "computer": ("Control the screen, keyboard and mouse of a computer.", _COMPUTER),
    "memory": ("Read and write files under /memories that outlast the conversation.", _MEMORY),
}
