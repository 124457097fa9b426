"""The operations that models are written with, on the compiled core or on its plain-torch twin.

Which of the two runs is chosen once a process (`advrec.native.use`). The twin in
`advrec.ops.reference` has the same names and signatures; tests compare the two. Wrong shapes
raise ValueError in both. Here are the operators' faces: types, autograd and fake kernels, so that
`torch.library.opcheck` and `torch.compile` understand them; the arithmetic is in csrc/.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from advrec import native
from advrec.native import gpu
from advrec.ops import reference
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.ops.reference import Ranking

OPTIMIZERS = {kind: code for code, kind in enumerate(reference.KINDS)}
MODES = {"pairs": 0, "users": 1}
NORMS = {"row": 0, "sample": 1, "joint": 2}
SITES = {"ego": 0, "final": 1}

Rows = tuple[Tensor, Tensor]


def sample_triplets(
    pos: Positives,
    *,
    seed: int,
    epoch: int,
    first: int,
    count: int,
    negatives: int = 1,
    mode: str = "pairs",
) -> Tensor:  # [3, count] int32: u, i, j
    """Triplets first … first + count − 1 of an epoch; see `reference.sample_triplets`."""
    if not takes(pos.items):
        return reference.sample_triplets(
            pos, seed=seed, epoch=epoch, first=first, count=count, negatives=negatives, mode=mode
        )
    sampled = _ops().sample_triplets(
        *positives_arguments(pos), seed, epoch, first, count, negatives, _code(MODES, mode, "mode")
    )
    return _tensor(sampled)


def propagate(
    x: Tensor,  # [N, d]
    graph: Graph,
    layers: int,
) -> Tensor:  # [N, d]
    """mean over k = 0..K of Â^k x (He et al., SIGIR 2020, equation 8). Differentiable in x."""
    if not takes(x):
        return reference.propagate(x, graph, layers)
    graph = graph.to(dtype=x.dtype)
    arguments = (graph.indptr, graph.indices, graph.scale)
    return _tensor(_ops().propagate(x.contiguous(), *arguments, layers))


def triplet_margin(
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> Tensor:  # [B]
    """p_u·q_i − p_u·q_j. Differentiable in both tables; a row's gradients are summed in order."""
    if not takes(user_table):
        return reference.triplet_margin(user_table, item_table, triplets)
    tables = (user_table.contiguous(), item_table.contiguous())
    return _tensor(_ops().triplet_margin(*tables, triplets.contiguous()))


def triplet_margin_backward(
    grad: Tensor,  # [B]
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> tuple[Tensor, Tensor]:  # [U, d], [I, d]
    """What autograd makes of `triplet_margin`, for who has no need of autograd otherwise."""
    if not takes(user_table):
        return reference.triplet_margin_backward(grad, user_table, item_table, triplets)
    tables = (user_table.contiguous(), item_table.contiguous())
    by_user, by_item = _ops().triplet_margin_backward(
        grad.contiguous(), *tables, triplets.contiguous()
    )
    return _tensor(by_user), _tensor(by_item)


def normalize_rows(
    x: Tensor,  # [R, d]
    eps: float,
) -> Tensor:  # [R, d]
    """Each row with its direction kept and its L2 norm set to eps; a row of zeros stays."""
    if not takes(x):
        return reference.normalize_rows(x, eps)
    return _tensor(_ops().normalize_rows(x.contiguous(), eps))


def rank_topk(
    user_vectors: Tensor,  # [B, d]
    item_vectors: Tensor,  # [I, d]
    mask: Rows,  # indptr [B+1] int64, items int32, ascending within a user
    relevant: Rows,
    k: int,
    count_above: bool = False,
) -> Ranking:
    """The k best unmasked items of each user by p_u·q_i; see `advrec.ops.reference.rank_scores`.

    The catalogue is scored tile by tile and never held: memory is B·k, whatever I is.
    """
    if not takes(user_vectors):
        return reference.rank_topk(user_vectors, item_vectors, mask, relevant, k, count_above)
    vectors = (user_vectors.contiguous(), item_vectors.contiguous())
    return Ranking(*_ops().rank_topk(*vectors, *mask, *relevant, k, count_above))


def rank_scores(
    scores: Tensor,  # [B, I]
    mask: Rows,
    relevant: Rows,
    k: int,
    count_above: bool = False,
) -> Ranking:
    """The k best unmasked items of each user by given scores."""
    if not takes(scores, any_width=True):
        return reference.rank_scores(scores, mask, relevant, k, count_above)
    return Ranking(*_ops().rank_scores(scores.contiguous(), *mask, *relevant, k, count_above))


@torch.no_grad()
def optimizer_step_(
    kind: str,
    param: Tensor,  # [R, d], changed
    grad: Tensor,  # [R, d]; [T, d] with rows
    state1: Tensor | None,
    state2: Tensor | None,
    *,
    step: int,  # 1 for the first
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    opt_eps: float,
    rows: Tensor | None = None,
) -> None:
    """One step of sgd, adagrad, adam or sparse_adam in place; see the reference's docstring."""
    if not takes(param) or param.dim() != 2:
        reference.optimizer_step_(
            kind, param, grad, state1, state2,
            step=step, lr=lr, beta1=beta1, beta2=beta2, opt_eps=opt_eps, rows=rows,
        )  # fmt: skip
        return
    code = _code(OPTIMIZERS, kind, "kind")
    rows = None if rows is None else rows.to(torch.int32)
    arguments = (code, lr, beta1, beta2, opt_eps, step - 1)
    _ops().optimizer_step(param, grad.contiguous(), state1, state2, rows, *arguments)


def positives_arguments(pos: Positives) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]:
    """A Positives as the operators take it."""
    return (pos.pair_users, pos.pair_items, pos.active_users, pos.indptr, pos.items, pos.n_items)


