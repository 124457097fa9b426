"""Named tensors to bytes and back: safetensors, with all metadata in one key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrec.runs.records import damaged

if TYPE_CHECKING:
    from torch import Tensor


def dump(tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a safetensors file. `about` goes into its metadata as JSON, key "advrec".

    The same tensors give the same bytes. This is why `about` is a single key: safetensors writes
    several in any order.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, None if about is None else {"advrec": json.dumps(about, sort_keys=True)})


def parse(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of `content`, on the CPU; RunError if it is not a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, str(error).split("\n")[0] or type(error).__name__) from error
