"""A model of any kind on a few users and items, in float64, made from its name and options."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.models import ModelSpec, Recommender, create
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.ops.reference import sample_triplets

N_USERS, N_ITEMS, DIM = 12, 15, 4
SEEN = np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.3
SEEN[4] = False  # a user without items
PAIRS = Pairs.from_coo(*np.nonzero(SEEN), N_USERS, N_ITEMS)
POSITIVES = Positives.from_pairs(PAIRS)
TRIPLETS = sample_triplets(POSITIVES, seed=0, epoch=0, first=0, count=20)
EVERYONE = torch.arange(N_USERS)


def spec(pairs: Pairs = PAIRS, **changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "n_users": pairs.n_users,
        "n_items": pairs.n_items,
        "dim": DIM,
        "layers": 2,
        "graph": Graph.build(pairs, torch.float64),
        "positives": Positives.from_pairs(pairs),
        "dtype": torch.float64,
        "init_std": 0.5,
    }
    return ModelSpec(**values | changes)  # type: ignore[arg-type]


def small(name: str, **options: object) -> Recommender:
    """With weights of the size that training reaches; biases too."""
    model = create(name, spec(options=options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.5, generator=generator)
    return model


def noise_of(model: Recommender, site: str, seed: int = 2) -> dict[str, Tensor]:
    """Gaussian noise on the whole tables of a site."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(table.shape, dtype=table.dtype, generator=generator)
        for key, table in model.tables(site).items()
    }