def takes(tensor: Tensor, *, any_width: bool = False) -> bool:
    """Does the core for the tensor's device take it? What it does not, the twin does."""
    if native.kernels() != "native":
        return False
    if tensor.device.type == "cuda":
        return gpu.takes(tensor, any_width=any_width) and on_cuda()
    return tensor.device.type == "cpu"


def on_cuda() -> bool:
    """Are there operators for CUDA tensors? NativeError if not and --kernels native was chosen."""
    return native.cuda(required=native.choice() == "native") is not None


def _code(codes: dict[str, int], name: str, what: str) -> int:
    if name not in codes:
        raise ValueError(f"{what} is {name!r}, wanted one of {', '.join(codes)}")
    return codes[name]


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def fused() -> Any:
    """The operators themselves, for `advrec.training.fused`; loads the core if need be."""
    native.core(required=True)
    return _ops()


@lru_cache(maxsize=1)
def _ops() -> Any:
    """torch.ops.advrec, with autograd and fake kernels registered: once, when it is first used."""
    _register()
    return torch.ops.advrec


F = TypeVar("F", bound=Callable[..., Any])


def _register() -> None:
    ops = torch.ops.advrec
    fake: Callable[[str], Callable[[F], F]] = lambda name: torch.library.register_fake(  # noqa: E731
        f"advrec::{name}"
    )

    @fake("sample_triplets")
    def _(*arguments: Any) -> Tensor:
        pair_users, count = arguments[0], arguments[9]
        return _tensor(pair_users.new_empty(3, count))

    @fake("propagate")
    def _(x: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(x)

    @fake("triplet_margin")
    def _(user_table: Tensor, item_table: Tensor, triplets: Tensor) -> Tensor:
        return user_table.new_empty(triplets.shape[1])

    @fake("triplet_margin_backward")
    def _(grad: Tensor, user_table: Tensor, item_table: Tensor, triplets: Tensor) -> Any:
        return torch.empty_like(user_table), torch.empty_like(item_table)

    @fake("normalize_rows")
    def _(x: Tensor, eps: float) -> Tensor:
        return torch.empty_like(x)

    @fake("optimizer_step")
    def _(*_: Any) -> None:
        return None

    def ranking(like: Tensor, lists: tuple[Any, ...]) -> Any:
        relevant_items, k, count_above = lists[3], lists[4], lists[5]
        shape = (like.shape[0], k)
        above = relevant_items.shape[0] if count_above else 0
        return (
            like.new_empty(shape, dtype=torch.int32),
            like.new_empty(shape),
            like.new_empty(shape, dtype=torch.bool),
            like.new_empty(above, dtype=torch.int64),
        )

    @fake("rank_topk")
    def _(user_vectors: Tensor, item_vectors: Tensor, *lists: Any) -> Any:
        return ranking(user_vectors, lists)

    @fake("rank_scores")
    def _(scores: Tensor, *lists: Any) -> Any:
        return ranking(scores, lists)

    @fake("mf_steps")
    def _(embedding: Tensor, *_: Any) -> Tensor:
        return embedding.new_empty(2, dtype=torch.float64)

    for name in ("lightgcn_steps", "lightgcn_steps_bf16"):

        @fake(name)
        def _(embedding: Tensor, *_: Any) -> Tensor:
            return embedding.new_empty(2, dtype=torch.float64)

    @fake("amr_steps")
    def _(users: Tensor, *_: Any) -> Tensor:
        return users.new_empty(2, dtype=torch.float64)

    # Â is symmetric, so the backward of the propagation is the propagation.
    def keep_graph(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:4])
        ctx.layers = inputs[4]

    def propagate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        moved = ops.propagate(grad.contiguous(), *ctx.saved_tensors, ctx.layers)
        return moved, None, None, None, None

    def keep_tables(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def margin_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*ops.triplet_margin_backward(grad.contiguous(), *ctx.saved_tensors), None)

    def keep_rows(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.eps = inputs[1]

    def normalize_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, out = ctx.saved_tensors
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        unit = out / ctx.eps if ctx.eps else out
        along = (grad * unit).sum(1, keepdim=True) * unit
        return torch.where(norms > 0, (grad - along) * ctx.eps / norms, 0.0), None

    for name, backward, setup in (
        ("propagate", propagate_backward, keep_graph),
        ("triplet_margin", margin_backward, keep_tables),
        ("normalize_rows", normalize_backward, keep_rows),
    ):
        torch.library.register_autograd(f"advrec::{name}", backward, setup_context=setup)
