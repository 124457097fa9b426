"""Features from text: which words an item's text has (TF-IDF), in few dimensions (SVD).

Latent semantic analysis (Deerwester et al., 1990), with scipy alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from advrec.errors import DataError, UsageError

WORD: Final = re.compile(r"[^\W_]{2,}")
"""A word: two or more letters or digits, of any script."""

DECIMALS: Final = 4
"""To which values are rounded: no longer different from one linear algebra library to the next."""

DENSE: Final = 400
"""With fewer rows or columns than this the whole decomposition is computed, and then cut."""


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Features made from the text of some items."""

    values: NDArray[np.float32]  # [n, F], rows of norm 1 at most; zeros where no word is known
    words: int  # different words that count
    empty: int  # texts without any of them
    kept: float  # share of the squared TF-IDF weights that F dimensions keep, 0 to 1

    @property
    def sentence(self) -> str:
        """The result in a sentence."""
        sentence = (
            f"{self.values.shape[1]} columns by TF-IDF and SVD of {self.words:,} words"
            f" ({100 * self.kept:.0f} % of the weight kept)"
        )
        if self.empty:
            sentence += f"; {self.empty:,} of {len(self.values):,} items have no such word: zeros"
        return sentence


def text_features(texts: Sequence[str], *, dim: int = 64, seed: int = 0) -> TextFeatures:
    """Truncated SVD of the TF-IDF matrix of the texts: U·S of its `dim` largest singular values.

    A word counts if it is in at least two texts; its weight in a text is
    (1 + ln n)·(1 + ln((1 + N)/(1 + df))), n times in the text, in df of N texts, every text then
    scaled to norm 1. A column's sign makes its largest entry positive. There are fewer columns
    where the texts have fewer dimensions. Raises DataError if no word is in two texts,
    UsageError for a `dim` below 1.
    """
    if dim < 1:
        raise UsageError(f"dim must be at least 1, got {dim}")
    weights = _tf_idf(texts)
    left, singular = _decompose(weights, dim, seed)
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    values = np.round(left * (signs * singular), DECIMALS) + 0.0  # no −0
    return TextFeatures(
        values=values.astype(np.float32),
        words=weights.shape[1],
        empty=int((np.diff(weights.indptr) == 0).sum()),
        kept=float((singular**2).sum() / (weights.data**2).sum()),
    )


def _tf_idf(texts: Sequence[str]) -> sparse.csr_array:  # [n, words]
    counts = [Counter(WORD.findall(text.lower())) for text in texts]
    spread = Counter(word for count in counts for word in count)
    words = sorted(word for word, texts_with in spread.items() if texts_with > 1)
    if not words:
        raise DataError(
            f"no word is in two of the {len(texts):,} item texts: nothing to compare them by"
        )
    column = {word: number for number, word in enumerate(words)}
    idf = [1 + math.log((1 + len(texts)) / (1 + spread[word])) for word in words]
    indptr, indices, data = [0], [], []
    for count in counts:
        known = sorted((column[word], n) for word, n in count.items() if word in column)
        row = [(1 + math.log(n)) * idf[place] for place, n in known]
        length = math.sqrt(sum(weight * weight for weight in row))
        indices += [place for place, _ in known]
        data += [weight / length for weight in row]
        indptr.append(len(indices))
    return sparse.csr_array((data, indices, indptr), shape=(len(texts), len(words)))


def _decompose(
    weights: sparse.csr_array, dim: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # [n, F], [F] descending
    smaller = min(weights.shape)
    if smaller <= max(DENSE, dim):
        left, singular, _ = np.linalg.svd(weights.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(seed).standard_normal(smaller)
        left, singular, _ = linalg.svds(weights, k=dim, v0=start)
        order = np.argsort(-singular, kind="stable")
        left, singular = left[:, order], singular[order]
    kept = min(dim, int((singular > singular[0] * 1e-10).sum()))
    return left[:, :kept], singular[:kept]
