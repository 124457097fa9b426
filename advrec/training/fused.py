"""Many training steps in one native call, for the models whose arithmetic the core knows.

At hundreds of nanoseconds per triplet, Python and autograd would cost more than the arithmetic.
The other tiers make the same steps more slowly and for more models; tests compare them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from advrec import native, ops
from advrec.models.lightgcn import LightGCN
from advrec.models.mf import MF
from advrec.models.vbpr import VBPR
from advrec.native import gpu
from advrec.training.stepper import OptimizerState, Sizes, StepStats, budget

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives

CUDA_FASTER: Final = 16
"""How much more work a call gets on a GPU."""

GRAIN_WORK: Final = 2**27
"""About half a second on two cores, counted in table entries or edges that a call moves."""

ID: Final = 4
"""Bytes of an id."""

GATHERED: Final = {"float32": 4, "float64": 8, "bf16": 2}
"""Bytes of a number that LightGCN's propagation gathers."""


@dataclass(frozen=True)
class Coverage:
    """What the core can do for a model; anything else is left to the tiers below."""

    noise: Mapping[str, tuple[str, ...]]  # norms by site
    optimizers: tuple[str, ...]
    precisions: Mapping[str, tuple[str, ...]]  # by the kind of device
    options: Mapping[str, object]  # the model's own options that must have these values

    def includes(self, config: ResolvedConfig) -> bool:
        """Are all options of a training in it?"""
        perturbs = budget(config)[1] != 0
        return (
            (not perturbs or config.norm in self.noise.get(config.site, ()))
            and config.optimizer in self.optimizers
            and config.precision in self.precisions.get(device_kind(config), ())
            and all(config.options.get(name) == value for name, value in self.options.items())
        )


FUSED: Final[Mapping[type[Recommender], Coverage]] = {
    MF: Coverage(
        noise={"ego": ("row", "sample", "joint")},
        optimizers=("sgd", "adagrad", "adam", "sparse_adam"),
        precisions={"cpu": ("float32", "float64"), "cuda": ("float32",)},
        options={"loss": "bpr"},
    ),
    LightGCN: Coverage(  # all its embeddings move in every step, so it has no sparse_adam
        noise={"ego": ("row", "joint"), "final": ("row", "sample", "joint")},
        optimizers=("sgd", "adagrad", "adam"),
        precisions={"cpu": ("float32", "float64", "bf16"), "cuda": ("float32",)},
        options={"loss": "bpr"},
    ),
    VBPR: Coverage(
        noise={"features": ("row",)},
        optimizers=("sgd", "adagrad", "sparse_adam"),
        precisions={"cpu": ("float32", "float64")},
        options={"scorer": "amr"},
    ),
}
"""Exactly these classes: a subclass may compute anything."""


def device_kind(config: ResolvedConfig) -> str:
    """cpu or cuda."""
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device.split(":")[0]


def covers(kind: type[Recommender], config: ResolvedConfig) -> bool:
    """Does the compiled core of the device have all that this training needs?"""
    coverage = FUSED.get(kind)
    if coverage is None or not coverage.includes(config) or native.kernels() != "native":
        return False
    return device_kind(config) == "cpu" or (config.dim <= gpu.MAX_DIM and ops.on_cuda())


