"""Build entry: CMake builds the extension module, kernels/ becomes intact_fast.kernels.

All metadata stands in pyproject.toml.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """Builds the extension with CMake; the environment's ``CMAKE_ARGS`` are passed on."""

    def build_extension(self, ext: Extension) -> None:
        """Configure and build into the place where setuptools expects the module."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve()
        configure = [
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        subprocess.run(["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *configure], check=True)
        subprocess.run(["cmake", "--build", build], check=True)


setup(
    packages=[*find_packages(include=["intact_fast*"]), "intact_fast.kernels", "intact_fast.reporting.page"],
    # a top-level package called kernels would collide with another project's in site-packages
    package_dir={"intact_fast.kernels": "kernels"},
    # template, style and scripts of the HTML pages; trained generators with their cards
    package_data={"intact_fast.reporting.page": ["*"], "intact_fast": ["pretrained/*"]},
    ext_modules=[Extension("intact_fast._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
