"""The models, by the name that `--model` takes."""

from __future__ import annotations

from advrec.errors import UsageError
from advrec.models.base import ModelSpec, Recommender, Site
from advrec.models.cdae import CDAE
from advrec.models.gnnguard import GNNGuard
from advrec.models.lightgcn import LightGCN
from advrec.models.mf import MF
from advrec.models.neumf import NeuMF
from advrec.models.ngcf import NGCF
from advrec.models.vbpr import VBPR
from advrec.validation import did_you_mean

MODELS: dict[str, type[Recommender]] = {
    MF.name: MF,
    LightGCN.name: LightGCN,
    VBPR.name: VBPR,
    CDAE.name: CDAE,
    NeuMF.name: NeuMF,
    NGCF.name: NGCF,
    GNNGuard.name: GNNGuard,
}
"""To register a model, add its line."""


def model_class(name: str) -> type[Recommender]:
    """The class of that name. Raises UsageError that lists the names there are."""
    if name in MODELS:
        return MODELS[name]
    raise UsageError(
        f"unknown model {name!r}: choose {', '.join(MODELS)}",
        hint=did_you_mean(name, MODELS),
    )


def create(name: str, spec: ModelSpec) -> Recommender:
    """A new model with the weights that `spec.seed` gives it."""
    return model_class(name)(spec)


__all__ = ["MODELS", "ModelSpec", "Recommender", "Site", "create", "model_class"]
