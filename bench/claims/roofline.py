"""Claim: how near each kernel is to what the machine can do with the bytes and flops it must move.

The work is counted from the data, not from the code: a kernel that does more than it must has a
lower share. Bytes come in two kinds: rows gathered at random (from a table of the kernel's size),
and arrays that are read in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from advrec import ops
from advrec.evaluation.scorer import ByVectors, rows_of
from bench import limits
from bench.lab import Lab
from bench.measure import Contender
from bench.objective import Setting
from bench.ours import Ours
from bench.results import Facts, Part
from bench.workload import Workload

TITLE = "Roofline"
FLOAT, ID = 4, 4  # bytes
MIB = 2**20
FAR = 0.6  # of its limit; below that, NOTES.md must say why


@dataclass(frozen=True)
class Kernel:
    """What one call must do, and the call."""

    name: str
    call: Callable[[], object]
    calls: float  # units in a call
    flops: float
    gathered: float  # bytes of random rows
    streamed: float  # bytes in order, written ones included
    table: float  # bytes of the table that rows are gathered from


def run(lab: Lab) -> list[Part]:
    count = lab.most_threads
    kernels = _kernels(lab)
    own = sorted({max(1.0, round(k.table / MIB, 1)) for k in kernels if k.gathered})
    sizes = sorted({*own, 18.0, 256.0})
    program, runs = limits.build(lab.scratch), lab.few(25, 1)
    lab.say("limits of the machine, before")
    found = limits.measure(program, count, sizes, runs)
    timings = lab.race([Contender(k.name, k.call, k.calls) for k in kernels], (count,))
    lab.say("limits of the machine, after")
    found = limits.better(found, limits.measure(program, count, sizes, runs))
    measured = {timing.name: timing.best for timing in timings}
    rows = [_row(kernel, found, measured[kernel.name]) for kernel in kernels]
    return [_machine(found), _table(rows, count)]


def _row(kernel: Kernel, found: limits.Limits, seconds: float) -> tuple[object, ...]:
    size = max(1.0, round(kernel.table / MIB, 1))
    arithmetic = kernel.flops / found.flops
    gather = kernel.gathered / found.rows[size] if kernel.gathered else 0.0
    stream = kernel.streamed / found.update
    limit = max(arithmetic, gather + stream)
    memory = "gathers" if gather > stream else "streams"
    bound = "arithmetic" if limit == arithmetic else memory
    share = limit / seconds
    return (
        kernel.name,
        kernel.flops / 1e9,
        kernel.gathered / 1e6,
        kernel.streamed / 1e6,
        bound,
        1e3 * limit,
        1e3 * seconds,
        f"{share:.0%}" + (" (far)" if share < FAR else ""),
    )


def _table(rows: list[tuple[object, ...]], n_threads: int) -> Facts:
    columns = (
        f"{n_threads} threads, float32",
        "GFLOP",
        "MB gathered",
        "MB in order",
        "bound by",
        "limit ms",
        "measured ms",
        "share",
    )
    return Facts(
        "Kernels",
        columns,
        rows,
        note="Limit: the longer of arithmetic at the multiply-add peak, and gathers at the rate of "
        "random rows from a table of that size plus streams at the rate of an update from memory; "
        f"small tables stay in the cache and can be faster. What lies below {FAR:.0%} is explained "
        "in NOTES.md.",
    )


def _machine(found: limits.Limits) -> Facts:
    rows = [
        ("multiply-adds, GFLOP/s", found.flops / 1e9),
        ("reading memory in order, GB/s", found.read / 1e9),
        ("reading and writing three arrays, GB/s", found.update / 1e9),
        ("reading 8 MiB from cache, GB/s", found.cache / 1e9),
        *(
            (f"random rows of 256 bytes from {size:g} MiB, GB/s", rate / 1e9)
            for size, rate in found.rows.items()
        ),
    ]
    return Facts(f"The machine, {found.threads} threads", ("limit", ""), rows)


def _kernels(lab: Lab) -> list[Kernel]:
    work = lab.work
    return [
        *_graph_kernels(lab, work),
        *_mf_kernels(work),
        _adam(work),
        _ranking(work),
        _sampler(work),
    ]


def _graph_kernels(lab: Lab, work: Workload) -> list[Kernel]:
    edges, nodes, layers = work.graph.indices.numel(), work.n_nodes, work.layers
    row, table = work.dim * FLOAT, nodes * work.dim * FLOAT
    batches = work.batches(min(2048, len(work.positives)), lab.few(8, 1), sampling="users")
    degree = torch.diff(work.graph.indptr)
    touched = [
        torch.cat([b[0], b[1] + work.n_users, b[2] + work.n_users]).unique() for b in batches
    ]
    near = float(np.mean([int(degree[rows].sum()) for rows in touched]))  # edges at the batch
    full = layers - 1  # of the K layers each way; the one at the batch needs its edges only
    pass_edges = full * edges + near
    plain, apr = Setting(), Setting(adv_weight=0.1)

    def steps(setting: Setting) -> Ours:
        return Ours(
            work, setting, model="lightgcn", batch_size=2048, optimizer="adam", sampling="users"
        )

    kernels = [
        Kernel(
            "propagate, one layer",
            lambda: ops.propagate(work.embedding, work.graph, 1),
            1,
            2 * edges * work.dim,
            edges * row,
            edges * ID + 2 * table,
            table,
        )
    ]
    for name, setting, passes, more in (
        ("LightGCN step, BPR", plain, 2, 0.0),
        ("LightGCN step, APR ego", apr, 4, 2 * table),  # E read and E + Δ written
    ):
        made = steps(setting)
        forward = passes // 2
        streamed = (
            passes * pass_edges * ID
            + forward * edges * ID  # the first backward layer looks at every edge
            + forward * full * 2 * table  # each full layer reads E and writes its result
            + forward * full * table  # backward: writes only, but for the last layer …
            + 6 * table  # … which goes through weights, m and v instead
            + more
        )
        kernels.append(
            Kernel(
                name,
                made.steps,
                made.work_of_a_call,
                passes * 2 * pass_edges * work.dim + 12 * nodes * work.dim,
                passes * pass_edges * row,
                streamed,
                table,
            )
        )
    return kernels


def _mf_kernels(work: Workload) -> list[Kernel]:
    size = min(512, len(work.positives))
    batch = work.batches(size, 1, sampling="pairs")[0]
    rows = len(torch.cat([batch[0], batch[1] + work.n_users, batch[2] + work.n_users]).unique())
    row = work.dim * FLOAT
    kernels = []
    for name, weight, rounds in (("MF step, BPR", 0.0, 1), ("MF step, APR", 1.0, 2)):
        made = Ours(
            work,
            Setting(lr=0.05, reg=0.0, adv_weight=weight, mean=False),
            model="mf",
            batch_size=size,
            optimizer="adagrad",
            sampling="pairs",
        )
        kernels.append(
            Kernel(
                f"{name}, Adagrad, {size} triplets",
                made.steps,
                made.work_of_a_call,
                # a score and three gradients per triplet; norms and the update per row
                (rounds * 10 * size + (6 + 4 * (rounds - 1)) * rows) * work.dim,
                4 * rows * row,  # weights and Σ g², read and written
                3 * size * ID,
                2 * work.n_nodes * row,
            )
        )
    return kernels


def _adam(work: Workload) -> Kernel:
    weight, gradient = work.embedding.clone(), torch.full_like(work.embedding, 1e-3)
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)

    def step() -> None:
        ops.optimizer_step_("adam", weight, gradient, m, v, step=1, lr=1e-3, opt_eps=1e-8)

    table = weight.numel() * FLOAT
    return Kernel("Adam on all rows", step, 1, 12 * weight.numel(), 0, 7 * table, table)


def _ranking(work: Workload) -> Kernel:
    users, chosen = work.vectors, work.test_users
    scorer = ByVectors(*users)
    mask = rows_of(work.dataset.train, chosen)
    wanted = rows_of(work.dataset.test, chosen)
    vectors = (len(chosen) + work.n_items) * work.dim * FLOAT
    return Kernel(
        "ranking, top 20",
        lambda: scorer.rank(chosen, mask, wanted, 20),
        1,
        2.0 * len(chosen) * work.n_items * work.dim,
        0,
        vectors + len(chosen) * 20 * 9,
        vectors,
    )


def _sampler(work: Workload) -> Kernel:
    count = len(work.positives)
    lists = (work.n_users + 1) * 8 + len(work.dataset.train) * ID

    def draw() -> object:
        return ops.sample_triplets(
            work.positives, seed=0, epoch=0, first=0, count=count, sampling="users"
        )

    # a user's bounds, the positive, and of the search for the negative the last line at least
    lines = 3 * 64 * count
    return Kernel("sampler, an epoch", draw, 1, 0, lines, 12 * count, math.ceil(lists))
