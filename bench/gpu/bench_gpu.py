"""What is measured on a card, and the page it becomes."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advrec import native, ops
from advrec.data import Dataset
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.training.stepper import OptimizerState
from bench.gpu import baseline
from bench.gpu.clock import Timing, copy_rate, in_turn
from bench.workload import open_workload, scratch_folder

CUDA = torch.device("cuda")
LAYERS, SEED = 3, 1
OURS, TORCH = "advrec", "plain torch"


@dataclass(frozen=True)
class Line:
    """One row of the page's tables."""

    what: str
    ours: Timing
    theirs: Timing | None
    note: str
    error: float  # largest difference from the CPU core (or from torch), as a share of the largest


@dataclass
class Bench:
    """A data set on the device, and the lines measured so far."""

    dataset: Dataset
    about: str
    dim: int
    rounds: int
    lines: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        train = self.dataset.train
        self.graph, self.here = Graph.build(train, device=CUDA), Graph.build(train)
        self.positives = Positives.from_pairs(train, CUDA)
        generator = torch.Generator().manual_seed(SEED)
        nodes = self.dataset.n_users + self.dataset.n_items
        self.table = 0.1 * torch.randn(nodes, self.dim, generator=generator)
        values = torch.repeat_interleave(self.here.scale, self.here.indptr.diff())
        values = values * self.here.scale[self.here.indices.long()]
        self.adjacency = torch.sparse_csr_tensor(
            self.here.indptr,
            self.here.indices.long(),
            values,
            (nodes, nodes),
            check_invariants=False,
        ).to(CUDA)

    def add(
        self,
        what: str,
        ours: Callable[[], object],
        theirs: Callable[[], object] | None,
        note: Callable[[Timing], str],
        error: float,
    ) -> None:
        """Measure both in turn."""
        calls = {OURS: ours, **({TORCH: theirs} if theirs else {})}
        times = in_turn(calls, self.rounds)
        self.lines.append(Line(what, times[OURS], times.get(TORCH), note(times[OURS]), error))

    def steps(self, batch: int, wanted: int) -> int:
        """Steps to measure: not more than an epoch has."""
        return min(wanted, -(-len(self.positives) // batch))

    def draw(self, batch: int, sampling: str) -> Callable[[int], Tensor]:
        total = len(self.positives)

        def drawn(step: int) -> Tensor:
            first = step * batch
            return ops.sample_triplets(
                self.positives, seed=SEED, epoch=0, first=first,
                count=min(batch, total - first), sampling=sampling,
            )  # fmt: skip

        return drawn


def measure(data: str | None, dim: int, rounds: int) -> str:
    """Everything, as Markdown. NativeError if the CUDA core is unavailable."""
    native.cuda(required=True)
    with scratch_folder() as folder:
        workload = open_workload(data, quick=False, scratch=Path(folder))
        bench = Bench(workload.dataset, workload.about, dim, rounds)
    rate = copy_rate(1024, rounds)
    near = copy_rate(8, rounds)
    _propagation(bench, rate)
    _sampler(bench)
    _ranking(bench)
    for adv_weight, site in ((0.0, "ego"), (0.1, "final"), (0.1, "ego")):
        _lightgcn(bench, adv_weight, site)
    for optimizer, batch in (("adagrad", 512), ("adam", 2048)):
        for adv_weight in (0.0, 1.0):
            _mf(bench, optimizer, batch, adv_weight)
    return _page(bench, rate, near)


def _difference(found: Tensor, wanted: Tensor) -> float:
    wanted = wanted.double().cpu()
    return float((found.double().cpu() - wanted).abs().max() / wanted.abs().max())


def _propagation(bench: Bench, rate: float) -> None:
    x = bench.table.to(CUDA)
    found = ops.propagate(x, bench.graph, LAYERS)
    # What a layer cannot do without: a row and an index per edge, and each row read and written.
    edges, nodes = bench.graph.indices.numel(), len(x)
    gathered = LAYERS * (edges * (4 * bench.dim + 4 + 4) + nodes * (8 * bench.dim + 12))
    bench.add(
        f"propagate, K = {LAYERS}",
        lambda: ops.propagate(x, bench.graph, LAYERS),
        lambda: baseline.propagate(bench.adjacency, x, LAYERS),
        lambda t: (
            f"{gathered / t.least / 1e6:.0f} GB/s gathered, "
            f"{gathered / t.least * 1e3 / rate:.1f}× the copy rate"
        ),
        _difference(found, ops.propagate(bench.table, bench.here, LAYERS)),
    )


def _sampler(bench: Bench) -> None:
    drawn, total = bench.draw(len(bench.positives), "pairs"), len(bench.positives)
    here = ops.sample_triplets(
        Positives.from_pairs(bench.dataset.train), seed=SEED, epoch=0, first=0, count=total
    )
    bench.add(
        "sample an epoch",
        lambda: drawn(0),
        None,
        lambda t: f"{total / t.least / 1e6:.2f} G triplets/s",
        _difference(drawn(0), here),
    )


def _ranking(bench: Bench) -> None:
    n_users, train = bench.dataset.n_users, bench.dataset.train
    users, items = bench.table[:n_users].to(CUDA), bench.table[n_users:].to(CUDA)
    mask = (torch.from_numpy(train.indptr), torch.from_numpy(train.items))
    test = bench.dataset.test
    relevant = (torch.from_numpy(test.indptr), torch.from_numpy(test.items))
    on_gpu = [tuple(t.to(CUDA) for t in pair) for pair in (mask, relevant)]
    masked = (torch.from_numpy(train.users()).long().to(CUDA), on_gpu[0][1].long())

    def torch_way() -> None:
        for first in range(0, n_users, 2048):
            scores = users[first : first + 2048] @ items.T
            begin, end = (int(train.indptr[min(n, n_users)]) for n in (first, first + 2048))
            scores[masked[0][begin:end] - first, masked[1][begin:end]] = -np.inf
            scores.topk(20)

    found = ops.rank_topk(users, items, *on_gpu, 20)
    wanted = ops.rank_topk(bench.table[:n_users], bench.table[n_users:], mask, relevant, 20)
    flops = 2.0 * n_users * len(items) * bench.dim
    bench.add(
        "rank all users, top 20, masked",
        lambda: ops.rank_topk(users, items, *on_gpu, 20),
        torch_way,
        lambda t: f"{flops / t.least / 1e9:.1f} TFLOP/s",
        _difference(found.scores, wanted.scores),
    )


def _start(bench: Bench, kind: str, lr: float, device: torch.device | str) -> dict[str, Any]:
    """The start table, and the optimizer that moves it, as operators take them."""
    table = bench.table.clone().to(device)
    state1, state2 = OptimizerState({"embedding": table}, kind).of("embedding")
    return {
        "embedding": table,
        "state1": state1,
        "state2": state2,
        "optimizer": ops.OPTIMIZERS[kind].code,
        "lr": lr,
        "beta1": ops.BETAS[0],
        "beta2": ops.BETAS[1],
        "opt_eps": ops.OPTIMIZERS[kind].opt_eps,
        "updates": 0,
    }


def _lightgcn(bench: Bench, adv_weight: float, site: str) -> None:
    batch = 2048
    steps = bench.steps(batch, 64)
    graphs = {"cpu": bench.here, "cuda": bench.graph}

    def ours(device: str, count: int) -> tuple[Callable[[], object], Tensor]:
        graph, pos = graphs[device], Positives.from_pairs(bench.dataset.train, device)
        arguments = {
            **_start(bench, "adam", 1e-3, device), **ops.positives_arguments(pos),
            "graph_indptr": graph.indptr, "graph_indices": graph.indices,
            "graph_scale": graph.scale, "layers": LAYERS, "seed": SEED, "epoch": 0,
            "negatives": 1, "sampling": ops.SAMPLINGS["users"], "first_step": 0, "steps": count,
            "batch_size": batch, "mean": True, "reg": 1e-4, "eps": 0.5, "adv_weight": adv_weight,
            "norm": ops.NORMS["row"], "site": ops.SITES[site],
        }  # fmt: skip
        return lambda: ops.fused().lightgcn_steps(**arguments), arguments["embedding"]

    call, table = ours("cuda", 2)
    call()
    twin, wanted = ours("cpu", 2)
    twin()
    error = _difference(table, wanted)
    call, _ = ours("cuda", steps)

    theirs = None
    if site == "ego":
        parameter = torch.nn.Parameter(bench.table.to(CUDA))
        optimizer = torch.optim.Adam([parameter], lr=1e-3, fused=True)
        epoch = -(-len(bench.positives) // batch)
        drawn = baseline.batches(bench.draw(batch, "users"), epoch)

        def losses(table: Tensor, batch: Tensor) -> Tensor:
            final = baseline.propagate(bench.adjacency, table, LAYERS)
            return torch.nn.functional.softplus(
                -baseline.margins(final, batch, bench.dataset.n_users)
            )

        def theirs() -> None:
            for _ in range(8):
                baseline.step(
                    parameter, optimizer, losses, next(drawn), adv_weight=adv_weight, eps=0.5,
                    reg=1e-4, n_users=bench.dataset.n_users, mean=True,
                )  # fmt: skip

    name = "BPR" if not adv_weight else f"APR, site {site}"
    _add_steps(bench, f"LightGCN {name}, batch {batch}", (call, steps), (theirs, 8), batch, error)


def _mf(bench: Bench, kind: str, batch: int, adv_weight: float) -> None:
    steps = bench.steps(batch, 320)

    def ours(device: str, count: int) -> tuple[Callable[[], object], Tensor]:
        pos = Positives.from_pairs(bench.dataset.train, device)
        arguments = {
            **_start(bench, kind, 0.05 if kind == "adagrad" else 1e-3, device),
            **ops.positives_arguments(pos), "seed": SEED, "epoch": 0, "negatives": 1,
            "sampling": ops.SAMPLINGS["pairs"], "first_step": 0, "steps": count,
            "batch_size": batch, "mean": False, "reg": 0.0, "eps": 0.5, "adv_weight": adv_weight,
            "norm": ops.NORMS["row"],
        }  # fmt: skip
        return lambda: ops.fused().mf_steps(**arguments), arguments["embedding"]

    call, table = ours("cuda", 2)
    call()
    twin, wanted = ours("cpu", 2)
    twin()
    error = _difference(table, wanted)
    call, _ = ours("cuda", steps)
    parameter = torch.nn.Parameter(bench.table.to(CUDA))
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam([parameter], lr=1e-3, fused=True)
        if kind == "adam"
        else torch.optim.Adagrad([parameter], lr=0.05, initial_accumulator_value=0.1, fused=True)
    )
    epoch = -(-len(bench.positives) // batch)
    drawn = baseline.batches(bench.draw(batch, "pairs"), epoch)

    def losses(table: Tensor, batch: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-baseline.margins(table, batch, bench.dataset.n_users))

    def theirs() -> None:
        for _ in range(8):
            baseline.step(
                parameter, optimizer, losses, next(drawn), adv_weight=adv_weight, eps=0.5,
                reg=0.0, n_users=bench.dataset.n_users, mean=False,
            )  # fmt: skip

    name = "APR" if adv_weight else "BPR"
    what = f"MF {name}, {kind}, batch {batch}"
    _add_steps(bench, what, (call, steps), (theirs, 8), batch, error)


def _add_steps(
    bench: Bench,
    what: str,
    ours: tuple[Callable[[], object], int],
    theirs: tuple[Callable[[], object] | None, int],
    batch: int,
    error: float,
) -> None:
    """Times of single steps, though a call makes many; and what an epoch then takes."""
    calls = {OURS: ours[0], **({TORCH: theirs[0]} if theirs[0] else {})}
    steps = {OURS: ours[1], TORCH: theirs[1]}
    times = {
        name: Timing(t.least / steps[name], t.median / steps[name])
        for name, t in in_turn(calls, bench.rounds).items()
    }
    mine, epoch = times[OURS].least, -(-len(bench.positives) // batch)
    note = f"{mine * epoch:.0f} ms per epoch, {batch / mine / 1e3:.1f} M triplets/s"
    bench.lines.append(Line(what, times[OURS], times.get(TORCH), note, error))


def _page(bench: Bench, rate: float, near: float) -> str:
    card = torch.cuda.get_device_properties(0)
    rows = [
        f"| {line.what} | {line.ours.least:.3f} ({line.ours.median:.3f}) | "
        + (
            f"{line.theirs.least:.3f} ({line.theirs.median:.3f}) | "
            f"{line.theirs.least / line.ours.least:.1f}× | "
            if line.theirs
            else "– | – | "
        )
        + f"{line.note} | {line.error:.0e} |"
        for line in bench.lines
    ]
    return "\n".join(
        [
            "# On a GPU",
            "",
            f"`python -m bench.gpu`, {datetime.date.today()}, on one **{card.name}** "
            f"({card.total_memory / 2**30:.0f} GiB, {card.multi_processor_count} multiprocessors, "
            f"compute capability {card.major}.{card.minor}), torch {torch.__version__}, "
            f"CUDA {torch.version.cuda}.",
            "",
            f"Data: {bench.about}; d = {bench.dim}. A copy within the card moves "
            f"{rate / 1e9:,.0f} GB/s (1 GiB) and {near / 1e9:,.0f} GB/s (8 MiB, from its cache).",
            "",
            "Milliseconds, the least of the rounds and the median; steps are single steps. Plain "
            "torch: CSR, self-adjoint backward, fused optimiser, the same triplets "
            "(bench/gpu/baseline.py). Error: against the CPU core, as a share of the largest "
            "entry. docs/cuda.md says what was predicted.",
            "",
            "| work | advrec | plain torch | ratio | | error |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
