"""Devices: whether torch can use a GPU, what the CUDA core accepts, its errors in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from advrec.errors import ConfigError, NativeError

MAX_DIM = 512
"""The widest rows of the CUDA kernels (kMaxDim of csrc/kernels_cuda.h)."""

WINDOW = 32
"""The most steps that the fused operators capture in one CUDA graph: a call of a multiple of it
only replays graphs."""


def device_of(name: str) -> str:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` means; ConfigError if there is none."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    reason = why_not()
    if reason is not None:
        raise ConfigError(f"device {name!r} is unavailable: {reason}", hint=reason.hint)
    count = torch.cuda.device_count()
    index = 0 if ":" not in name else int(name.split(":")[1])
    if index >= count:
        raise ConfigError(
            f"device {name!r} is unavailable: torch {torch.__version__} sees {count} CUDA devices",
            hint="--device cpu",
        )
    return f"cuda:{index}"


def why_not() -> NativeError | None:
    """Why torch sees no CUDA device here; None if it does."""
    version = torch.__version__
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return NativeError(
            f"torch {version} is built without CUDA",
            hint="install a CUDA build of torch (see pytorch.org), or use --device cpu",
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "it sees no device"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(". ")[0].split("\n")[0]
    return NativeError(
        f"torch {version} is built for CUDA {torch.version.cuda}, but cannot use a GPU: {reason}",
        hint="`nvidia-smi` must list the card, with a driver that is new enough; or --device cpu",
    )


def takes(tensor: Tensor, *, any_width: bool = False) -> bool:
    """Do the CUDA kernels accept it? float32 (or ids), rows of at most MAX_DIM values."""
    if tensor.dtype not in (torch.float32, torch.int32):
        return False
    return any_width or tensor.dim() < 2 or 1 <= tensor.shape[1] <= MAX_DIM


def probe() -> None:
    """Run one kernel on the current device; NativeError if the core was not built for its kind."""
    try:
        row = torch.ops.advrec.normalize_rows(torch.ones(1, 4, device="cuda"), 2.0)
        torch.cuda.synchronize()
    except RuntimeError as error:
        major, minor = torch.cuda.get_device_capability()
        raise NativeError(
            f"the CUDA core does not run on {torch.cuda.get_device_name()} (compute capability "
            f"{major}.{minor}): {_first_sentence(error)}",
            hint=f"build it for this card: TORCH_CUDA_ARCH_LIST={major}.{minor} ADVREC_JIT=1",
        ) from error
    if row.sum().item() != 4.0:
        raise NativeError(
            "the CUDA core computes wrong numbers on this card",
            hint="build it again with ADVREC_JIT=1, and please report it",
        )


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turns the errors of a GPU into NativeError with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NativeError(
            f"the GPU is out of memory: {_first_sentence(error)}",
            hint="a smaller --batch-size or --dim, nothing else on the card, or --device cpu",
        ) from error
    except torch.AcceleratorError as error:
        raise NativeError(
            f"the GPU stopped: {_first_sentence(error)}",
            hint="`advrec doctor` checks the card; --device cpu works without it",
        ) from error


def _first_sentence(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return text.removeprefix("CUDA out of memory. ").rstrip(". ")
