"""Every op in plain torch and numpy: slow, obvious, and what the compiled ones are tested against.

Same names and signatures as `advrec.ops`. Wrong arguments raise ValueError, as they do there.
"""

from advrec.ops.reference.optim import optimizer_step_
from advrec.ops.reference.philox import philox4x32
from advrec.ops.reference.propagate import propagate
from advrec.ops.reference.radii import Reach, smallest_radii
from advrec.ops.reference.rank import Ranking, rank_scores, rank_topk
from advrec.ops.reference.sample import sample_triplets
from advrec.ops.reference.smooth_rank import smooth_rank
from advrec.ops.reference.triplet import normalize_rows, triplet_margin, triplet_margin_backward

__all__ = [
    "Ranking",
    "Reach",
    "normalize_rows",
    "optimizer_step_",
    "philox4x32",
    "propagate",
    "rank_scores",
    "rank_topk",
    "sample_triplets",
    "smallest_radii",
    "smooth_rank",
    "triplet_margin",
    "triplet_margin_backward",
]
