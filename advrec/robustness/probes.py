"""Measurements next to a suite: masked gradients, norms as stored, the table of choices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

import torch
from torch import Tensor

from advrec.choices import LABELS
from advrec.errors import UsageError
from advrec.robustness.attack import share_lost
from advrec.robustness.ball import Ball, ball_of
from advrec.robustness.members import STEPS, Ground, bpr
from advrec.robustness.ranking import SaturatingSoftmax
from advrec.robustness.search import OBJECTIVES, Plan, seek

FAR: Final = 100.0
"""Times the mean row norm: a budget at which nothing of a ranking can be left."""


def zero_gradients(ground: Ground) -> float | None:
    """The share of rows named by the triplets of the held-out items whose gradient is exactly 0.

    None where rows are not those of users and items, or the loss is not one of triplets.
    """
    objective = bpr(ground, "test")
    if objective is None:
        return None
    dead = total = 0
    triplets = torch.cat(list(objective.batches), 1).long()
    if not triplets.numel():
        return None
    named = {"users": torch.unique(triplets[0]), "items": torch.unique(triplets[1:])}
    for key, grad in objective.grads.items():
        for owner, (first, _) in ground.ball.owners.get(key, {}).items():
            if ground.ball.side not in ("both", owner):
                continue
            rows = named[owner] + first
            total += len(rows)
            dead += int((grad[rows] == 0).all(-1).sum())
    return dead / total if total else None


def beyond(ground: Ground, row_norm: float) -> float:
    """The metric under attacks with the held-out items, at 100 times the mean row norm."""
    ball = ground.ball
    if ball.unit == "rho":
        size = FAR
    elif ball.norm == "row":
        size = FAR * row_norm
    else:
        size = FAR / ball.share(ground.model.tables(ball.site))
    plan = Plan(site=ball.site, norm=ball.norm, objective="softmax", labels="test")
    target = ground.target("test")
    objective = SaturatingSoftmax(ground.model, ground.positives, plan, target, ball)
    candidates = objective.candidates(plan.settled(ground.model), size, torch.Generator())
    delta = next(iter(candidates))
    least = ground.figure(delta)
    ranking = ground.rank("test")
    tau = ranking.temperature_at(size)
    moved: Any = delta
    for step in range(1, STEPS):  # from there on with the smooth NDCG, if anything is left
        if least <= 1e-3 * ground.clean.values[ground.metric]:
            break
        _, grads = ranking.gradient_at(moved, tau)
        moved = ranking.ascended(moved, grads, size, step)
        least = min(least, ground.figure(ball.within(moved, size)))
    return least


def as_stored(ground: Ground, size: float, exposure: Tensor | None) -> dict[str, float] | None:
    """One member's figure in canonical form and in the norms as stored; None without such a form.

    The saturating softmax with the held-out items: one step, so that the two differ by the form.
    """
    if ground.ball.form is None:
        return None
    plain = ball_of(
        ground.model,
        ground.ball.site,
        ground.ball.norm,
        side=ground.ball.side,
        unit="rho",
        exposure=exposure,
        as_stored=True,
    )
    return {
        "rho": size,
        "canonical": _saturated(ground, ground.ball, size),
        "as_stored": _saturated(ground, plain, size),
    }


def _saturated(ground: Ground, ball: Ball, size: float) -> float:
    plan = Plan(site=ball.site, norm=ball.norm, objective="softmax", labels="test")
    target = ground.target("test")
    objective = SaturatingSoftmax(ground.model, ground.positives, plan, target, ball)
    noise = next(objective.candidates(plan.settled(ground.model), size, torch.Generator()))
    return ground.figure(ball.within(noise, size))


def grid(
    ground: Ground, size: float, say: Callable[[str], None] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Every objective with every labels in 1 and in 20 steps, one start each, at one budget."""
    clean = ground.clean.values[ground.metric]
    for name, labels, steps in product(OBJECTIVES, LABELS, (1, STEPS)):
        kind = OBJECTIVES[name]
        try:
            plan = Plan(
                site=ground.ball.site,
                norm=ground.ball.norm,
                steps=steps,
                restarts=1,
                seed=ground.seed,
                objective=name,
                labels=labels,
            ).settled(ground.model)
        except UsageError:
            continue  # not an attack on this model
        say(f"{name}, {labels}, {steps} steps")
        began = time.perf_counter()
        aims = kind.needs_target or labels != "train"
        target = ground.target(labels) if aims else None
        goal = kind(ground.model, ground.positives, plan, target, ground.ball)
        noise = ground.ball.within(seek(goal.at(size), plan, size), size)
        value = ground.figure(noise)
        lost = share_lost(clean, value)
        yield {
            "objective": name,
            "labels": labels,
            "steps": steps,
            "size": size,
            "value": value,
            "lost": lost if clean else None,
            "seconds": round(time.perf_counter() - began, 2),
        }
