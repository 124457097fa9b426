"""Whole training steps of VBPR and AMR in one native call, for the scorer of AMR.

`training.closed_form` makes the same steps in torch, for both scorers; a test holds them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advrec import native, ops
from advrec.models.vbpr import VBPR
from advrec.training.closed_form import supports as in_closed_form
from advrec.training.fused import BETAS, GRAIN_WORK, stats_of, steps_arguments
from advrec.training.stepper import OPT_EPS, ComposableStepper

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives
    from advrec.training.stepper import StepStats


def supports(model: Recommender, config: ResolvedConfig) -> bool:
    """What the closed form supports, with the scorer of AMR, on the CPU's compiled core."""
    if not in_closed_form(model, config) or native.kernels() != "native":
        return False
    assert isinstance(model, VBPR)
    return model.scorer == "amr" and model.features.device.type == "cpu"


class FusedVBPRStepper(ComposableStepper):
    """`ComposableStepper` for VBPR: the same batches and state, the same numbers to rounding."""

    def __init__(self, model: VBPR, positives: Positives, config: ResolvedConfig) -> None:
        super().__init__(model, positives, config)
        self._vbpr = model

    @property
    def grain(self) -> int:
        """Steps of a call: GRAIN_WORK of them."""
        features, dim = self._vbpr.projection.shape
        return max(1, GRAIN_WORK // (3 * self._config.batch_size * (dim * 8 + features * dim // 8)))

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """As `Stepper.run`."""
        config, model = self._config, self._vbpr
        tables = []
        for name in ("users", "items", "projection"):
            states = self._states[self._names.index(name)]
            tables += [model.get_parameter(name).detach(), *(*states, None, None)[:2]]
        losses = ops.fused().amr_steps(
            *tables,
            model.features,
            *steps_arguments(self._drawn, config, epoch, first_step, steps),
            model.reg_items,
            config.lr_of("items"),
            config.lr_of("projection"),
            ops.OPTIMIZERS[config.optimizer],
            config.lr_of("users"),
            *BETAS,
            OPT_EPS[config.optimizer],
            self._steps,
        )
        self._steps += steps
        return stats_of(losses, config, self.examples, first_step, steps)
