"""The one loader of the compiled core, and the account it can give of what it did.

Two libraries that define the same operators abort the process, so everything goes through here and
happens once. Prebuilt modules are taken if they are there; otherwise they are compiled on first
use through `torch.utils.cpp_extension`, into a folder named after everything that could make a
difference to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from advrec.errors import ConfigError, NativeError
from advrec.native import gpu, sources
from advrec.system.folders import cache_home

KERNELS = ("auto", "native", "reference")
NEWEST_OPS = ("lightgcn_steps_bf16",)
"""Operators that an older build of the core lacks."""

FALLBACKS = {
    "_C": "its slow reference kernels",
    "_C_cuda": "plain torch on the GPU, which is slower",
}
"""What takes the place of a module that cannot be had."""

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Loaded:
    """How one module was obtained."""

    how: str  # "prebuilt" or "compiled on first use"
    path: str
    module: ModuleType


@dataclass(frozen=True)
class Check:
    """One line of `advrec doctor`."""

    name: str
    ok: bool
    found: str
    hint: str | None = None


_log = logging.getLogger("advrec")
_lock = threading.RLock()
_loaded: dict[str, Loaded] = {}
_failed: dict[str, str] = {}
_choice = os.environ.get("ADVREC_KERNELS", "auto")


def use(kernels: str) -> None:
    """Choose the implementation of every op of this process: auto, native or reference.

    "native" raises NativeError at once if the core cannot be had; "auto" falls back to the
    reference with a warning. The environment variable ADVREC_KERNELS sets the initial choice.
    """
    global _choice  # noqa: PLW0603 - one process has one set of operators, so one choice
    if kernels not in KERNELS:
        raise ConfigError(f"kernels is {kernels!r}, wanted one of {', '.join(KERNELS)}")
    if kernels == "native":
        core(required=True)
    _choice = kernels


def choice() -> str:
    """What was chosen: auto, native or reference."""
    return _choice


def kernels() -> str:
    """What the ops run on now: "native" or "reference"."""
    if _choice == "reference":
        return "reference"
    return "native" if core(required=_choice == "native") else "reference"


def core(*, required: bool = False) -> Loaded | None:
    """The module `_C` with the operators; None if it cannot be had, NativeError if `required`."""
    return _obtain("_C", required=required)


def host() -> ModuleType | None:
    """The module `_host` (text reader), or None: everything in it has a twin in Python."""
    found = _obtain("_host", required=False)
    return found.module if found else None


def cuda(*, required: bool = False) -> Loaded | None:
    """The module `_C_cuda`, the operators for CUDA tensors; None if it cannot be had.

    Then plain torch runs on the GPU. NativeError if `required`. Looks for a device first, and never
    builds without one.
    """
    reason = gpu.why_not()
    if reason is not None:
        if required:
            raise reason
        return None
    return _obtain("_C_cuda", required=required) if core(required=required) else None


def prebuilt() -> bool:
    """Is there a core that was compiled ahead of time? Looks, and neither loads nor compiles."""
    return "_C" in _loaded or importlib.util.find_spec("advrec._C") is not None


def isa() -> str:
    """The instruction set that the CPU kernels run with: avx512, avx2 or portable."""
    core(required=True)
    return str(torch.ops.advrec.isa())


def set_threads(threads: int | None) -> int:
    """Use that many threads in the core and in torch; None leaves both as they are. Returns it."""
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}, wanted at least 1")
        torch.set_num_threads(threads)
        if core():
            torch.ops.advrec.set_threads(threads)
    return int(torch.ops.advrec.get_threads()) if core() else torch.get_num_threads()


def _obtain(name: str, *, required: bool) -> Loaded | None:
    with _lock:
        if name not in _loaded and name not in _failed:
            try:
                found = _prebuilt(name) or _compile(name)
                if name == "_C_cuda":
                    gpu.probe()
                _loaded[name] = found
            except NativeError as error:
                _failed[name] = str(error) + (f" hint: {error.hint}" if error.hint else "")
                if name in FALLBACKS and not required:
                    warnings.warn(f"advrec runs on {FALLBACKS[name]}: {error}", stacklevel=3)
    if name in _loaded:
        return _loaded[name]
    if required:
        raise NativeError(
            f"The compiled core cannot be used: {_failed[name]}",
            hint="`advrec doctor` shows what is missing; --kernels reference works without it",
        )
    return None


def _prebuilt(name: str) -> Loaded | None:
    if os.environ.get("ADVREC_JIT") == "1":
        return None
    try:
        module = importlib.import_module(f"advrec.{name}")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        raise NativeError(
            f"The prebuilt {name} does not load with torch {torch.__version__}: {error}",
            hint="build it again: pip install --no-build-isolation --force-reinstall --no-deps .",
        ) from error
    if name == "_C" and not all(hasattr(torch.ops.advrec, op) for op in NEWEST_OPS):
        raise NativeError(
            f"The prebuilt core at {module.__file__} is older than this advrec.",
            hint="build it again: python setup.py build_ext --inplace",
        )
    return Loaded("prebuilt", str(module.__file__), module)


def _compile(name: str) -> Loaded:
    csrc = sources.source_dir(PACKAGE)
    if csrc is None:
        raise NativeError(f"There is neither a prebuilt {name} nor its sources.", hint="reinstall")
    compiler = compiler_path()
    if compiler is None:
        raise NativeError(
            "There is no C++ compiler.",
            hint="install g++ or clang++ (Debian: apt install g++; macOS: xcode-select --install)",
        )
    nvcc: list[str] = []
    includes: list[str] = []
    depends: list[Path] = []
    link = sources.link_flags()
    if name == "_C":
        paths, flags = sources.core_sources(csrc), sources.core_flags()
        depends = sources.core_headers(csrc)
    elif name == "_C_cuda":
        paths, flags = sources.cuda_sources(csrc), sources.cuda_flags()
        depends, nvcc = sources.cuda_headers(csrc), sources.nvcc_flags()
        link = sources.cuda_link_flags(_cuda_home())
    else:
        import pybind11

        paths, flags = [csrc / "text" / "reader.cpp"], sources.host_flags()
        depends = sources.host_headers(csrc)
        includes = [pybind11.get_include()]
    if not all(path.is_file() for path in paths):
        raise NativeError(f"The sources of {name} are not complete in {csrc}.", hint="reinstall")
    card = [torch.cuda.get_device_name()] if nvcc else []  # torch compiles for the card it sees
    folder = build_folder(name, [*paths, *depends], [compiler, *flags, *nvcc, *card])
    if not folder.is_dir():
        _log.warning("compiling advrec's %s, this once (half a minute) …", name.strip("_"))
    folder.mkdir(parents=True, exist_ok=True)
    with _build_lock(folder), _ninja_on_path():
        from torch.utils import cpp_extension

        try:
            module = cpp_extension.load(
                name=name,
                sources=[str(path) for path in paths],
                extra_cflags=flags,
                extra_cuda_cflags=nvcc,
                extra_include_paths=includes,
                extra_ldflags=link,
                build_directory=str(folder),
                with_cuda=bool(nvcc),
            )
        except (RuntimeError, OSError, ImportError) as error:
            first = next((line for line in str(error).splitlines() if "error" in line), str(error))
            raise NativeError(
                f"Compiling {name} failed: {first.strip()}",
                hint=f"the build folder is {folder}; `advrec doctor` lists what is needed",
            ) from error
    return Loaded("compiled on first use", str(module.__file__), module)


def _cuda_home() -> str:
    """The CUDA toolkit, told to torch as well. NativeError if there is none."""
    home = sources.cuda_home()
    if home is None:
        raise NativeError(
            "There is no nvcc to compile the CUDA core with.",
            hint=f"install the CUDA {torch.version.cuda} toolkit and set CUDA_HOME",
        )
    from torch.utils import cpp_extension

    os.environ["CUDA_HOME"] = cpp_extension.CUDA_HOME = home  # it was looked up at import
    return home


def compiler_path() -> str | None:
    """The C++ compiler that a build would use."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def build_folder(name: str, sources: list[Path], flags: list[str]) -> Path:
    """Where a build on first use is kept: a name for each state of sources, flags and torch."""
    digest = hashlib.sha256()
    for part in (torch.__version__, sys.version, *flags):
        digest.update(part.encode() + b"\0")
    for path in sources:
        digest.update(path.read_bytes())
    return cache_home() / f"{name.strip('_')}-{digest.hexdigest()[:16]}"


