"""One number of threads for everything that is measured, in every thread pool."""

from __future__ import annotations

import os
import sys
from typing import Any

from advrec import native

_current = 1
_limits: Any = None  # threadpoolctl puts the old numbers back when this goes away


def use(threads: int) -> None:
    """Let torch, the core, OpenMP, BLAS and FAISS use that many threads from now on."""
    global _current, _limits  # noqa: PLW0603 - thread pools belong to the process
    _current = threads
    native.set_threads(threads)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(threads)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    _limits = threadpool_limits(threads)


def current() -> int:
    """The number, for peers that take it as an argument."""
    return _current


def environment(threads: int) -> dict[str, str]:
    """The environment of a child process that may use that many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def from_environment() -> int:
    """What `environment` put there, for the child."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))
