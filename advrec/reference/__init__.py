"""Every op in plain torch and numpy: slow, obvious, and what the compiled ones are tested against.

Same names and signatures as `advrec.ops`. Wrong arguments raise ValueError, as they do there.
"""

from advrec.reference.optim import KINDS, optimizer_step_
from advrec.reference.philox import philox4x32
from advrec.reference.propagate import propagate
from advrec.reference.rank import Ranking, rank_scores, rank_topk
from advrec.reference.sample import sample_triplets
from advrec.reference.triplet import normalize_rows, triplet_margin, triplet_margin_backward

__all__ = [
    "KINDS",
    "Ranking",
    "normalize_rows",
    "optimizer_step_",
    "philox4x32",
    "propagate",
    "rank_scores",
    "rank_topk",
    "sample_triplets",
    "triplet_margin",
    "triplet_margin_backward",
]
