"""The one loader of the compiled core.

Two libraries that define the same operators abort the process, so every module is loaded here, and
once. A prebuilt module is used if there is one that fits; otherwise it is compiled on first use.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from dataclasses import dataclass
from types import ModuleType

import torch

from advrec.choices import KERNELS
from advrec.errors import ConfigError, NativeError
from advrec.native import gpu
from advrec.native.compile import compile_module
from advrec.native.forks import set_torch_threads
from advrec.system.threads import check as check_threads

NEWEST = ("lightgcn_steps_bf16", "optimizer")
"""An operator and an argument of it: an older build of the core lacks one or the other."""

FALLBACKS = {
    "_C": "its slow reference kernels",
    "_C_cuda": "plain torch on the GPU, which is slower",
}
"""What replaces a module that cannot be loaded."""


@dataclass(frozen=True)
class Loaded:
    """How one module was obtained."""

    how: str  # "prebuilt" or "compiled on first use"
    path: str
    module: ModuleType


_lock = threading.RLock()
_loaded: dict[str, Loaded] = {}
_failed: dict[str, str] = {}
_choice = os.environ.get("ADVREC_KERNELS", "auto")


def use(kernels: str) -> None:
    """Choose the implementation of every op of this process: auto, native or reference.

    "native" raises NativeError at once if the core cannot be loaded; "auto" falls back to the
    reference with a warning. The environment variable ADVREC_KERNELS sets the initial choice.
    """
    global _choice  # noqa: PLW0603 - one process has one set of operators, so one choice
    if kernels not in KERNELS:
        raise ConfigError(f"unknown kernels {kernels!r}: choose {', '.join(KERNELS)}")
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
    """The module `_C` with the operators; None if it does not load, NativeError if `required`."""
    return obtain("_C", required=required)


def host() -> ModuleType | None:
    """The module `_host` (text reader), or None: everything in it has a twin in Python."""
    loaded = obtain("_host", required=False)
    return loaded.module if loaded else None


def cuda(*, required: bool = False) -> Loaded | None:
    """The module `_C_cuda`, the operators for CUDA tensors; None if it does not load.

    Then plain torch runs on the GPU. NativeError if `required`. Looks for a device first, and never
    builds without one.
    """
    reason = gpu.why_not()
    if reason is not None:
        if required:
            raise reason
        return None
    return obtain("_C_cuda", required=required) if core(required=required) else None


def isa() -> str:
    """The instruction set that the CPU kernels run with: avx512, avx2 or portable."""
    core(required=True)
    return str(torch.ops.advrec.isa())


def set_threads(threads: int | None) -> int:
    """Use that many threads in the core and in torch; None leaves both as they are. Returns it."""
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        set_torch_threads(threads)
        if core():
            torch.ops.advrec.set_threads(threads)
    return int(torch.ops.advrec.get_threads()) if core() else torch.get_num_threads()


def obtain(name: str, *, required: bool) -> Loaded | None:
    """A module, loaded or compiled once per process; None (NativeError if `required`) if it fails.

    The first failure of a module that has a slower replacement warns.
    """
    with _lock:
        if name not in _loaded and name not in _failed:
            if name == "_C":  # the first computation is near
                check_threads(torch.get_num_threads() - 1)
            try:
                loaded = _prebuilt(name) or _compiled(name)
                if name == "_C_cuda":
                    gpu.probe()
                _loaded[name] = loaded
            except NativeError as error:
                _failed[name] = str(error) + (f" hint: {error.hint}" if error.hint else "")
                if name in FALLBACKS and not required:
                    warnings.warn(f"advrec runs on {FALLBACKS[name]}: {error}", stacklevel=3)
    if name in _loaded:
        return _loaded[name]
    if required:
        raise NativeError(
            f"the compiled core cannot be used: {_failed[name]}",
            hint="`advrec doctor` shows what is missing; --kernels reference works without it",
        )
    return None


def why_not(name: str) -> str:
    """Why `obtain` gave None for a module."""
    return _failed[name]


def _prebuilt(name: str) -> Loaded | None:
    if os.environ.get("ADVREC_JIT") == "1":
        return None
    try:
        module = importlib.import_module(f"advrec.{name}")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        raise NativeError(
            f"the prebuilt {name} does not load with torch {torch.__version__}: {error}",
            hint="build it again: pip install --no-build-isolation --force-reinstall --no-deps .",
        ) from error
    if name == "_C" and not _is_current():
        raise NativeError(
            f"the prebuilt core at {module.__file__} is older than this advrec",
            hint="build it again: python setup.py build_ext --inplace",
        )
    return Loaded("prebuilt", str(module.__file__), module)


def _is_current() -> bool:
    operator, argument = NEWEST
    if not hasattr(torch.ops.advrec, operator):
        return False
    schema = getattr(torch.ops.advrec, operator).default._schema
    return any(known.name == argument for known in schema.arguments)


def _compiled(name: str) -> Loaded:
    module = compile_module(name)
    return Loaded("compiled on first use", str(module.__file__), module)
