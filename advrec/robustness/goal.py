"""What adversarial noise raises: the interface of an attack's objective, and the loss of training.

An objective is a class here or in `ranking`, and a line in `search.OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from advrec import ops
from advrec.errors import UsageError
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness.ball import Ball

if TYPE_CHECKING:
    from advrec.robustness.search import Plan
    from advrec.robustness.target import Target


class AttackObjective:
    """A loss over all of train as a function of the noise at one site of one model.

    This class is the objective "bpr": the loss that the model is trained with, and how noise is
    searched for that raises it. Another objective is a subclass with a `losses` of its own (and a
    `draw`, if it needs other batches), or one that searches in another way and replaces `at`,
    `loss`, `gradient`, `harm` and `candidates`; and an entry in OBJECTIVES.
    """

    labels: ClassVar[str] = "train"
    """What is taken as relevant, unless the plan says."""
    steps: ClassVar[int] = 1
    """Gradient steps, unless the plan says."""
    restarts: ClassVar[int] = 1
    """Starts, unless the plan says."""
    most_restarts: ClassVar[int | None] = None
    """The largest number of starts there is; None: any."""
    step_sizes: ClassVar[bool] = True
    """Can the length of a step be chosen?"""
    needs_target: ClassVar[bool] = False
    """Does it need the data set, whatever the labels?"""
    keeps_smaller: ClassVar[bool] = False
    """Is the noise of a smaller eps a candidate?"""

    def __init__(
        self,
        model: Recommender,
        positives: Positives,
        plan: Plan,
        target: Target | None = None,
        ball: Ball | None = None,
    ) -> None:
        """Draw the batches and take the gradient at no noise: one pass over train.

        Of the plan, site, norm, labels and seed are used. `positives`: the training pairs.
        `target`: for an objective that needs one, or for labels other than "train". `ball`: what
        noise is confined to, by default every row's eps. Raises UsageError for a site, norm or
        labels that the model does not have.
        """
        settled = plan.settled(model)
        assert settled.site is not None
        assert settled.norm is not None
        if target is None and (self.needs_target or settled.labels != "train"):
            raise UsageError(
                f"objective {plan.objective!r} with labels {plan.labels!r} needs a target",
                hint="advrec.attack makes it from the data set",
            )
        self.model, self.site, self.norm = model, settled.site, settled.norm
        self.ball = ball or Ball(settled.site, settled.norm)
        self.target = None if settled.labels == "train" else target
        self.batches = tuple(self.draw(positives, plan.seed))
        start = model.noise_like(self.site, self.norm, None)
        self.clean_loss, self.grads = self.gradient(start)  # summed over all entries; Γ

    @classmethod
    def check(cls, model: Recommender, plan: Plan) -> None:
        """UsageError for a plan that this objective cannot carry out on the model."""
        if plan.labels != "train" and model.batch_kind != "triplets":
            raise UsageError(
                f"model {model.name!r} is trained on whole users, so its loss has labels train"
                f" only, got {plan.labels!r}",
                hint="use objective ndcg",
            )

    def draw(self, positives: Positives, seed: int) -> Iterable[Tensor]:
        """The batches that the loss is summed over, together all of train once.

        With other labels: the triplets of the relevant items, whose negatives are rivals.
        """
        if self.target is None:
            yield from self.model.attack_batches(positives, seed)
            return
        relevant, items = self.target.relevant, self.target.relevant.n_items
        keys = torch.from_numpy(relevant.keys()).to(positives.items.device)
        every = Positives.from_pairs(self.target.known, positives.items.device)
        for batch in self.model.attack_batches(every, seed):
            yield batch[:, torch.isin(batch[0].long() * items + batch[1].long(), keys)]

    def losses(self, batch: Tensor, noise: Noise) -> Tensor:
        """The loss of each entry of a batch at Θ + noise, [B]; differentiable in the noise."""
        return self.model.losses(batch, noise)

    @property
    def entries(self) -> int:
        """Triplets (or users) in all batches."""
        return sum(batch.shape[-1] for batch in self.batches)

    def at(self, eps: float) -> AttackObjective:  # noqa: ARG002 - the subclasses use it
        """The objective for noise of this size; of the loss of training: the same for all."""
        return self

    def loss(self, noise: Noise) -> float:
        """The loss at Θ + noise, summed over all entries."""
        with torch.no_grad(), evaluating(self.model):
            return sum(float(ops.total(self.losses(b, noise).double())) for b in self.batches)

    def gradient(self, noise: Noise) -> tuple[float, dict[str, Tensor]]:
        """The loss at Θ + noise and its gradient there, both summed over all entries."""
        total = 0.0
        sums = {key: torch.zeros_like(value) for key, value in noise.items()}
        with torch.enable_grad(), evaluating(self.model):
            for batch in self.batches:
                at = {key: value.detach().requires_grad_() for key, value in noise.items()}
                losses = self.losses(batch, at)
                grads = torch.autograd.grad(ops.total(losses), tuple(at.values()))
                total += float(ops.total(losses.detach().double()))
                for key, grad in zip(at, grads, strict=True):
                    sums[key] += grad
        return total, sums

    def harm(self, noise: Noise) -> float:
        """What decides between candidates: the larger, the stronger the noise."""
        return self.loss(noise)

    def candidates(
        self, plan: Plan, eps: float, generator: torch.Generator
    ) -> Iterator[dict[str, Tensor]]:
        """The fast gradient point, then every point of every restart of projected ascent."""
        ball = self.ball
        yield ball.vertex(self.grads, eps)
        if plan.steps == plan.restarts == 1 and plan.step_size is None:
            return
        assert plan.steps is not None
        assert plan.restarts is not None
        size = 2.5 * eps / plan.steps if plan.step_size is None else plan.step_size
        for restart in range(plan.restarts):
            if restart == 0:
                delta = {key: torch.zeros_like(grad) for key, grad in self.grads.items()}
            else:
                delta = ball.random_start(self.grads, eps, generator)
            for _ in range(plan.steps):
                step = ball.vertex(self.gradient(delta)[1], size)
                moved = {key: delta[key] + step[key] for key in delta}
                delta = ball.project(moved, eps)
                yield delta


@contextmanager
def evaluating(model: Recommender) -> Iterator[None]:
    """Evaluation mode, so no dropout; afterwards the model is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
