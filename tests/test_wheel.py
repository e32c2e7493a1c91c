"""The wheel: compiled modules, typed stubs, the admin page, and no C sources."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NODE_MODULES = ROOT / "admin-ui" / "node_modules"
# Every module is compiled and the page built: beside other work that takes longer than a test may.
pytestmark = pytest.mark.timeout(120)
BUILD_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy without the page, as after a build that changed nothing since.

    `make build` has just compiled every module by the same setup.py. Its C files are there for a
    wheel to leave out; its modules stand where setuptools keeps its own, which compiles again
    only what has a newer source.
    """
    tree = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "static", "node_modules")
    for folder in ("kiroproxy", "admin-ui", ".ci"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignore)
    if NODE_MODULES.exists():  # as `make ui` leaves them; else npm fetches them here
        (tree / "admin-ui" / "node_modules").symlink_to(NODE_MODULES)
    kept = f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/kiroproxy"
    (tree / kept).mkdir(parents=True)
    for module in (ROOT / "kiroproxy").glob("*.so"):
        shutil.copy2(module, tree / kept)
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tree / "dist"), str(tree)]
    # Unoptimised what it does compile, since only contents matter.
    environ = os.environ | {"KIROPROXY_DEBUG": "1"}
    subprocess.run(command, check=True, env=environ, cwd=tree, capture_output=True)
    (built,) = (tree / "dist").glob("*.whl")
    return built


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_every_compiled_module_comes_with_its_stub(wheel: Path) -> None:
    held = names(wheel)
    for source in (ROOT / "kiroproxy").glob("*.pyx"):
        assert f"kiroproxy/{source.stem}.pyi" in held
        assert any(n.startswith(f"kiroproxy/{source.stem}.") and n.endswith(".so") for n in held)
    assert "kiroproxy/py.typed" in held


def test_it_holds_every_python_module_and_no_sources_of_compiled_ones(wheel: Path) -> None:
    held = set(names(wheel))
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "kiroproxy").rglob("*.py")}
    assert modules <= held and "kiroproxy/simulator/server.py" in held
    assert [name for name in held if name.endswith((".c", ".pyx", ".pxd", ".h", ".pth"))] == []


def test_it_holds_the_admin_page_with_everything_it_loads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        page = archive.read("kiroproxy/server/static/index.html").decode()
        held = set(archive.namelist())
    loaded = re.findall(r'(?:src|href)="/admin/([^"]+)"', page)
    assert any(name.endswith(".js") for name in loaded) and loaded
    assert {f"kiroproxy/server/static/{name}" for name in loaded} <= held
    assert not [name for name in held if name.startswith("admin-ui/")]


def test_it_runs_away_from_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = "import kiroproxy._sse as m, sys; print(m.__file__)"
    environ = {"PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode()

    assert run("-c", script).startswith(str(tmp_path))
    assert run("-m", "kiroproxy", "--version").startswith("kiroproxy ")
