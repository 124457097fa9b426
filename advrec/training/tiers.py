"""The tiers, fastest first: training takes the first that supports the model and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from advrec.errors import ConfigError
from advrec.training.closed_form import ClosedFormStepper
from advrec.training.composable import ComposableStepper
from advrec.training.fused import FusedStepper, FusedVBPRStepper

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives
    from advrec.training.stepper import Stepper

TIERS: Final[tuple[type[Stepper], ...]] = (
    FusedStepper,
    FusedVBPRStepper,
    ClosedFormStepper,
    ComposableStepper,
)


def tier_of(kind: type[Recommender], config: ResolvedConfig) -> type[Stepper]:
    """The first tier that can train such a model with these options. ConfigError without any.

    With `kernels` reference it is the last, whose every operation has a twin in plain torch.
    """
    for tier in TIERS if config.kernels != "reference" else TIERS[-1:]:
        if tier.supports(kind, config):
            return tier
    raise ConfigError(
        f"precision {config.precision} is for lightgcn on the CPU's compiled core, got model "
        f"{config.model}, device {config.device}, kernels {config.kernels}",
        hint="use precision float32",
    )


def make_stepper(model: Recommender, positives: Positives, config: ResolvedConfig) -> Stepper:
    """The stepper of `tier_of` for a model."""
    return tier_of(type(model), config)(model, positives, config)
