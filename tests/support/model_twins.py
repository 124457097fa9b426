"""Every model once more: on dense matrices, in plain torch, sharing no line with the library.

A twin gives the losses of a batch at a noise. The invariants hold the models against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from advrec.models import Recommender

Noise = Mapping[str, Tensor]
Losses = Callable[[Tensor, Noise], Tensor]


def adjacency(seen: Tensor) -> Tensor:  # [U, I] -> [N, N]
    users, items = seen.shape
    matrix = seen.new_zeros(users + items, users + items)
    matrix[:users, users:] = seen
    return matrix + matrix.T


def normalised(seen: Tensor) -> Tensor:  # Â [N, N]
    plain = adjacency(seen)
    root = plain.sum(1).clamp(min=1).rsqrt()
    return root[:, None] * plain * root


def dot_losses(
    vectors: Tensor, batch: Tensor, n_users: int, noise: Noise, loss: str = "bpr"
) -> Tensor:
    """Of dot products of the rows of `vectors`, moved by the noise of samples."""
    u, i, j = batch.long()
    user = vectors[u] + noise.get("user", 0)
    positive = vectors[n_users + i] + noise.get("positive", 0)
    negative = vectors[n_users + j] + noise.get("negative", 0)
    scores = (torch.einsum("bd,bd->b", user, item) for item in (positive, negative))
    return losses_of(*scores, loss)


def losses_of(positive: Tensor, negative: Tensor, loss: str) -> Tensor:
    if loss == "bpr":
        return -torch.log(torch.sigmoid(positive - negative))
    return -torch.log(torch.sigmoid(positive)) - torch.log(1 - torch.sigmoid(negative))


def embedding_twin(model: Recommender, seen: Tensor, layers: int, loss: str = "bpr") -> Losses:
    """MF and LightGCN: the propagation as one matrix."""
    embedding, normal = model.get_parameter("embedding").detach(), normalised(seen)
    power = [torch.linalg.matrix_power(normal, k) for k in range(layers + 1)]
    operator = torch.stack(power).mean(0)

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        final = operator @ (embedding + noise.get("ego", 0)) + noise.get("final", 0)
        return dot_losses(final, batch, len(seen), noise, loss)

    return losses


def content_twin(model: Recommender) -> Losses:
    """VBPR in either form: every score of every pair from whole tables."""
    table = {name: value.detach() for name, value in model.named_parameters()}
    table["features"] = model.get_buffer("features")

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        u, i, j = batch.long()
        moved = dict(table)
        for key, rows in noise.items():
            ids = sorted(set((u if key.startswith("users") else torch.cat([i, j])).tolist()))
            moved[key] = table[key].index_add(0, torch.tensor(ids), rows)
        content = moved["features"] @ table["projection"]
        if "users_visual" in table:
            scores = moved["users"] @ moved["items"].T + moved["users_visual"] @ content.T
            scores = scores + table["items_bias"].T
            scores = scores + (moved["features"] @ table["projection_bias"]).T
        else:
            scores = moved["users"] @ (moved["items"] + content).T
        return torch.log(1 + torch.exp(scores[u, j] - scores[u, i]))

    return losses


def cdae_twin(model: Recommender, seen: Tensor, loss: str = "sigmoid") -> Losses:
    """The whole row of every user, ones and zeros, through two dense layers."""
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        rows = batch[0].long()
        own = weights["user"][rows]
        if "user" in noise:
            own = own + noise["user"][rows]
        if "user_concat" in noise:
            both = torch.cat([own, noise["user_concat"][rows]], 1)
            own = both @ torch.cat([torch.eye(own.shape[1]).to(own), weights["user_mix"]])
        encoder = weights["encoder"] + noise.get("encoder", 0)
        hidden = torch.sigmoid(seen[rows] @ encoder + own + weights["hidden_bias"])
        if "hidden_concat" in noise:
            both = torch.cat([hidden, noise["hidden_concat"][rows]], 1)
            hidden = both @ torch.cat([torch.eye(own.shape[1]).to(own), weights["hidden_mix"]])
        logits = hidden @ (weights["decoder"] + noise.get("decoder", 0)).T + weights["item_bias"]
        if loss == "multinomial":
            chances = logits.exp() / logits.exp().sum(1, keepdim=True)
            return -(seen[rows] * chances.log()).sum(1)
        likely = torch.sigmoid(logits)
        return -torch.where(seen[rows] > 0, likely, 1 - likely).log().sum(1)

    return losses


def neumf_twin(model: Recommender, seen: Tensor, loss: str = "bce") -> Losses:
    """One pair at a time, the vectors of user and item put side by side."""
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    embedding, d = weights["embedding"], weights["output"].shape[1] // 2

    def score(user: Tensor, item: Tensor, noise: Noise) -> Tensor:
        hidden = torch.cat([user[d:], item[d:]])
        for n in range(len(list(model.tower))):  # type: ignore[arg-type]
            weight = weights[f"tower.{n}"] + noise.get(f"layer{n + 1}", 0)
            hidden = (weight @ hidden + weights[f"tower_bias.{n}"]).clamp(min=0)
        last = torch.cat([user[:d] * item[:d], hidden])
        return (weights["output"] + noise.get("output", 0))[0] @ last + weights["output_bias"][0]

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        table = embedding + noise.get("ego", 0)
        made = []
        for b, (u, i, j) in enumerate(batch.T.tolist()):
            rows = [table[u], table[len(seen) + i], table[len(seen) + j]]
            if "user" in noise:
                keys = ("user", "positive", "negative")
                rows = [row + noise[key][b] for row, key in zip(rows, keys, strict=True)]
            scores = (score(rows[0], row, noise) for row in rows[1:])
            made.append(losses_of(*scores, loss))
        return torch.stack(made)

    return losses


def ngcf_twin(model: Recommender, seen: Tensor) -> Losses:
    """Equation 7 with Â and Â + I as matrices."""
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    normal = normalised(seen)
    loops = normal + torch.eye(len(normal)).to(normal)

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        layer = weights["embedding"] + noise.get("ego", 0)
        every, k = [layer], 0
        while f"sum.{k}" in weights:
            along = loops @ layer @ (weights[f"sum.{k}"] + noise.get(f"sum{k + 1}", 0))
            product = weights[f"product.{k}"] + noise.get(f"product{k + 1}", 0)
            mixed = along + ((normal @ layer) * layer) @ product + weights[f"bias.{k}"]
            layer = torch.where(mixed > 0, mixed, 0.2 * mixed)
            every.append(layer / layer.norm(dim=1, keepdim=True))
            k += 1
        return dot_losses(torch.cat(every, 1) + noise.get("final", 0), batch, len(seen), noise)

    return losses


def gnnguard_twin(model: Recommender, seen: Tensor, layers: int) -> Losses:
    """All similarities of all nodes, of which the edges are kept."""
    embedding, plain, normal = (
        model.get_parameter("embedding").detach(),
        adjacency(seen),
        normalised(seen),
    )

    def losses(batch: Tensor, noise: Noise) -> Tensor:
        layer = total = embedding + noise.get("ego", 0)
        memory = normal
        for _ in range(layers):
            unit = layer / layer.norm(dim=1, keepdim=True)
            alike = plain * (unit @ unit.T)
            alike = torch.where(alike >= 0.1, alike, torch.zeros_like(alike))
            whole = alike.sum(1, keepdim=True)
            shares = alike / torch.where(whole > 0, whole, torch.ones_like(whole))
            memory = 0.5 * memory + 0.5 * shares
            layer = memory @ layer
            total = total + layer
        return dot_losses(total / (layers + 1) + noise.get("final", 0), batch, len(seen), noise)

    return losses


TWINS: dict[str, Callable[[Recommender, Tensor, int], Losses]] = {
    "mf": lambda model, seen, _: embedding_twin(model, seen, 0),
    "mf loss=bce": lambda model, seen, _: embedding_twin(model, seen, 0, "bce"),
    "lightgcn": embedding_twin,
    "vbpr": lambda model, *_: content_twin(model),
    "vbpr scorer=vbpr": lambda model, *_: content_twin(model),
    "cdae": lambda model, seen, _: cdae_twin(model, seen),
    "cdae loss=multinomial": lambda model, seen, _: cdae_twin(model, seen, "multinomial"),
    "neumf": lambda model, seen, _: neumf_twin(model, seen),
    "neumf loss=bpr": lambda model, seen, _: neumf_twin(model, seen, "bpr"),
    "ngcf": lambda model, seen, _: ngcf_twin(model, seen),
    "gnnguard": gnnguard_twin,
}
"""By model or form of it: a model, who has what [U, I], its layers → the losses."""
