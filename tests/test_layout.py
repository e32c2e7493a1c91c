"""The import rule: layers import downward only, wherever in a file the import stands."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kiroproxy"

# layer → what it may import of ours, besides itself. A layer is a folder, or a file at the top.
SHARED = {"errors", "config", "logs", "jsonc", "values", "metrics"}
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "logs": set(),
    "jsonc": {"errors"},
    "values": {"jsonc"},
    "metrics": {"_counters"},
    "reading": {"errors", "jsonc", "values"},
    "config": {"values"},
    "settings": {"config", "logs", "jsonc", "values"},
    "loading": {"config", "settings", "reading", "errors"},
    "_codec": set(),
    "_tally": set(),
    "_json": set(),
    "_base64": set(),
    "_splice": {"_json", "_tally"},
    "_prompt": {"_json", "_splice", "_tally"},
    "_turns": {"_json", "_prompt", "_splice"},
    "_text": set(),
    "_lines": {"_text"},
    "_thinking": {"_lines"},
    "_payload": {"_codec", "_text"},
    "_blocks": {"_text", "_thinking"},
    "_whole": {"_blocks"},
    "_stops": {"_text"},
    "_calls": {"_text", "_lines"},
    "_limits": {"_text", "_thinking", "_blocks", "_stops"},
    "_sse": {"_codec", "_text", "_payload", "_thinking", "_blocks", "_limits", "_calls"},
    "_answer": {"_sse", "_blocks", "_text", "_whole", "protocol"},
    "_head": set(),
    "_wire": {"_head"},
    "_line": {"_wire", "errors"},
    "_pump": {"_sse", "_wire", "_line"},
    "_launch": {"_line", "_wire"},
    "_express": {
        *(
            "_answer",
            "_counters",
            "_head",
            "_keys",
            "_launch",
            "_line",
            "_plain",
            "_pump",
            "_request",
            "_wire",
        ),
        "errors",
    },
    "_channel": {"_wire"},
    "_plain": {"_json", "_tally"},
    "_keys": set(),
    "_request": {"_plain"},
    "_counters": {"_request"},
    "protocol": {"_plain", "_sse", "_tally", "_json", "_base64", "_prompt", "_turns"} | SHARED,
    "_ring": set(),
    "_roster": {"_ring"},
    "_meter": {"_ring"},
    "records": SHARED,
    "accounts": {"_ring", "_roster", "_meter"} | SHARED,
    "upstream": {"_plain", "_channel", "_json", "_wire", "_launch", "_line", "accounts"} | SHARED,
    "server": {
        "loading",
        "settings",
        "_answer",
        "_head",
        "_keys",
        "_plain",
        "_json",
        "_express",
        "_pump",
        "_request",
        "_meter",
        "protocol",
        "upstream",
        "accounts",
        "records",
    }
    | SHARED,
    "admin": {
        "settings",
        "_answer",
        "_meter",
        "server",
        "protocol",
        "upstream",
        "accounts",
        "records",
    }
    | SHARED,
    "serve": {"_splice", "admin", "server", "accounts"} | SHARED,
    "enrol": {"upstream", "accounts"} | SHARED,
    "demo": {"loading", "serve", "simulator"} | SHARED,
    "cli": {"loading", "demo", "serve", "enrol", "simulator", "server", "accounts"} | SHARED,
    "simulator": set(),
}


def layer_of(module: str) -> str:
    """`kiroproxy.server.app` → `server`; `kiroproxy` and its `__version__` → `__init__`."""
    parts = module.split(".")
    return "__init__" if parts[1:] in ([], ["__version__"]) else parts[1]


def python_imports(source: str, package: str) -> set[str]:
    """Return every module of ours a Python source imports, at any depth of nesting."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {package}: write it out"
            base = node.module or ""
            found |= (
                {f"{base}.{alias.name}" for alias in node.names} if base == "kiroproxy" else {base}
            )
    return {name for name in found if name.split(".")[0] == "kiroproxy"}


def cython_imports(source: str) -> set[str]:
    """Return every module of ours a Cython source imports or cimports."""
    found = set()
    for line in source.splitlines():
        words = line.split("#")[0].split()
        if words[:1] in (["from"], ["import"], ["cimport"]) and words[1].startswith("kiroproxy"):
            found.add(words[1] if "." in words[1] else f"{words[1]}.{words[3].rstrip(',')}")
    return found


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".pyx", ".pxd"})


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_layer_may(path: Path) -> None:
    module = ".".join(("kiroproxy", *path.relative_to(PACKAGE).with_suffix("").parts))
    source = path.read_text()
    imports = python_imports(source, module) if path.suffix == ".py" else cython_imports(source)
    layer = layer_of(module)
    assert layer in ALLOWED, f"{path.name}: a new layer must be placed in ALLOWED and in the docs"
    for target in map(layer_of, imports):
        assert target in ALLOWED[layer] | {layer, "__init__"}, f"{module} imports {target}: upward"


def test_the_rule_sees_an_upward_import_inside_a_function() -> None:
    source = "def late():\n    from kiroproxy.server.app import create\n"
    assert python_imports(source, "kiroproxy.accounts.pool") == {"kiroproxy.server.app"}
    assert "server" not in ALLOWED["accounts"]


def test_the_rule_sees_a_cimport() -> None:
    assert cython_imports("from kiroproxy._codec cimport Frame") == {"kiroproxy._codec"}


def test_every_layer_named_in_the_rule_exists() -> None:
    missing = [
        name
        for name in ALLOWED
        if not (PACKAGE / name).is_dir()
        and not any((PACKAGE / f"{name}{suffix}").exists() for suffix in (".py", ".pyx"))
    ]
    assert missing == []


def test_compiled_modules_have_a_typed_stub() -> None:
    for path in PACKAGE.glob("_*.pyx"):
        assert path.with_suffix(".pyi").exists(), f"{path.name} has no .pyi"
