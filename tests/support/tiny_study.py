"""A study small enough to run in seconds, and its plan without any data."""

from __future__ import annotations

from advrec.study.expand import make_plan
from advrec.study.plan import Cell, DataFacts
from advrec.study.spec import parse_study

STUDY = """
title = "Tiny"
seeds = 2
metrics = ["NDCG@5", "Recall@5"]
[train]
dim = 8
batch_size = 64
eval_every = 1
[attack]
eps = [0.1, 0.5]
[data.tiny]
data = "ratings.csv"
[models.MF]
model = "mf"
pretrain.epochs = 3
adversarial.APR = { epochs = 2, eps = 0.3 }
controls = ["continued", "restarted"]
"""

FACTS = DataFacts("tiny", 40, 30, 280, 40, 80, "d1" * 32, None, {"data": "x"}, ())


def plan(text: str = STUDY, facts: DataFacts = FACTS, **overrides) -> list[Cell]:
    spec = parse_study(text)
    return make_plan(spec, dict.fromkeys(spec.data, facts), overrides, "the study")


def by_training(cells: list[Cell], seed: int = 0) -> dict[str, Cell]:
    return {cell.training: cell for cell in cells if cell.seed == seed}
