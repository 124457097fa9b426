"""Philox4x32-10: random words from a counter and a key, with no state in between.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MASK = 0xFFFFFFFF
_LOW = np.uint64(MASK)
_HALF = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],  # four words, broadcast together
    key: tuple[int, int],  # two words
) -> NDArray[np.uint64]:  # [4, ...], each word below 2³²
    """The four words that belong to each counter."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(word, dtype=np.uint64) for word in counter))
    for turn in range(_ROUNDS):
        k0 = np.uint64((key[0] + turn * _WEYL[0]) & MASK)
        k1 = np.uint64((key[1] + turn * _WEYL[1]) & MASK)
        left, right = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (right >> _HALF) ^ c1 ^ k0,
            right & _LOW,
            (left >> _HALF) ^ c3 ^ k1,
            left & _LOW,
        )
    return np.stack([c0, c1, c2, c3])
