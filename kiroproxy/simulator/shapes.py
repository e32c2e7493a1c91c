"""The request body's shape: members, lengths, patterns, enumerations.

Rules of this file: tables only; `grammar` checks them. What holds between messages, and what
Kiro answers with a reason of its own, is in `rules`.

Source: the streaming service's published model; length limits from the user-service model.
"""

from functools import cache
from typing import Final

from kiroproxy.simulator.grammar import (
    TEN_MILLION,
    Blob,
    Document,
    Flag,
    ListOf,
    Number,
    Shape,
    Struct,
    Text,
    Union,
)

TOOL_USE_ID: Final = Text(1, 64, r"[a-zA-Z0-9_-]+")
TOOL_NAME: Final = Text(1, 64, r"[a-zA-Z0-9_-]+")
UUID: Final = Text(36, 36, r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
CACHE_POINT: Final = Struct({"type": Text(choices=("default",))}, frozenset({"type"}))
IMAGE_FORMATS: Final = ("png", "jpeg", "gif", "webp")
DOCUMENT_FORMATS: Final = ("csv", "doc", "docx", "html", "md", "pdf", "txt", "xls", "xlsx")
ORIGINS: Final = (
    "AI_EDITOR", "CHATBOT", "CLI", "CONSOLE", "DOCUMENTATION", "GITLAB", "IDE", "INLINE_CHAT",
    "KIRO_CLI", "KIRO_WEB", "MARKETING", "MD", "MD_CE", "MD_IDE", "MOBILE",
    "OPENSEARCH_DASHBOARD", "Q_DEV_BEXT", "SAGE_MAKER", "SERVICE_INTERNAL", "SM_AI_STUDIO_IDE",
    "UNIFIED_SEARCH", "UNKNOWN",
)  # fmt: skip
INTENTS: Final = (
    "SUGGEST_ALTERNATE_IMPLEMENTATION", "APPLY_COMMON_BEST_PRACTICES", "IMPROVE_CODE",
    "SHOW_EXAMPLES", "CITE_SOURCES", "EXPLAIN_LINE_BY_LINE", "EXPLAIN_CODE_SELECTION",
    "GENERATE_CLOUDFORMATION_TEMPLATE", "GENERATE_UNIT_TESTS", "CODE_GENERATION",
)  # fmt: skip

# Kiro accepts images of at most 5 MiB each, though its model says 10 MB.
IMAGE: Final = Struct(
    {
        "format": Text(),  # its enumeration has a reason of its own: rules.images
        "source": Struct(
            {"bytes": Blob(5 * 1024 * 1024, "IMAGE_SIZE_EXCEEDED")}, frozenset({"bytes"})
        ),
    },
    frozenset({"format", "source"}),
)
DOCUMENT: Final = Struct(
    {
        "name": Text(1, 200, r"(?!.*  )[a-zA-Z0-9 \-_()\[\]]+"),
        "format": Text(choices=DOCUMENT_FORMATS),
        "source": Struct(
            {"bytes": Blob(TEN_MILLION, "DOCUMENT_SIZE_EXCEEDED")}, frozenset({"bytes"})
        ),
    },
    frozenset({"name", "format", "source"}),
)
TOOL_RESULT: Final = Struct(
    {
        "toolUseId": TOOL_USE_ID,
        "content": ListOf(
            # An image here is answered 200 and never shown to the model.
            Union({"text": Text(), "json": Document(), "image": IMAGE})
        ),
        "status": Text(choices=("success", "error")),
        "toolName": TOOL_NAME,
    },
    frozenset({"toolUseId", "content"}),
)


def tool(description_most: int) -> Shape:
    """Return the shape of one entry of `tools`."""
    specification = Struct(
        {
            "name": TOOL_NAME,
            "description": Text(0, description_most),  # an empty one is rule R14's
            "inputSchema": Struct({"json": Document()}, frozenset({"json"})),
        },
        frozenset({"name", "inputSchema"}),
    )
    return Union({"toolSpecification": specification, "cachePoint": CACHE_POINT})


ENV_STATE: Final = Struct(
    {
        "operatingSystem": Text(choices=("macos", "linux", "windows")),
        "currentWorkingDirectory": Text(1, 256),
        "environmentVariables": ListOf(
            Struct({"key": Text(1, 256), "value": Text(0, 1024)}), most=100
        ),
        "timezoneOffset": Number(-1440, 1440),
    }
)
ADDITIONAL_CONTEXT: Final = Struct(
    {
        "name": Text(1, 1024, r"[a-z]+(-[a-z0-9]+)*"),
        "description": Text(1, 1024),
        "innerContext": Text(0, 8192),
    },
    frozenset({"name", "description", "innerContext"}),
)
REASONING: Final = Union(
    {
        "reasoningText": Struct(
            {"text": Text(), "signature": Text(0, TEN_MILLION)}, frozenset({"text"})
        ),
        "redactedContent": Blob(),
    }
)
ASSISTANT: Final = Struct(
    {
        "content": Text(),
        "toolUses": ListOf(
            Struct(
                {"toolUseId": TOOL_USE_ID, "name": TOOL_NAME, "input": Document()},
                frozenset({"toolUseId", "name", "input"}),
            )
        ),
        "reasoningContent": REASONING,
        "messageId": Text(0, 128),
        "cachePoint": CACHE_POINT,
        "references": ListOf(Document(), most=10),
        "supplementaryWebLinks": ListOf(Document(), most=10),
        "followupPrompt": Document(),
    },
    frozenset({"content"}),
)


def user_message(description_most: int) -> Struct:
    """Return the shape of a userInputMessage."""
    context = Struct(
        {
            "tools": ListOf(tool(description_most)),
            "toolResults": ListOf(TOOL_RESULT),
            "envState": ENV_STATE,
            "additionalContext": ListOf(ADDITIONAL_CONTEXT, most=20),
            "editorState": Document(),
            "shellState": Document(),
            "gitState": Document(),
            "diagnostic": Document(),
            "consoleState": Document(),
            "appStudioContext": Document(),
            "userSettings": Document(),
        }
    )
    return Struct(
        {
            "content": Text(),
            "modelId": Text(1, 1024, r"[a-zA-Z0-9_:.-]+"),
            "origin": Text(choices=ORIGINS),
            "images": ListOf(IMAGE, most=10, reason="IMAGE_COUNT_EXCEEDED"),
            "documents": ListOf(DOCUMENT),
            "userIntent": Text(choices=INTENTS),
            "cachePoint": CACHE_POINT,
            "clientCacheConfig": Struct({"useClientCachingOnly": Flag()}),
            "userInputMessageContext": context,
        },
        frozenset({"content"}),
    )


@cache
def request(generation: str) -> Struct:
    """Return the shape of a generateAssistantResponse body of "ide", "cli" or "kas"."""
    # The published limit is 10,240; the newest runtime was seen to take 32,768.
    user = user_message(32_768 if generation == "kas" else 10_240)
    conversation: dict[str, Shape] = {
        "currentMessage": Union({"userInputMessage": user}),
        "chatTriggerType": Text(choices=("MANUAL", "DIAGNOSTIC", "INLINE_CHAT")),
        "conversationId": Text(1, 128),
        "agentContinuationId": UUID,
        "agentTaskType": Text(choices=("vibe", "spectask")),
        "history": ListOf(Union({"userInputMessage": user, "assistantResponseMessage": ASSISTANT})),
        "customizationArn": Text(0, 1224),
        "workspaceId": UUID,
    }
    top: dict[str, Shape] = {
        "profileArn": Text(
            pattern=r"arn:aws[-a-z]*:(codewhisperer|transform):[-a-z0-9]+:\d{12}:profile/[a-zA-Z0-9]{12}"
        ),
        "additionalModelRequestFields": Document(),
    }
    if generation == "kas":
        conversation["rootConversationId"] = Text(1, 128)
        top["agentMode"] = Text(1, 64)
    required = frozenset({"currentMessage", "chatTriggerType"})
    top["conversationState"] = Struct(conversation, required)
    return Struct(top, frozenset({"conversationState"}))
