"""Threads of torch in a process that was forked.

OpenMP's threads do not survive a fork, and OpenMP does not notice: where torch had started them, a
child that asks for more than one waits for ever. A forked child therefore has one thread of torch.
The core makes a pool of its own anew, with as many threads as before.
"""

from __future__ import annotations

import os
import warnings

import torch

_state = {"forked": False, "said": False}


def set_torch_threads(threads: int) -> None:
    """`torch.set_num_threads`; in a forked child it stays at one, and a warning says so once."""
    if not _state["forked"]:
        torch.set_num_threads(threads)
        return
    torch.set_num_threads(1)
    if threads > 1 and not _state["said"]:
        _state["said"] = True
        warnings.warn(
            "this process was forked from one that had loaded torch, so torch runs on one thread"
            " (advrec's core on all); start processes with the method spawn to have more",
            stacklevel=3,
        )


def _in_child() -> None:
    _state["forked"] = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
