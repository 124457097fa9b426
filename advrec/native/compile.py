"""Compile a module of the core on first use, where no prebuilt one fits.

Through `torch.utils.cpp_extension`, into a folder named after everything that could make a
difference to the result, so that a build is never reused for other sources, flags or torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch

from advrec.errors import NativeError, RunError
from advrec.native import sources
from advrec.system.folders import cache_home
from advrec.system.locks import one_at_a_time

PACKAGE = Path(__file__).resolve().parents[1]

_log = logging.getLogger("advrec")


@dataclass(frozen=True)
class Recipe:
    """What one module is compiled from."""

    paths: list[Path]
    headers: list[Path]
    flags: list[str]
    nvcc: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    link: list[str] = field(default_factory=list)


def compile_module(name: str) -> ModuleType:
    """Compile and import `_C`, `_C_cuda` or `_host`; NativeError says what is missing."""
    csrc = sources.source_dir(PACKAGE)
    if csrc is None:
        raise NativeError(
            f"found neither a prebuilt {name} nor its sources", hint="reinstall advrec"
        )
    compiler = compiler_path()
    if compiler is None:
        raise NativeError(
            "found no C++ compiler",
            hint="install g++ or clang++ (Debian: apt install g++; macOS: xcode-select --install)",
        )
    recipe = _recipe(name, csrc)
    if not all(path.is_file() for path in recipe.paths):
        raise NativeError(
            f"the sources of {name} in {csrc} are incomplete", hint="reinstall advrec"
        )
    # torch compiles for the card it sees
    card = [torch.cuda.get_device_name()] if recipe.nvcc else []
    folder = build_folder(
        name, [*recipe.paths, *recipe.headers], [compiler, *recipe.flags, *recipe.nvcc, *card]
    )
    if not folder.is_dir():
        _log.warning("compiling advrec's %s, this once (half a minute) …", name.strip("_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _build(name, recipe, folder)
    except OSError as error:
        raise NativeError(f"{folder} cannot be written: {error.strerror or error}") from error
    except RunError as error:  # of the lock
        raise NativeError(str(error)) from error


def compiler_path() -> str | None:
    """The C++ compiler that a build would use."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def build_folder(name: str, files: list[Path], flags: list[str]) -> Path:
    """The folder of one build: its name is a digest of sources, flags, Python and torch."""
    digest = hashlib.sha256()
    for part in (torch.__version__, sys.version, *flags):
        digest.update(part.encode() + b"\0")
    for path in files:
        digest.update(path.read_bytes())
    return cache_home() / f"{name.strip('_')}-{digest.hexdigest()[:16]}"


def _recipe(name: str, csrc: Path) -> Recipe:
    if name == "_C":
        return Recipe(
            sources.core_sources(csrc),
            sources.core_headers(csrc),
            sources.core_flags(),
            link=sources.link_flags(),
        )
    if name == "_C_cuda":
        return Recipe(
            sources.cuda_sources(csrc),
            sources.cuda_headers(csrc),
            sources.cuda_flags(),
            nvcc=sources.nvcc_flags(),
            link=sources.cuda_link_flags(_cuda_home()),
        )
    import pybind11

    return Recipe(
        [csrc / "text" / "reader.cpp"],
        sources.host_headers(csrc),
        sources.host_flags(),
        includes=[pybind11.get_include()],
        link=sources.link_flags(),
    )


def _build(name: str, recipe: Recipe, folder: Path) -> ModuleType:
    from torch.utils import cpp_extension

    what = f"advrec's {name.strip('_')} to be compiled"
    with one_at_a_time(folder / "advrec.lock", what), _ninja_on_path():
        (folder / "lock").unlink(missing_ok=True)  # of a killed build: torch would wait for ever
        try:
            module = cpp_extension.load(
                name=name,
                sources=[str(path) for path in recipe.paths],
                extra_cflags=recipe.flags,
                extra_cuda_cflags=recipe.nvcc,
                extra_include_paths=recipe.includes,
                extra_ldflags=recipe.link,
                build_directory=str(folder),
                with_cuda=bool(recipe.nvcc),
            )
        except (RuntimeError, OSError, ImportError) as error:
            first = next((line for line in str(error).splitlines() if "error" in line), str(error))
            raise NativeError(
                f"compiling {name} failed: {first.strip()}",
                hint=f"the build folder is {folder}; `advrec doctor` lists what is needed",
            ) from error
    assert isinstance(module, ModuleType)
    return module


def _cuda_home() -> str:
    """The CUDA toolkit, also set for torch. NativeError if there is none."""
    home = sources.cuda_home()
    if home is None:
        raise NativeError(
            "found no nvcc to compile the CUDA core",
            hint=f"install the CUDA {torch.version.cuda} toolkit and set CUDA_HOME",
        )
    from torch.utils import cpp_extension

    os.environ["CUDA_HOME"] = cpp_extension.CUDA_HOME = home  # torch looked it up at import
    return home


@contextlib.contextmanager
def _ninja_on_path() -> Iterator[None]:
    """The package ninja is not on PATH unless its environment is activated."""
    before = os.environ.get("PATH", "")
    try:
        import ninja

        os.environ["PATH"] = ninja.BIN_DIR + os.pathsep + before
    except ImportError:
        pass
    try:
        yield
    finally:
        os.environ["PATH"] = before
