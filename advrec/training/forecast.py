"""How much memory a training will need at its peak, before it starts.

The figures are counted, not tried: tables, optimiser, graph and what a step, a validation and a
checkpoint hold beside them. Small things are left out; what this process holds already is measured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from advrec.errors import ConfigError
from advrec.models import ModelSpec, model_class
from advrec.models.initial import AT_ONCE, AT_ONCE_BYTES
from advrec.training.stepper import N_STATES

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.data.dataset import Dataset

LIMIT = "ADVREC_MEMORY"
"""Environment variable: how much a training may take in all, such as 16G, in place of what the
system says is free."""

LIBRARIES = 64 << 20
"""Bytes of torch's own code and threads that come in at their first use; 45 to 100 MB were seen."""

IDS, OFFSETS = 4, 8  # bytes of an id, of an offset into ids
ROUNDED = {"float32": 4, "float64": 8, "bf16": 2}  # bytes of a number that LightGCN gathers


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak of a training."""

    held: int  # by this process already
    parts: Mapping[str, int]  # what comes on top, by what it is for
    free: int | None  # what may come on top; None where the system does not say

    @property
    def peak(self) -> int:
        """All together."""
        return self.held + sum(self.parts.values())

    def sentence(self) -> str:
        """For people."""
        parts = sorted(self.parts.items(), key=lambda part: -part[1])
        named = ", ".join(f"{name} {written(size)}" for name, size in parts if size >= 1 << 20)
        free = "" if self.free is None else f"; {written(self.free)} more are free"
        listed = f"{written(self.held)} now, {named}" if named else f"{written(self.held)} now"
        return f"memory: about {written(self.peak)} at the peak ({listed}){free}"

    def check(self) -> None:
        """ConfigError if it will not fit."""
        wanted = sum(self.parts.values())
        if self.free is None or wanted <= self.free:
            return
        largest = max(self.parts, key=lambda name: self.parts[name])
        batch = "a smaller --batch-size, " if largest == "step" else ""
        raise ConfigError(
            f"This training needs about {written(wanted)} more memory at its peak (most of it for "
            f"the {largest}: {written(self.parts[largest])}), and {written(self.free)} are free.",
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
    else:  # of the card's memory: graphs, weights and files are made beside it
        held = 0
        moments.append({"checkpoint": need.states})
    moment = max(moments, key=lambda parts: sum(parts.values()))
    parts = {name: size for name, size in {**lasting, **moment}.items() if size}
    return Forecast(held, parts, free_bytes(held, config.device))


class _Need:
    """Bytes for each purpose, and at each moment what there is beside the lasting ones."""

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
        self.batch = min(config.batch_size, self.pairs * config.negatives)  # no more are drawn
        self.validates = len(dataset.valid) > 0
        self.weights = number * kind.weight_numbers(spec, width)
        self.features = number * width * dataset.n_items
        self.states = N_STATES[config.optimizer] * self.weights
        self.table = number * self.nodes * config.dim  # a vector for each node

    def lasting(self) -> dict[str, int]:
        graph = 2 * IDS * self.pairs + (OFFSETS + self.number) * self.nodes
        return {
            "weights": self.weights,
            "optimiser": self.states,
            "best weights": self.weights if self.validates else 0,
            "pairs": IDS * self.pairs,
            "graph": graph if self.kind.needs_graph else 0,
            "features": self.features,
        }

    def sorting(self) -> dict[str, int]:
        """The graph is made before the weights, and they before the optimiser."""
        size = (OFFSETS + 3 * IDS) * self.pairs if self.kind.needs_graph else 0
        return {"graph's sorting": max(0, size - self.weights - self._later())}

    def drawing(self) -> dict[str, int]:
        """Of weights, some rows at a time."""
        at_once = AT_ONCE_BYTES * min(AT_ONCE, self.weights // self.number)
        return {"drawing of weights": max(0, at_once - self._later())}

    def _later(self) -> int:
        return self.states + (self.weights if self.validates else 0)

    def step(self) -> dict[str, int]:
        config = self.config
        # Of a batch: parts of gradients, two a triplet; its rows, moved; and for LightGCN the rows
        # as they are, and their gradients.
        parts = self.number * 2 * self.batch * config.dim
        rows_of_batch = self.number * min(3 * self.batch, self.nodes) * config.dim
        batch = parts + (rows_of_batch if config.adv_weight > 0 else 0)
        if self.config.model == "mf":
            return {"step": IDS * self.nodes * (max(1, config.threads) + 1) + batch}
        if self.config.model != "lightgcn":
            return {"step": 2 * self.weights + 2 * self.table}  # dense gradients, and activations
        layers = 3 if config.layers is None else config.layers
        row = ROUNDED[config.precision] * self.nodes * config.dim
        rows = min(2, max(0, layers - 1)) * row
        if config.precision == "bf16":
            rows += row
        if config.adv_weight > 0 and config.site == "ego":
            rows += row + (self.table if config.norm == "joint" else 0)
        return {"step": rows + batch + 2 * rows_of_batch + 2 * IDS * self.nodes}

    def validation(self) -> dict[str, int]:
        """The vectors of a model whose scores are made from more than its tables."""
        return {"validation": 0 if self.config.model == "mf" else 2 * self.table}

    def checkpoint(self) -> dict[str, int]:
        """A copy of the optimiser's state; then the bytes of a file, put together from parts."""
        state = self.weights + self.states
        best = 2 * self.weights if self.validates else 0
        return {"checkpoint": self.states + max(2 * state, state + best)}


def held_bytes() -> int:
    """Resident memory of this process now; 0 where the system does not say."""
    return 1024 * _kib(Path("/proc/self/status"), "VmRSS")


def free_bytes(held: int, device: str = "cpu") -> int | None:
    """How much more this process may take; None if nobody knows."""
    wanted = os.environ.get(LIMIT)
    if wanted is not None:
        return max(0, _parsed(wanted) - held)
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    found = [1024 * _kib(Path("/proc/meminfo"), "MemAvailable"), _left_in_group()]
    known = [size for size in found if size]
    return min(known) if known else None


def written(size: int, space: str = " ") -> str:
    """Bytes for people."""
    for unit, power in (("GB", 30), ("MB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.{0 if size >= 10 << power else 1}f}{space}{unit}"
    return f"{size / 1024:.0f}{space}KB"


def _left_in_group() -> int:
    """What a control group (a container) leaves free; 0 without a limit."""
    home = Path("/sys/fs/cgroup")
    try:
        limit = (home / "memory.max").read_text().strip()
        used = int((home / "memory.current").read_text())
        cached = int(re.search(r"^inactive_file (\d+)", _text(home / "memory.stat"), re.M)[1])  # type: ignore[index]
    except (OSError, ValueError, TypeError):
        return 0
    return 0 if limit == "max" else max(1, int(limit) - used + cached)


def _kib(path: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _text(path), re.M)
    return int(found[1]) if found else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _parsed(text: str) -> int:
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)B?\s*", text, re.I)
    try:
        size = float(found[1]) if found else float("nan")
        return int(size * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else int(size)
    except ValueError:
        raise ConfigError(
            f"The environment variable {LIMIT} is {text!r}; wanted a size.", hint=f"{LIMIT}=16G"
        ) from None
