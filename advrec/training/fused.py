"""Whole training steps in one native call, for the models whose arithmetic the core knows.

At hundreds of nanoseconds a triplet, Python and autograd would cost more than the arithmetic. The
composable tier (`training.stepper.ComposableStepper`) makes the same steps, a thousand times more
flexibly; the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from advrec import native, ops
from advrec.models.lightgcn import LightGCN
from advrec.models.mf import MF
from advrec.native import gpu
from advrec.training.stepper import ADAGRAD_START, N_STATES, OPT_EPS, StepStats, check_state

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives

BETAS: Final = (0.9, 0.999)
"""Adam's decay rates; torch.optim's and the papers' values."""

CUDA_FASTER: Final = 16
"""How much more work a call gets on a GPU."""

GRAIN_WORK: Final = 2**27
"""About half a second on two cores, counted in table entries or edges that a call moves."""


def supports(model: Recommender, config: ResolvedConfig) -> bool:
    """Can the fused tier train this model with these options on its device?

    Exactly MF and LightGCN (a subclass may compute anything) with the BPR loss and noise at one
    site, with the compiled core of its device. A GPU's core takes float32, rows of up to 512.
    LightGCN's embeddings all move in every step, so it has no sparse_adam.
    """
    if type(model) not in (MF, LightGCN) or config.optimizer not in ops.OPTIMIZERS:
        return False
    if isinstance(model, LightGCN) and config.optimizer == "sparse_adam":
        return False
    if isinstance(model, MF) and config.precision == "bf16":
        return False
    if config.options.get("loss", "bpr") != "bpr" or config.site not in ops.SITES:
        return False
    embedding = model.embedding
    assert isinstance(embedding, Tensor)  # of both models the one parameter
    return native.kernels() == "native" and _core_takes(embedding, config)


def _core_takes(embedding: Tensor, config: ResolvedConfig) -> bool:
    if embedding.device.type == "cuda":
        return config.precision == "float32" and config.dim <= gpu.MAX_DIM and ops.on_cuda()
    return embedding.device.type == "cpu"


class FusedStepper:
    """Steps of MF or LightGCN, BPR or APR, by `mf_steps` and `lightgcn_steps` of the core."""

    def __init__(self, model: MF | LightGCN, positives: Positives, config: ResolvedConfig) -> None:
        self._model = model
        self._positives = positives
        self._config = config
        self._steps = 0
        start = ADAGRAD_START if config.optimizer == "adagrad" else 0.0
        self._states = [
            torch.full_like(model.embedding, start, requires_grad=False)
            for _ in range(N_STATES[config.optimizer])
        ]

    @property
    def examples(self) -> int:
        """Triplets of an epoch."""
        return len(self._positives) * self._config.negatives

    @property
    def total_steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.examples // self._config.batch_size)

    @property
    def grain(self) -> int:
        """Steps of a call: GRAIN_WORK of them."""
        if isinstance(self._model, LightGCN):
            graph = self._model.graph
            work = (graph.indices.numel() + graph.n_nodes) * (self._model.layers + 1) * 2
        else:
            work = self._config.batch_size * self._config.dim
            if self._config.optimizer == "adam":
                work += self._model.embedding.numel()
        if self._model.embedding.device.type == "cuda":
            steps = CUDA_FASTER * GRAIN_WORK // int(work)
            return max(1, steps - steps % gpu.WINDOW if steps > gpu.WINDOW else steps)
        return max(1, GRAIN_WORK // int(work))

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """Make steps first_step … first_step + steps − 1 of the sampler's epoch."""
        config, model = self._config, self._model
        state1, state2 = (*self._states, None, None)[:2]
        table = (model.embedding.detach(), state1, state2)
        steps_of = steps_arguments(self._positives, config, epoch, first_step, steps)
        optimizer = (
            ops.OPTIMIZERS[config.optimizer],
            config.lr_of("embedding"),
            *BETAS,
            OPT_EPS[config.optimizer],
            self._steps,
        )
        if isinstance(model, LightGCN):
            graph = model.graph
            core = ops.fused()
            run = core.lightgcn_steps_bf16 if config.precision == "bf16" else core.lightgcn_steps
            losses = run(
                *table, graph.indptr, graph.indices, graph.scale, model.layers,
                *steps_of, ops.SITES[config.site], *optimizer,
            )  # fmt: skip
        else:
            losses = ops.fused().mf_steps(*table, *steps_of, *optimizer)
        self._steps += steps
        return stats_of(losses, config, self.examples, first_step, steps)

    def state(self) -> dict[str, Tensor]:
        """The optimiser's state, under the names that the composable tier uses."""
        state = {"steps": torch.tensor(self._steps, dtype=torch.int64)}
        for number, tensor in enumerate(self._states, start=1):
            state[f"state{number}"] = tensor.clone()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`; RunError if it is not one of this model and optimiser."""
        check_state(state, self.state())
        self._steps = int(state["steps"])
        for number, tensor in enumerate(self._states, start=1):
            tensor.copy_(state[f"state{number}"])


def steps_arguments(
    positives: Positives, config: ResolvedConfig, epoch: int, first_step: int, steps: int
) -> tuple[Any, ...]:
    """What every fused operator takes, in this order: pairs to draw from, schedule, noise."""
    return (
        *ops.positives_arguments(positives),
        config.seed,
        epoch,
        config.negatives,
        ops.MODES[config.sampling],
        first_step,
        steps,
        min(config.batch_size, len(positives) * config.negatives),  # buffers are of this size
        config.reduction == "mean",
        config.reg,
        config.eps,
        config.adv_weight,
        ops.NORMS[config.norm],
    )


def stats_of(
    losses: Tensor, config: ResolvedConfig, examples: int, first_step: int, steps: int
) -> StepStats:
    """The sums [2] that a fused operator returns, with the triplets that they are over."""
    last = min((first_step + steps) * config.batch_size, examples)
    clean, adversarial = losses.tolist()
    return StepStats(clean, adversarial, last - first_step * config.batch_size)