@contextlib.contextmanager
def _build_lock(folder: Path) -> Iterator[None]:
    """One builder at a time. The lock file of a killed build would stop torch for ever."""
    import fcntl

    with (folder / "advrec.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / "lock").unlink(missing_ok=True)
        yield


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


def diagnose() -> list[Check]:
    """Everything that decides what the ops run on, each with its remedy if it is not well."""
    python = ".".join(map(str, sys.version_info[:3]))
    compiler = compiler_path()
    checks = [
        Check("python", sys.version_info >= (3, 10), python, "advrec needs Python 3.10 or newer"),
        Check("torch", True, f"{torch.__version__} (CUDA {torch.version.cuda or 'none'})"),
        Check(
            "compiler",
            compiler is not None,
            compiler or "none found",
            "needed only where no prebuilt core fits: install g++ or clang++",
        ),
        Check(
            "ninja",
            importlib.util.find_spec("ninja") is not None or shutil.which("ninja") is not None,
            shutil.which("ninja") or "as a Python package",
            "pip install ninja",
        ),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, about in (("_C", "core"), ("_host", "text reader")):
            found = _obtain(name, required=False)
            text = f"{found.how}: {found.path}" if found else _failed[name]
            checks.append(Check(about, found is not None, text, "slower twins in Python are used"))
        checks += _diagnose_cuda()
    if "_C" in _loaded:
        checks.append(Check("instruction set", True, isa()))
        checks.append(Check("threads", True, str(set_threads(None))))
    checks.append(Check("ops run on", True, kernels()))
    return checks


def _diagnose_cuda() -> list[Check]:
    """A machine without a GPU is well; one whose GPU cannot be used is not."""
    reason = gpu.why_not()
    if reason is not None:
        return [Check("GPU", torch.version.cuda is None, str(reason), reason.hint)]
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    found = cuda()
    text = f"{found.how}: {found.path}" if found else _failed["_C_cuda"]
    return [
        Check("GPU", True, ", ".join(names)),
        Check("CUDA core", found is not None, text, "plain torch runs on the GPU, slower"),
    ]
