"""The operations that models are written with, on the compiled core or on its plain-torch twin.

Which of the two runs is chosen once per process (`advrec.native.use`). The twin in
`advrec.ops.reference` has the same names and signatures; tests compare the two. Wrong shapes
raise ValueError in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from advrec import native
from advrec.native import gpu
from advrec.ops import reference
from advrec.ops.graph import Graph
from advrec.ops.optimizers import BETAS, OPTIMIZERS
from advrec.ops.positives import Positives
from advrec.ops.reference import Ranking, Reach
from advrec.ops.register import operators

SAMPLINGS: Final[Mapping[str, int]] = {"pairs": 0, "users": 1}
NORMS: Final[Mapping[str, int]] = {"row": 0, "sample": 1, "joint": 2}
SITES: Final[Mapping[str, int]] = {"ego": 0, "final": 1}
SMOOTH: Final[Mapping[str, int]] = {"ndcg": 0, "softmax": 1}
"""The core's numbers for words: the enums of csrc/kernels.h. It knows no other words."""

Rows = tuple[Tensor, Tensor]


def sample_triplets(
    pos: Positives,
    *,
    seed: int,
    epoch: int,
    first: int,
    count: int,
    negatives: int = 1,
    sampling: str = "pairs",
) -> Tensor:  # [3, count] int32: u, i, j
    """Triplets first … first + count − 1 of an epoch; see `reference.sample_triplets`."""
    if not takes(pos.items):
        return reference.sample_triplets(
            pos,
            seed=seed,
            epoch=epoch,
            first=first,
            count=count,
            negatives=negatives,
            sampling=sampling,
        )
    sampled = operators().sample_triplets(
        **positives_arguments(pos),
        seed=seed,
        epoch=epoch,
        first=first,
        count=count,
        negatives=negatives,
        sampling=_code(SAMPLINGS, sampling, "sampling"),
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
    return _tensor(operators().propagate(x.contiguous(), *arguments, layers))


def triplet_margin(
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> Tensor:  # [B]
    """p_u·q_i − p_u·q_j. Differentiable in both tables; a row's gradients are summed in order."""
    if not takes(user_table):
        return reference.triplet_margin(user_table, item_table, triplets)
    tables = (user_table.contiguous(), item_table.contiguous())
    return _tensor(operators().triplet_margin(*tables, triplets.contiguous()))


def triplet_margin_backward(
    grad: Tensor,  # [B]
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> tuple[Tensor, Tensor]:  # [U, d], [I, d]
    """What autograd computes for `triplet_margin`, for code that works without autograd."""
    if not takes(user_table):
        return reference.triplet_margin_backward(grad, user_table, item_table, triplets)
    tables = (user_table.contiguous(), item_table.contiguous())
    by_user, by_item = operators().triplet_margin_backward(
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
    return _tensor(operators().normalize_rows(x.contiguous(), eps))


def rank_topk(
    user_vectors: Tensor,  # [B, d]
    item_vectors: Tensor,  # [I, d]
    mask: Rows,  # indptr [B+1] int64, items int32, ascending within a user
    relevant: Rows,
    k: int,
    count_above: bool = False,
) -> Ranking:
    """The k best unmasked items of each user by p_u·q_i; see `advrec.ops.reference.rank_scores`.

    The catalogue is scored tile by tile and never held: memory is B·k for every I.
    """
    if not takes(user_vectors):
        return reference.rank_topk(user_vectors, item_vectors, mask, relevant, k, count_above)
    vectors = (user_vectors.contiguous(), item_vectors.contiguous())
    return Ranking(*operators().rank_topk(*vectors, *mask, *relevant, k, count_above))


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
    return Ranking(*operators().rank_scores(scores.contiguous(), *mask, *relevant, k, count_above))


def smallest_radii(
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    reach: Reach,
    masked: Rows,
    relevant: Rows,
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:  # ranks [n], rivals [n, k], stays [n]
    """The k smallest radii of every relevant item; see `reference.smallest_radii`.

    The core scans in float32 and passes over what cannot be among the k; what is left gets the
    formula in float64. On the CPU only.
    """
    if not _on_cpu(users):
        return reference.smallest_radii(users, items, reach, masked, relevant, k)
    arguments = (reach.users, reach.items, reach.user_slack, reach.item_slack)
    levers = None if reach.levers is None else reach.levers.contiguous()
    ranks, rivals, stays = operators().smallest_radii(
        users.contiguous(),
        items.contiguous(),
        *(t.contiguous() for t in arguments),
        levers,
        *masked,
        *relevant,
        k,
    )
    return _tensor(ranks), _tensor(rivals), _tensor(stays)


def smooth_rank(
    smooth: str,
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    temperature: Tensor,  # [U] τ_u > 0
    weights: Tensor,  # [U] float64, 1/IDCG of the user
    relevant: Rows,
    known: Rows,  # relevant and masked items together: those that are not rivals
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:  # L [1] float64, ∂L/∂P [U, d], ∂L/∂Q [I, d]
    """The smooth loss "ndcg" or "softmax" of a ranking; see `reference.smooth_rank`.

    The core leaves out slopes under 1.2e-7 of the largest one of their relevant item. On the CPU
    only.
    """
    if not _on_cpu(users):
        return reference.smooth_rank(smooth, users, items, temperature, weights, relevant, known, k)
    loss, by_user, by_item = operators().smooth_rank(
        users.contiguous(),
        items.contiguous(),
        temperature.contiguous(),
        weights,
        *relevant,
        *known,
        _code(SMOOTH, smooth, "smooth"),
        k,
    )
    return _tensor(loss), _tensor(by_user), _tensor(by_item)


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and takes(tensor)


@torch.no_grad()
def optimizer_step_(
    optimizer: str,
    param: Tensor,  # [R, d], changed
    grad: Tensor,  # [R, d]; [T, d] with rows
    state1: Tensor | None,
    state2: Tensor | None,
    *,
    step: int,  # 1 for the first
    lr: float,
    beta1: float = BETAS[0],
    beta2: float = BETAS[1],
    opt_eps: float,
    rows: Tensor | None = None,
) -> None:
    """One step of sgd, adagrad, adam or sparse_adam in place; see the reference's docstring."""
    known = OPTIMIZERS.get(optimizer)
    if known is None or known.code is None or not takes(param) or param.dim() != 2:
        reference.optimizer_step_(
            optimizer, param, grad, state1, state2,
            step=step, lr=lr, beta1=beta1, beta2=beta2, opt_eps=opt_eps, rows=rows,
        )  # fmt: skip
        return
    operators().optimizer_step(
        param=param,
        grad=grad.contiguous(),
        state1=state1,
        state2=state2,
        rows=None if rows is None else rows.to(torch.int32),
        optimizer=known.code,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=opt_eps,
        step=step - 1,
    )


def positives_arguments(pos: Positives) -> dict[str, Any]:
    """A Positives as the operators take it, by keyword."""
    return {
        "pair_users": pos.pair_users,
        "pair_items": pos.pair_items,
        "active_users": pos.active_users,
        "indptr": pos.indptr,
        "items": pos.items,
        "n_items": pos.n_items,
    }


def takes(tensor: Tensor, *, any_width: bool = False) -> bool:
    """Does the core for the tensor's device take it? The twin does the rest."""
    if native.kernels() != "native":
        return False
    if tensor.device.type == "cuda":
        return gpu.takes(tensor, any_width=any_width) and on_cuda()
    return tensor.device.type == "cpu"


def on_cuda() -> bool:
    """Are there operators for CUDA tensors? NativeError if not and --kernels native was chosen."""
    return native.cuda(required=native.choice() == "native") is not None


def _code(codes: Mapping[str, int], word: str, what: str) -> int:
    if word not in codes:
        raise ValueError(f"unknown {what} {word!r}: choose {', '.join(codes)}")
    return codes[word]


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def fused() -> Any:
    """The operators themselves, for `advrec.training.fused`; loads the core if need be."""
    native.core(required=True)
    return operators()
