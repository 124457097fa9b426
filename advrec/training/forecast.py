"""How much memory a training will need at its peak, before it starts.

The figures are computed: tables, optimizer, graph, and what a step, a validation and a checkpoint
take in addition. Small things are left out; only what this process already holds is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advrec.errors import ConfigError
from advrec.models import ModelSpec, model_class
from advrec.models.initial import AT_ONCE, AT_ONCE_BYTES
from advrec.ops import OPTIMIZERS
from advrec.system.memory import LIMIT, free_bytes, held_bytes, written
from advrec.training.stepper import Sizes
from advrec.training.tiers import tier_of

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.data.dataset import Dataset

LIBRARIES = 64 << 20
"""Bytes of torch's own code and threads, loaded at their first use; 45 to 100 MB were measured."""

IDS, OFFSETS = 4, 8  # bytes of an id, of an offset into ids


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak of a training."""

    held: int  # by this process already
    parts: Mapping[str, int]  # what comes on top, by what it is for
    free: int | None  # what may come on top; None where the system does not say

    @property
    def peak(self) -> int:
        """Bytes in total."""
        return self.held + sum(self.parts.values())

    def sentence(self) -> str:
        """The estimate in a sentence."""
        parts = sorted(self.parts.items(), key=lambda part: -part[1])
        named = ", ".join(f"{name} {written(size)}" for name, size in parts if size >= 1 << 20)
        free = "" if self.free is None else f"; {written(self.free)} more are free"
        listed = f"{written(self.held)} now, {named}" if named else f"{written(self.held)} now"
        return f"memory: about {written(self.peak)} at the peak ({listed}){free}"

    def check(self) -> None:
        """ConfigError if it will not fit."""
        needed = sum(self.parts.values())
        if self.free is None or needed <= self.free:
            return
        largest = max(self.parts, key=lambda name: self.parts[name])
        batch = "a smaller --batch-size, " if largest == "step" else ""
        raise ConfigError(
            f"this training needs about {written(needed)} more memory at its peak (most of it for "
            f"the {largest}: {written(self.parts[largest])}), and {written(self.free)} are free",
            hint=f"{batch}a smaller --dim, --optimizer sgd or adagrad; on a machine that can swap "
            f"{LIMIT}={written(2 * self.peak, space='')} would allow it",
        )


def forecast(config: ResolvedConfig, dataset: Dataset) -> Forecast:
    """What a training of `config` on `dataset` will need, asked before its model is built."""
    need = _Need(config, dataset)
    lasting = need.lasting()
    moments = [need.step(), need.validation()]
    if config.device == "cpu":
        held = held_bytes()
        lasting["libraries"] = LIBRARIES
        moments += [need.sorting(), need.drawing(), need.checkpoint()]
    else:  # of the card's memory: graphs, weights and files are built outside it
        held = 0
        moments.append({"checkpoint": need.states})
    moment = max(moments, key=lambda parts: sum(parts.values()))
    parts = {name: size for name, size in {**lasting, **moment}.items() if size}
    return Forecast(held, parts, free_bytes(held, config.device))


class _Need:
    """Bytes for each purpose: those held throughout, and those of single moments."""

    def __init__(self, config: ResolvedConfig, dataset: Dataset) -> None:
        kind = model_class(config.model)
        features = dataset.item_features
        spec = ModelSpec(
            n_users=dataset.n_users,
            n_items=dataset.n_items,
            dim=config.dim,
            layers=config.layers,
            options=config.options,
        )
        width = 0 if features is None or not kind.needs_features else features.shape[1]
        number = 8 if config.precision == "float64" else 4
        self.config, self.kind, self.number = config, kind, number
        self.pairs, self.nodes = len(dataset.train), dataset.n_users + dataset.n_items
        batch = min(config.batch_size, self.pairs * config.negatives)  # no more are drawn
        self.validates = len(dataset.valid) > 0
        self.weights = number * kind.parameter_count(spec, width)
        self.features = number * width * dataset.n_items
        self.states = OPTIMIZERS[config.optimizer].states * self.weights
        self.sizes = Sizes(number, self.nodes, self.weights, batch)

    def lasting(self) -> dict[str, int]:
        graph = 2 * IDS * self.pairs + (OFFSETS + self.number) * self.nodes
        return {
            "weights": self.weights,
            "optimizer": self.states,
            "best weights": self.weights if self.validates else 0,
            "pairs": IDS * self.pairs,
            "graph": graph if self.kind.needs_graph else 0,
            "features": self.features,
        }

    def sorting(self) -> dict[str, int]:
        """The graph is built before the weights, and they before the optimizer."""
        size = (OFFSETS + 3 * IDS) * self.pairs if self.kind.needs_graph else 0
        return {"graph's sorting": max(0, size - self.weights - self._later())}

    def drawing(self) -> dict[str, int]:
        """Bytes for drawing the weights, some rows at a time."""
        at_once = AT_ONCE_BYTES * min(AT_ONCE, self.weights // self.number)
        return {"drawing of weights": max(0, at_once - self._later())}

    def _later(self) -> int:
        return self.states + (self.weights if self.validates else 0)

    def step(self) -> dict[str, int]:
        tier = tier_of(self.kind, self.config)
        return {"step": tier.step_bytes(self.kind, self.config, self.sizes)}

    def validation(self) -> dict[str, int]:
        """The vectors of all users and items, unless they are the tables themselves."""
        vectors = 2 * self.sizes.table(self.config)
        return {"validation": 0 if self.kind.vectors_are_tables else vectors}

    def checkpoint(self) -> dict[str, int]:
        """A copy of the optimizer's state; then the bytes of a file, put together from parts."""
        state = self.weights + self.states
        best = 2 * self.weights if self.validates else 0
        return {"checkpoint": self.states + max(2 * state, state + best)}