class FusedStepper:
    """Steps of MF or LightGCN, BPR or APR, by `mf_steps` and `lightgcn_steps` of the core."""

    def __init__(self, model: Recommender, positives: Positives, config: ResolvedConfig) -> None:
        self._model = model
        self._positives = positives
        self._config = config
        self._params = {name: param.detach() for name, param in model.named_parameters()}
        self._state = OptimizerState(self._params, config.optimizer)

    @staticmethod
    def supports(kind: type[Recommender], config: ResolvedConfig) -> bool:
        """What `FUSED` has for MF and LightGCN; a GPU's core takes rows of up to 512 numbers."""
        return kind in (MF, LightGCN) and covers(kind, config)

    @staticmethod
    def step_bytes(kind: type[Recommender], config: ResolvedConfig, sizes: Sizes) -> int:
        """For a batch: parts of gradients, two per triplet, and its perturbed rows. LightGCN: also
        the layers, the rows as they are, and their gradients."""
        perturbs = config.adv_weight > 0
        batch = sizes.number * 2 * sizes.batch * config.dim
        rows = sizes.number * min(3 * sizes.batch, sizes.nodes) * config.dim
        batch += rows if perturbs else 0
        if kind is not LightGCN:
            return ID * sizes.nodes * (max(1, config.threads) + 1) + batch
        layer = GATHERED[config.precision] * sizes.nodes * config.dim
        layers = min(2, max(0, config.layers - 1)) * layer
        if config.precision == "bf16":
            layers += layer
        if perturbs and config.site == "ego":
            layers += layer + (sizes.table(config) if config.norm == "joint" else 0)
        return layers + batch + 2 * rows + 2 * ID * sizes.nodes

    @property
    def examples(self) -> int:
        """Triplets per epoch."""
        return len(self._positives) * self._config.negatives

    @property
    def total_steps(self) -> int:
        """Steps per epoch."""
        return -(-self.examples // self._config.batch_size)

    @property
    def grain(self) -> int:
        """Steps per call: GRAIN_WORK of them."""
        embedding = self._params["embedding"]
        if isinstance(self._model, LightGCN):
            graph = self._model.graph
            work = (graph.indices.numel() + graph.n_nodes) * (self._model.layers + 1) * 2
        else:
            work = self._config.batch_size * self._config.dim
            if ops.OPTIMIZERS[self._config.optimizer].moves_untouched_rows:
                work += embedding.numel()
        if embedding.device.type == "cuda":
            steps = CUDA_FASTER * GRAIN_WORK // int(work)
            return max(1, steps - steps % gpu.WINDOW if steps > gpu.WINDOW else steps)
        return max(1, GRAIN_WORK // int(work))

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """As `Stepper.run`."""
        schedule = {"epoch": epoch, "first_step": first_step, "steps": steps}
        clean, adversarial = self._call(self._arguments() | schedule).tolist()
        self._state.steps += steps
        last = min((first_step + steps) * self._config.batch_size, self.examples)
        return StepStats(clean, adversarial, last - first_step * self._config.batch_size)

    def state(self) -> dict[str, Tensor]:
        """As `Stepper.state`."""
        return self._state.copy()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As `Stepper.load_state`."""
        self._state.load(state)

    def _call(self, arguments: dict[str, Any]) -> Tensor:  # [2], the sums of losses
        model, core = self._model, ops.fused()
        state1, state2 = self._state.of("embedding")
        arguments |= {
            "embedding": self._params["embedding"],
            "state1": state1,
            "state2": state2,
            "lr": self._config.lr_of("embedding"),
        }
        if not isinstance(model, LightGCN):
            losses: Tensor = core.mf_steps(**arguments)
            return losses
        steps = (
            core.lightgcn_steps_bf16 if self._config.precision == "bf16" else core.lightgcn_steps
        )
        losses = steps(
            **arguments,
            graph_indptr=model.graph.indptr,
            graph_indices=model.graph.indices,
            graph_scale=model.graph.scale,
            layers=model.layers,
            site=ops.SITES[self._config.site] if arguments["adv_weight"] else 0,
        )
        return losses

    def _arguments(self) -> dict[str, Any]:
        """What every fused operator takes: pairs to draw from, schedule, noise, optimizer."""
        config = self._config
        optimizer = ops.OPTIMIZERS[config.optimizer]
        eps, adv_weight = budget(config)
        return {
            **ops.positives_arguments(self._positives),
            "seed": config.seed,
            "negatives": config.negatives,
            "sampling": ops.SAMPLINGS[config.sampling],
            "batch_size": min(config.batch_size, self.examples),  # buffers are of this size
            "mean": config.reduction == "mean",
            "reg": config.reg,
            "eps": eps,
            "adv_weight": adv_weight,
            # Without weight nothing is perturbed: the norm may then be one the core lacks.
            "norm": ops.NORMS[config.norm] if adv_weight else 0,
            "optimizer": optimizer.code,
            "beta1": ops.BETAS[0],
            "beta2": ops.BETAS[1],
            "opt_eps": optimizer.opt_eps,
            "updates": self._state.steps,
        }


class FusedVBPRStepper(FusedStepper):
    """Steps of VBPR and AMR by `amr_steps`, with the scorer of AMR, on the CPU."""

    @staticmethod
    def supports(kind: type[Recommender], config: ResolvedConfig) -> bool:
        """What `FUSED` has for VBPR."""
        return kind is VBPR and covers(kind, config)

    @staticmethod
    def step_bytes(
        kind: type[Recommender],  # noqa: ARG004 - one
        config: ResolvedConfig,
        sizes: Sizes,
    ) -> int:
        """No more than dense gradients and activations would take."""
        return 2 * sizes.weights + 2 * sizes.table(config)

    @property
    def grain(self) -> int:
        """Steps per call: GRAIN_WORK of them."""
        features, dim = self._params["projection"].shape
        return max(1, GRAIN_WORK // (3 * self._config.batch_size * (dim * 8 + features * dim // 8)))

    def _call(self, arguments: dict[str, Any]) -> Tensor:  # [2], the sums of losses
        model, config = self._model, self._config
        assert isinstance(model, VBPR)
        for name, word in (("users", "users"), ("items", "vectors"), ("projection", "projection")):
            state1, state2 = self._state.of(name)
            arguments |= {word: self._params[name], f"{word}1": state1, f"{word}2": state2}
        losses: Tensor = ops.fused().amr_steps(
            **arguments,
            features=model.features,
            reg_items=model.reg_items,
            lr=config.lr_of("users"),
            lr_items=config.lr_of("items"),
            lr_projection=config.lr_of("projection"),
        )
        return losses
