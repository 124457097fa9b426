"""Claim: the product Â·X, and the propagation of LightGCN that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import ops
from bench.lab import Lab, same
from bench.measure import Contender
from bench.results import OURS, Check, Part, Table, Target, Unit
from bench.workload import Workload

TITLE = "Sparse product Â·X and propagation"
UNIT = Unit("ms", 1e3)
EPSILON = 2.0**-24  # half the distance of float32 numbers around 1


def run(lab: Lab) -> list[Part]:
    return [_product(lab), _propagation(lab)]


def _product(lab: Lab) -> Table:
    work = lab.work
    x = work.embedding
    csr, csr64, coo = work.torch_csr(), work.torch_csr(index=torch.int64), work.torch_coo()
    matrix, dense = work.adjacency.astype(np.float32), x.numpy()
    row, column = coo.indices()
    values = coo.values().unsqueeze(1)

    def gather_scatter() -> Tensor:
        return torch.zeros_like(x).index_add_(0, row, values * x[column])

    table = Table(
        f"One product, {matrix.nnz:,} entries × {x.shape[1]} columns",
        UNIT,
        targets=[
            Target(
                "Â·X ≥ 2.5× torch CSR", 2.5, ("torch CSR (32-bit ids)", "torch CSR (64-bit ids)")
            )
        ],
        note="advrec has no bare product: its call makes (x + Âx) / 2, which is a little more. "
        "scipy uses one thread.",
    )
    results: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: ops.propagate(x, work.graph, 1),
        "torch CSR (32-bit ids)": lambda: csr @ x,
        "torch CSR (64-bit ids)": lambda: csr64 @ x,
        "torch COO": lambda: torch.sparse.mm(coo, x),
        "scipy CSR": lambda: torch.from_numpy(matrix @ dense),
        "gather and scatter": gather_scatter,
    }
    truth, bound = _truth(work)
    for name, make in results.items():
        found = make().numpy().astype(np.float64)
        if name == OURS:
            found = 2 * found - dense.astype(np.float64)
        table.checks.append(_within(name, found, truth, bound))
    only_one = {"scipy CSR": (1,)}
    table.timings = lab.race(
        [Contender(name, make, threads=only_one.get(name)) for name, make in results.items()]
    )
    return table


def _propagation(lab: Lab) -> Table:
    work = lab.work
    x, layers, csr, coo = work.embedding, work.layers, work.torch_csr(), work.torch_coo()

    def running_sum(matrix: Tensor) -> Tensor:
        hop, total = x, x.clone()
        for _ in range(layers):
            hop = matrix @ hop
            total += hop
        return total / (layers + 1)

    def stacked() -> Tensor:
        hops = [x]
        for _ in range(layers):
            hops.append(torch.sparse.mm(coo, hops[-1]))
        return torch.stack(hops, dim=1).mean(dim=1)

    exact = work.adjacency
    hop = total = x.numpy().astype(np.float64)
    for _ in range(layers):
        hop = exact @ hop
        total = total + hop
    truth = total / (layers + 1)
    table = Table(f"Propagation, mean over K = {layers} layers", UNIT)
    results: dict[str, Callable[[], Tensor]] = {
        OURS: lambda: ops.propagate(x, work.graph, layers),
        "torch CSR (running sum)": partial(running_sum, csr),
        "torch COO (stacked)": stacked,
    }
    for name, make in results.items():
        off = np.abs(make().numpy() - truth).max() / np.abs(truth).max()
        table.checks.append(
            same(name, "result", float(off), 1e-5, "largest difference ÷ largest entry")
        )
    table.timings = lab.race([Contender(name, make) for name, make in results.items()])
    return table


def _truth(work: Workload) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Âx in float64, and how far a float32 sum in any order may be from each of its entries."""
    matrix, x = work.adjacency, work.embedding.numpy().astype(np.float64)
    terms = np.diff(matrix.indptr)[:, None]
    # each term is a product of rounded factors (4 roundings), then at most `terms` additions;
    # advrec's result is halved with x added, and that is taken back here (2 more, of |x|)
    bound = (terms + 6) * EPSILON * (abs(matrix) @ np.abs(x)) + 4 * EPSILON * np.abs(x)
    return matrix @ x, bound


def _within(
    who: str, found: NDArray[np.float64], truth: NDArray[np.float64], bound: NDArray[np.float64]
) -> Check:
    share = float((np.abs(found - truth) / np.maximum(bound, 1e-300)).max())
    what = "result (largest difference ÷ rounding bound of that entry, at most 1)"
    return Check(who, what, share <= 1, f"{share:.2f}")
