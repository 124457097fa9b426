"""The bipartite graph of users and items that LightGCN and its kin propagate over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass

import numpy as np
import torch
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.ops import proof


@dataclass(frozen=True, eq=False)
class Graph:
    """Â = D^-½ A D^-½ of the training pairs, N = U + I nodes, users first, in compressed rows.

    A is symmetric and its entries are 1, so no values are stored: Â x is scale · A(scale · x).
    The normalisation is LightGCN's (He et al., SIGIR 2020). A graph equals only itself.
    """

    indptr: Tensor  # [N+1] int64; the neighbours of node n are indices[indptr[n]:indptr[n+1]]
    indices: Tensor  # [2P] int32, ascending within a row
    scale: Tensor  # [N] float; degree^-½, 0 for a node without neighbours
    n_users: int
    n_items: int
    proven: InitVar[bool] = False
    """Are these the tensors of a graph that was checked, elsewhere or in another precision?"""

    def __post_init__(self, proven: bool) -> None:
        """Raises ValueError for tensors that a kernel could not follow."""
        if proven:
            return
        proof.count("n_users", self.n_users)
        proof.count("n_items", self.n_items)
        proof.count("nodes", self.n_nodes)
        proof.kind("indptr", self.indptr, like=self.indptr, dtype=torch.int64)
        proof.kind("indices", self.indices, like=self.indptr, dtype=torch.int32)
        proof.kind("scale", self.scale, like=self.indptr)
        if not self.scale.is_floating_point() or len(self.scale) != self.n_nodes:
            raise ValueError(
                f"scale must be {self.n_nodes} floating-point numbers, got {len(self.scale)} of"
                f" {self.scale.dtype}"
            )
        proof.offsets("indptr", self.indptr, self.n_nodes, len(self.indices))
        proof.ids("indices", self.indices, self.n_nodes)

    @classmethod
    def build(
        cls,
        pairs: Pairs,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Graph:
        """Lay down both directions of every pair: user → U + item, and back."""
        users, n_users = pairs.users(), pairs.n_users
        # Stable, and the pairs come by ascending user: an item's users stay ascending too.
        by_item = np.argsort(pairs.items, kind="stable")
        indices = np.concatenate([pairs.items + np.int32(n_users), users[by_item]])
        degrees = np.concatenate([pairs.user_degrees(), pairs.item_degrees()])
        indptr = np.concatenate([[0], np.cumsum(degrees)])
        scale = np.where(degrees > 0, np.maximum(degrees, 1) ** -0.5, 0.0)
        graph = cls(
            torch.from_numpy(indptr.astype(np.int64, copy=False)),
            torch.from_numpy(indices.astype(np.int32, copy=False)),
            torch.from_numpy(scale),
            n_users,
            pairs.n_items,
        )
        return graph.to(device=device, dtype=dtype)

    @property
    def n_nodes(self) -> int:
        """N = U + I."""
        return self.n_users + self.n_items

    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Graph:
        """The same graph elsewhere, or with `scale` in another precision."""
        return self.map(lambda t: t.to(device, dtype if t.is_floating_point() else None))

    def map(self, change: Callable[[Tensor], Tensor]) -> Graph:
        """`change` applied to each tensor; this very graph if it changes none of them."""
        indptr, indices, scale = change(self.indptr), change(self.indices), change(self.scale)
        if indptr is self.indptr and indices is self.indices and scale is self.scale:
            return self
        return Graph(indptr, indices, scale, self.n_users, self.n_items, proven=True)
