"""Compile the Cython modules; everything else is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

MODULES = (
    "_codec",
    "_tally",
    "_json",
    "_base64",
    "_text",
    "_payload",
    "_thinking",
    "_blocks",
    "_stops",
    "_calls",
    "_limits",
    "_sse",
    "_head",
    "_wire",
    "_pump",
    "_channel",
    "_ring",
    "_roster",
    "_meter",
)
DEBUG = bool(os.environ.get("KIROPROXY_DEBUG"))


class WithoutSources(build_py):
    """Leave .pyx, .pxd and .c out of the wheel: it holds the compiled modules."""

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        found = super().find_data_files(package, src_dir)
        return [path for path in found if not path.endswith((".c", ".pyx", ".pxd"))]


setup(
    cmdclass={"build_py": WithoutSources},
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
