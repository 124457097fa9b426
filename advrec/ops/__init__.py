"""The operators that models are built from, and their arguments.

- functional: the operators, on the compiled core or on their plain-torch twins in `reference`
- register: fake kernels and autograd of the compiled ones
- optimizers: the table of optimizers
- graph: the normalised user-item graph that propagation walks
- positives: the training pairs in the form that the sampler draws from
"""

from __future__ import annotations

from advrec.ops.functional import (
    NORMS,
    SAMPLINGS,
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
    smallest_radii,
    smooth_rank,
    takes,
    triplet_margin,
    triplet_margin_backward,
)
from advrec.ops.optimizers import BETAS, OPTIMIZERS, Optimizer

__all__ = [
    "BETAS",
    "NORMS",
    "OPTIMIZERS",
    "SAMPLINGS",
    "SITES",
    "Optimizer",
    "fused",
    "normalize_rows",
    "on_cuda",
    "optimizer_step_",
    "positives_arguments",
    "propagate",
    "rank_scores",
    "rank_topk",
    "sample_triplets",
    "smallest_radii",
    "smooth_rank",
    "takes",
    "triplet_margin",
    "triplet_margin_backward",
]
