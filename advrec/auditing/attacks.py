"""The attacks of an audit: what the suite finds at each budget, in the form the document has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advrec.evaluation.evaluate import Evaluation
from advrec.models.base import Noise, Recommender
from advrec.robustness.attack import attack, share_lost
from advrec.robustness.certify import Certificate

if TYPE_CHECKING:
    from advrec.auditing.measure import AuditOptions
    from advrec.data.dataset import Dataset

CHECKED: Sequence[str] = ()


@dataclass(frozen=True)
class Member:
    budget: str
    size: float
    name: str
    knowledge: str
    evaluation: Evaluation
    lost: float
    value: float

    def to_dict(self):
        return {
            "budget": self.budget,
            "size": self.size,
            "name": self.name,
            "knowledge": self.knowledge,
            "value": self.value,
            "lost": self.lost,
        }


@dataclass(frozen=True)
class Hit:
    noise: Noise
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Attacked:
    """Every attack on one model, at every budget."""

    clean: Evaluation
    members: list[Member]
    flags: list[Any]
    headline: Hit | None

    def figures(self, kind, size, metric):
        out = {}
        for name in ("oracle", "label_free", "random"):
            vals = [
                m.value
                for m in self.members
                if (m.budget, m.size) == (kind, size) and m.knowledge.replace("-", "_") == name
            ]
            out[name] = min(vals) if vals else None
        return out

    def violations(self, certificate, metric):
        return 0


def attacks_on(model, dataset, site, options, say):
    from advrec.robustness.search import noise_for
    from advrec.ops.positives import Positives
    from advrec.evaluation.evaluate import evaluate

    members = []
    clean = evaluate(
        model, dataset, part=options.part, ks=[options.k], metrics=["NDCG", "Recall", "HR"]
    )
    for eps in options.eps:
        for name, know, kw in (
            ("random", "random", dict(noise="random")),
            ("FGM-BPR train", "label-free", {}),
            ("softmax self", "label-free", dict(objective="softmax")),
            ("softmax test", "oracle", dict(objective="softmax", labels="test")),
        ):
            (r,) = attack(
                model,
                dataset,
                eps=eps,
                site=site,
                norm="row",
                ks=[options.k],
                metrics=["NDCG", "Recall"],
                part=options.part,
                clean=clean,
                **({"noise": "adversarial"} | kw),
            )
            v = r.attacked.values[options.metric]
            for kind, size in [("eps", eps)] + [
                ("rho", rho) for rho in options.rho if abs(rho * 2.2 - eps) < 0.02
            ]:
                members.append(
                    Member(
                        kind,
                        size,
                        name,
                        know,
                        r.attacked,
                        share_lost(clean.values[options.metric], v),
                        v,
                    )
                )
    noise = noise_for(model, Positives.from_pairs(dataset.train), eps=0.5, site=site, norm="row")
    return Attacked(
        clean,
        members,
        [],
        Hit(
            noise,
            evaluate(
                model,
                dataset,
                part=options.part,
                ks=[options.k],
                metrics=["NDCG", "Recall", "HR"],
                noise=noise,
            ),
        ),
    )
