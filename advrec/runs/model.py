"""From a configuration and a data set to a model, and back from a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from advrec.errors import RunError
from advrec.models import ModelSpec, Recommender, create, model_class
from advrec.native.gpu import device_of
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from advrec.config.train import ResolvedConfig
    from advrec.data.dataset import Dataset
    from advrec.runs.run import Run

# bf16 is a way to store what kernels gather (training.fused); the weights themselves are float32.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}


def build_model(
    config: ResolvedConfig,
    dataset: Dataset,
    device: str,
    positives: Positives | None = None,
    *,
    weights: Mapping[str, Tensor] | None = None,
) -> Recommender:
    """The model of `config` on a device, with these weights, or else drawn from `config.seed`.

    `positives` are those of the training pairs, if the caller has them already. RunError when the
    weights are another model's.
    """
    kind, dtype = model_class(config.model), DTYPES[config.precision]
    features = dataset.item_features
    if kind.needs_positives and positives is None:
        positives = Positives.from_pairs(dataset.train)
    spec = ModelSpec(
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        dim=config.dim,
        layers=config.layers,
        seed=config.seed,
        graph=Graph.build(dataset.train, dtype) if kind.needs_graph else None,
        positives=positives if kind.needs_positives else None,
        item_features=None if features is None else torch.from_numpy(features).to(dtype),
        dtype=dtype,
        init_std=config.init_std,
        options=config.options,
        draw=weights is None,
    )
    model = create(config.model, spec).to(device)
    if weights is not None:
        put_weights(model, weights)
    return model


def weights_of(model: Recommender) -> dict[str, Tensor]:
    """The model's parameters by name, detached, not copied: all that training changes."""
    return {name: param.detach() for name, param in model.named_parameters()}


def put_weights(model: Recommender, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model; RunError when they are another model's."""
    own = weights_of(model)
    given_shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    own_shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if given_shapes != own_shapes:
        raise RunError(
            f"the weights have shapes {given_shapes}, model {model.name!r} expects {own_shapes}"
        )
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def load_model(run: Run, dataset: Dataset, device: str = "auto") -> Recommender:
    """The best epoch's model of a run, ready to evaluate; RunError for another data set."""
    run.check_data(dataset)
    return build_model(run.config, dataset, device_of(device), weights=run.weights()).eval()
