"""Operators that models are made of, and what they take.

- functional: the operators, on the compiled core or on their plain-torch twins in `reference`
- graph: the normalised user-item graph that propagation walks
- positives: the training pairs in the form that the sampler draws from
"""

from __future__ import annotations

from advrec.ops.functional import (
    MODES,
    NORMS,
    OPTIMIZERS,
    SITES,
    fused,
    normalize_rows,
    on_cuda,
    optimizer_step_,
    positives_arguments,
    propagate,
    rank_scores,
    rank_topk,
    sample_triplets,
    takes,
    triplet_margin,
    triplet_margin_backward,
)

__all__ = [
    "MODES",
    "NORMS",
    "OPTIMIZERS",
    "SITES",
    "fused",
    "normalize_rows",
    "on_cuda",
    "optimizer_step_",
    "positives_arguments",
    "propagate",
    "rank_scores",
    "rank_topk",
    "sample_triplets",
    "takes",
    "triplet_margin",
    "triplet_margin_backward",
]
