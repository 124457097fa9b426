"""What `advrec doctor` reports: everything that decides what the operators run on."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import warnings
from dataclasses import dataclass

import torch

from advrec.native import gpu, loader
from advrec.native.compile import compiler_path


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool
    found: str
    hint: str | None = None


def diagnose() -> list[Check]:
    """Every check, each with its remedy if it fails. Loads the modules, compiling if need be."""
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
        checks.append(_module("core", "_C", "slower twins in Python are used"))
        checks.append(_module("text reader", "_host", "slower twins in Python are used"))
        checks += _cuda()
    if loader.core() is not None:
        checks.append(Check("instruction set", True, loader.isa()))
        checks.append(Check("threads", True, str(loader.set_threads(None))))
    checks.append(Check("ops run on", True, loader.kernels()))
    return checks


def _module(about: str, name: str, hint: str) -> Check:
    loaded = loader.obtain(name, required=False)
    text = f"{loaded.how}: {loaded.path}" if loaded else loader.why_not(name)
    return Check(about, loaded is not None, text, hint)


def _cuda() -> list[Check]:
    """A machine without a GPU is fine; one whose GPU cannot be used is not."""
    reason = gpu.why_not()
    if reason is not None:
        return [Check("GPU", torch.version.cuda is None, str(reason), reason.hint)]
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    slower = "plain torch runs on the GPU, slower"
    if loader.core() is None:
        core = Check("CUDA core", False, "not loaded without the core", slower)
    else:
        core = _module("CUDA core", "_C_cuda", slower)
    return [Check("GPU", True, ", ".join(names)), core]
