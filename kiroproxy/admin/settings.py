"""Settings, read and changed under a running gateway.

Rules of this file: `settings.SETTINGS` is the only list; a secret's value never leaves, only
whether there is one.

Source: README.md, "Configuration".
"""

from typing import Any

from kiroproxy.admin import schema as s
from kiroproxy.admin.desk import Desk
from kiroproxy.admin.items import without_login
from kiroproxy.admin.refusal import Refusal, invalid
from kiroproxy.admin.routes import Answer, Call, Route
from kiroproxy.config import LOAD_BALANCING, Config
from kiroproxy.settings import BY_KEY, SETTINGS, Setting

# With these the admin key could lock everybody out, open the door for good, or write anywhere.
_FIXED = ("adminApiKey", "apiKey", "recordsPath")
_SOURCES = {"environment": "env", "env": "env", "flag": "flag", "flags": "flag", "file": "file"}


async def read(call: Call) -> Answer:
    """List the settings."""
    return Answer(_all(call.desk))


async def change(call: Call) -> Answer:
    """Change settings; null gives one its default back."""
    desk, changes = call.desk, call.body
    for key in changes:
        setting = BY_KEY.get(key)
        if setting is None:
            raise invalid("unknown_setting", f"There is no setting {key[:80]}",
                          "GET /settings lists them")  # fmt: skip
        if key in _FIXED:
            raise invalid("not_editable", f"{key} is changed in config.json only",
                          "Edit the file; apiKey is taken over at once")  # fmt: skip
        source = _source(desk.config, key)
        if source in ("env", "flag"):
            raise invalid("overridden", f"{key} is set by {source}, which a file cannot override",
                          "Take it out there and restart")  # fmt: skip
    await desk.gateway.change_settings(changes)
    call.detail = ", ".join(
        key if BY_KEY[key].secret else f"{key}={_shown(value)}" for key, value in changes.items()
    )
    return Answer(_all(desk))


async def read_mode(call: Call) -> Answer:
    """Say how credentials are chosen."""
    return Answer({"mode": call.desk.config.load_balancing_mode})


async def change_mode(call: Call) -> Answer:
    """Choose credentials by priority, or all alike."""
    mode = call.body["mode"]
    if _source(call.desk.config, "loadBalancingMode") in ("env", "flag"):
        raise Refusal("invalid_request", "overridden", "The environment decides on the mode",
                      "Take KIROPROXY_LOAD_BALANCING_MODE out and restart")  # fmt: skip
    await call.desk.gateway.change_settings({"loadBalancingMode": mode})
    call.detail = f"mode={mode}"
    return Answer({"mode": mode})


def _all(desk: Desk) -> dict[str, Any]:
    return {"settings": [_told(setting, desk.config) for setting in SETTINGS]}


def _told(setting: Setting, config: Config) -> dict[str, Any]:
    value = setting.value(config)
    source = _source(config, setting.key)
    found = {
        "key": setting.key,
        "group": setting.group,
        "type": setting.kind,
        "value": None if setting.secret else _shown(value),
        "default": None if setting.secret else setting.default,
        "source": source,
        "live": setting.live,
        "editable": setting.key not in _FIXED and source not in ("env", "flag"),
        "secret": setting.secret,
        "isSet": bool(value),
        "description": setting.meaning,
    }
    if setting.bounds:
        found["min"], found["max"] = setting.bounds
    if setting.choices:
        found["choices"] = list(setting.choices)
    if setting.unit:
        found["unit"] = setting.unit
    return found


def _shown(value: Any) -> Any:
    return without_login(value) if isinstance(value, str) and "://" in value else value


def _source(config: Config, key: str) -> str:
    return _SOURCES.get(config.sources.get(key, "default"), "default")


_SETTING = s.record(
    {
        "key": s.text(),
        "group": s.text(),
        "type": s.one_of("bool", "int", "float", "string", "enum", "map"),
        "value": {},
        "default": {},
        "source": s.one_of("file", "env", "flag", "default"),
        "live": s.flag(),
        "editable": s.flag(),
        "secret": s.flag(),
        "isSet": s.flag(),
        "description": s.text(),
        "min": s.number(-1e15),
        "max": s.number(-1e15),
        "choices": s.array(s.text()),
        "unit": s.text(),
    },
    *("key", "group", "type", "value", "default", "source", "live", "editable", "description"),
)
_SETTINGS = s.record({"settings": s.array(_SETTING)}, "settings")
_MODE = s.record({"mode": s.one_of(*LOAD_BALANCING)}, "mode")
# fmt: off
ROUTES = (
    Route("GET", "/settings", read, "List the settings", "settings", answer=_SETTINGS),
    Route("PATCH", "/settings", change, "Change settings", "settings", "settings.change",
          body={"type": "object", "minProperties": 1}, answer=_SETTINGS),
    Route("GET", "/config/load-balancing", read_mode, "Say how credentials are chosen",
          "settings", answer=_MODE),
    Route("PUT", "/config/load-balancing", change_mode, "Choose how credentials are chosen",
          "settings", "settings.mode", body={**_MODE, "additionalProperties": True}, answer=_MODE),
)
# fmt: on
