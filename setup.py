"""Compile the Cython modules and build the admin page; everything else is in pyproject.toml."""

import os
import shutil
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

MODULES = (
    "_codec",
    "_tally",
    "_json",
    "_base64",
    "_splice",
    "_prompt",
    "_turns",
    "_text",
    "_payload",
    "_lines",
    "_thinking",
    "_blocks",
    "_whole",
    "_stops",
    "_calls",
    "_limits",
    "_sse",
    "_answer",
    "_head",
    "_plain",
    "_keys",
    "_request",
    "_counters",
    "_wire",
    "_line",
    "_pump",
    "_launch",
    "_express",
    "_channel",
    "_ring",
    "_roster",
    "_meter",
)
DEBUG = bool(os.environ.get("KIROPROXY_DEBUG"))


# In a checkout, `make ui` builds the page; a wheel has to bring it.
PAGE = Path("kiroproxy/server/static/index.html")


def build_page() -> None:
    """Build the admin page where it can be: without Node, /admin says how to get it."""
    if PAGE.exists() or not Path("admin-ui").is_dir() or os.environ.get("KIROPROXY_WITHOUT_PAGE"):
        return
    npm = shutil.which("npm")
    if npm is None or subprocess.run([".ci/needs", "ui"], check=False).returncode:
        print("WARNING: the wheel comes without the admin page")
        return
    installed = Path("admin-ui/node_modules/.package-lock.json").exists()
    install = [] if installed else [["ci", "--prefer-offline", "--no-audit", "--no-fund"]]
    for command in [*install, ["run", "build"]]:
        done = subprocess.run([npm, "--prefix", "admin-ui", *command], check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"npm {command[0]} failed; KIROPROXY_WITHOUT_PAGE=1 does without it")


class Package(build_py):
    """Bring the admin page."""

    def run(self) -> None:
        if not self.editable_mode:
            build_page()
            self.__dict__.pop("data_files", None)  # a list made before the page was
        super().run()


setup(
    cmdclass={"build_py": Package},
    ext_modules=cythonize(
        [
            Extension(
                f"kiroproxy.{name}",
                [f"kiroproxy/{name}.pyx"],
                define_macros=[("KP_DEBUG", "1")] if DEBUG else [],
                extra_compile_args=["-O0", "-g"] if DEBUG else ["-O3"],
            )
            for name in MODULES
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
        },
    ),
)
