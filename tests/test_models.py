"""What a model promises: its scores, its losses, its places for noise, its registration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.models import MODELS, ModelSpec, Recommender, Site, create, model_class
from advrec.models.initial import initial
from advrec.models.lightgcn import LightGCN
from advrec.models.mf import MF
from advrec.ops.graph import Graph
from advrec.ops.positives import ATTACK_EPOCH, Positives

N_USERS, N_ITEMS, DIM = 6, 8, 3


def pairs() -> Pairs:
    seen = np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.4
    return Pairs.from_coo(*np.nonzero(seen), N_USERS, N_ITEMS)


def spec(**changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "n_users": N_USERS,
        "n_items": N_ITEMS,
        "dim": DIM,
        "layers": 2,
        "seed": 0,
        "graph": Graph.build(pairs(), torch.float64),
        "positives": Positives.from_pairs(pairs()),
        "item_features": torch.ones(N_ITEMS, 2, dtype=torch.float64),
        "dtype": torch.float64,
        "init_std": 0.5,
    }
    return ModelSpec(**values | changes)  # type: ignore[arg-type]


def dense(graph: Graph) -> Tensor:  # [N, N]
    matrix = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    rows = torch.repeat_interleave(torch.arange(graph.n_nodes), graph.indptr.diff())
    columns = graph.indices.long()
    matrix[rows, columns] = graph.scale[rows] * graph.scale[columns]
    return matrix


BATCH = torch.tensor([[0, 0, 3, 5], [1, 1, 7, 0], [2, 6, 0, 1]], dtype=torch.int32)


# -- scores --------------------------------------------------------------------------------------


def test_mf_scores_are_dot_products() -> None:
    model = MF(spec())
    users, items = model.embedding[:N_USERS], model.embedding[N_USERS:]
    chosen = torch.tensor([4, 0, 4])
    torch.testing.assert_close(model.scores(chosen), users[chosen] @ items.T)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_lightgcn_scores_are_dot_products_of_the_mean_over_layers(layers: int) -> None:
    model = LightGCN(spec(layers=layers))
    power = [torch.linalg.matrix_power(dense(model.graph), k) for k in range(layers + 1)]
    final = sum(power) / (layers + 1) @ model.embedding
    chosen = torch.tensor([4, 0])
    torch.testing.assert_close(model.scores(chosen), final[:N_USERS][chosen] @ final[N_USERS:].T)


def test_lightgcn_without_layers_is_mf() -> None:
    lightgcn, mf = LightGCN(spec(layers=0)), MF(spec())
    mf.embedding.data.copy_(lightgcn.embedding)
    noise = {"ego": torch.ones(N_USERS + N_ITEMS, DIM, dtype=torch.float64)}
    assert torch.equal(mf.losses(BATCH, noise), lightgcn.losses(BATCH, noise))


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_losses_are_those_of_the_scores(name: str, loss: str) -> None:
    kind = model_class(name)
    if kind.batch_kind != "triplets" or (loss == "bce" and "loss" not in kind.options):
        pytest.skip("a model of users, or of one loss")
    model = create(name, spec(options={"loss": loss})).eval()
    scores = model.scores(torch.arange(N_USERS))
    u, i, j = BATCH.long()
    positive, negative = scores[u, i], scores[u, j]
    if loss == "bpr":
        expected = torch.log(1 + torch.exp(negative - positive))
    else:
        expected = torch.log(1 + torch.exp(-positive)) + torch.log(1 + torch.exp(negative))
    torch.testing.assert_close(model.losses(BATCH), expected)


@pytest.mark.parametrize("scale", [-30.0, 30.0])
def test_losses_stay_exact_where_the_model_is_sure(scale: float) -> None:
    model = MF(spec(dim=1))
    model.embedding.data.fill_(1.0)
    model.embedding.data[N_USERS] = 1.0 + scale
    batch = torch.tensor([[0], [0], [1]], dtype=torch.int32)
    loss = model.losses(batch)
    expected = np.log1p(np.exp(-abs(scale))) + max(-scale, 0.0)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-14)
    (slope,) = torch.autograd.grad(loss.sum(), model.embedding)
    np.testing.assert_allclose(slope[N_USERS], -1 / (1 + np.exp(scale)), rtol=1e-14)


@pytest.mark.parametrize("kind", [MF, LightGCN])
def test_the_penalty_counts_a_row_as_often_as_the_batch_names_it(kind: type[Recommender]) -> None:
    model = kind(spec())
    norms = model.get_parameter("embedding").square().sum(1) / 2
    expected = sum(
        norms[u] + norms[N_USERS + i] + norms[N_USERS + j] for u, i, j in BATCH.T.tolist()
    )
    torch.testing.assert_close(model.penalty(BATCH), torch.as_tensor(expected))


# -- noise ---------------------------------------------------------------------------------------

SITES = [(name, site.name, norm) for name in MODELS for site in MODELS[name].sites
         for norm in site.norms]  # fmt: skip


@pytest.mark.parametrize(("name", "site", "norm"), SITES)
def test_zero_noise_has_the_keys_of_the_tables_and_changes_nothing(
    name: str, site: str, norm: str
) -> None:
    model = create(name, spec())
    batch = next(model.attack_batches(Positives.from_pairs(pairs()), 0))
    noise = model.noise_like(site, norm, batch)
    assert not any(value.any() for value in noise.values())
    if norm != "sample":
        shapes = {key: table.shape for key, table in model.tables(site).items()}
        assert {key: value.shape for key, value in noise.items()} == shapes
        assert not any(table.requires_grad for table in model.tables(site).values())
    # Samples take another way through the same sums; elsewhere adding zeros changes no bit.
    exact = {} if norm == "sample" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(model.losses(batch, noise), model.losses(batch), **exact)


def test_noise_is_added_where_the_site_says() -> None:
    model = LightGCN(spec())
    noise = torch.randn(N_USERS + N_ITEMS, DIM, dtype=torch.float64)
    operator = sum(torch.linalg.matrix_power(dense(model.graph), k) for k in range(3)) / 3
    for site, expected in (
        ("ego", operator @ (model.embedding + noise)),
        ("final", operator @ model.embedding + noise),
    ):
        vectors = torch.cat(model.vectors({site: noise}))
        torch.testing.assert_close(vectors, expected)


def test_noise_of_samples_moves_each_triplet_by_its_own() -> None:
    model = MF(spec())
    keys = ("user", "positive", "negative")
    noise = {key: torch.randn(4, DIM, dtype=torch.float64) for key in keys}
    expected = []
    for b, (u, i, j) in enumerate(BATCH.T.tolist()):
        user = model.embedding[u] + noise["user"][b]
        positive = model.embedding[N_USERS + i] + noise["positive"][b]
        negative = model.embedding[N_USERS + j] + noise["negative"][b]
        expected.append(torch.log1p(torch.exp(user @ negative - user @ positive)))
    torch.testing.assert_close(model.losses(BATCH, noise), torch.stack(expected))


@pytest.mark.parametrize("name", MODELS)
def test_noise_that_a_model_would_ignore_is_refused(name: str) -> None:
    model = create(name, spec())
    batch = next(model.attack_batches(Positives.from_pairs(pairs()), 0))
    stray = {"somewhere": torch.ones(N_USERS + N_ITEMS, DIM, dtype=torch.float64)}
    with pytest.raises(UsageError, match="somewhere"):
        model.losses(batch, stray)
    with pytest.raises(UsageError, match="somewhere"):
        model.scores(torch.arange(2), stray)


def test_half_a_noise_of_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="expected all of user, positive, negative"):
        MF(spec()).losses(BATCH, {"user": torch.zeros(4, DIM, dtype=torch.float64)})


def test_noise_of_samples_needs_a_batch() -> None:
    for model, site in ((MF(spec()), "ego"), (LightGCN(spec()), "final")):
        with pytest.raises(UsageError, match="'sample'"):
            model.noise_like(site, "sample", None)


def test_sites_are_found_by_name_and_alias() -> None:
    assert MF.site() == MF.site("ego") == MF.site("final")
    assert LightGCN.site() == LightGCN.site("ego") != LightGCN.site("final")
    assert list(MF(spec()).tables("final")) == ["ego"]
    with pytest.raises(UsageError, match="no site 'egoo': choose ego, final") as caught:
        LightGCN.site("egoo")
    assert caught.value.hint == "did you mean 'ego'?"
    with pytest.raises(UsageError, match="no norm 'sample': choose row, joint"):
        LightGCN.check_site("ego", "sample")


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_from_the_seed_alone(name: str) -> None:
    def weights(**changes: object) -> list[Tensor]:
        return [p.detach().clone() for p in create(name, spec(**changes)).parameters()]

    torch.manual_seed(1)
    first = weights(seed=5)
    torch.manual_seed(2)
    again, other, single = weights(seed=5), weights(seed=6), weights(seed=5, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(torch.equal(a.float(), b) for a, b in zip(first, single, strict=True))


def test_initial_weights_have_the_distribution_of_the_papers_code() -> None:
    many = {"n_users": 40_000, "n_items": 10, "init_std": None, "dim": 2}
    graph = Graph.build(Pairs.empty(40_000, 10), torch.float64)
    mf = MF(spec(**many)).embedding.detach()
    lightgcn = LightGCN(spec(graph=graph, **many)).embedding.detach()
    assert mf.abs().max() <= 0.02
    assert abs(float(mf.std()) / 0.0088 - 1) < 0.02  # of a normal cut at 2σ: .8796 σ
    assert abs(float(lightgcn.std()) / 0.1 - 1) < 0.02
    assert lightgcn.abs().max() > 0.3


def test_weights_beyond_the_cut_are_drawn_again_from_whole_tables() -> None:
    drawn = initial(spec(dim=3, seed=5), 2_000, 0.1, truncated=True).detach()
    generator = torch.Generator().manual_seed(5)
    expected = torch.empty(2_000, 3, dtype=torch.float64).normal_(0, 0.1, generator=generator)
    while (expected.abs() > 0.2).any():
        again = torch.empty_like(expected).normal_(0, 0.1, generator=generator)
        expected = torch.where(expected.abs() > 0.2, again, expected)
    assert torch.equal(drawn, expected.to(drawn.dtype))


def test_the_graph_follows_the_model() -> None:
    model = LightGCN(spec(graph=Graph.build(pairs()), dtype=torch.float32))
    graph = model.graph
    assert model.to("cpu").graph is graph
    assert model.double().graph.scale.dtype == torch.float64
    assert model.graph.indices.dtype == torch.int32
    assert list(model.state_dict()) == ["embedding"]


# -- registration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_is_complete(name: str) -> None:
    kind = MODELS[name]
    assert kind.name == name
    assert kind.about
    assert kind.sites
    assert all(site.about and site.norms for site in kind.sites)
    assert len({site.name for site in kind.sites}) == len(kind.sites)
    assert all(kind.site(alias) in kind.sites for alias in kind.site_aliases)
    resolved = resolve(TrainConfig(model=name, phase="adversarial"), kind)
    assert {key: getattr(resolved, key) for key in kind.defaults} == kind.defaults


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="unknown model 'lightgnc': choose") as caught:
        create("lightgnc", spec())
    assert caught.value.hint == "did you mean 'lightgcn'?"


def test_a_model_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match="needs the graph"):
        LightGCN(spec(graph=None))

    class Wants(MF):
        name = "wants"
        needs_features = True

    with pytest.raises(UsageError, match="needs item features"):
        Wants(spec(item_features=None))


class Popularity(Recommender):
    """The least that a model has to define, with scores that are no dot products."""

    name = "popularity"
    about = "one number an item"
    sites = (Site("item", "the number", ("joint",)),)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(spec.n_items, dtype=spec.dtype))

    def scores(self, users: Tensor, noise: Mapping[str, Tensor] | None = None) -> Tensor:
        moved = self.weight + (noise["item"] if noise else 0)
        return moved.expand(len(users), -1)

    def losses(self, batch: Tensor, noise: Mapping[str, Tensor] | None = None) -> Tensor:
        scores = self.scores(batch[0], noise)
        positive, negative = (scores.gather(1, ids.long()[:, None])[:, 0] for ids in batch[1:])
        return torch.nn.functional.softplus(negative - positive)

    def penalty(self, batch: Tensor) -> Tensor:
        return self.weight.square().sum() / 2

    def tables(self, site: str) -> dict[str, Tensor]:
        return {"item": self.weight.detach()}


def test_the_base_class_fills_in_the_rest() -> None:
    model = Popularity(spec())
    assert model.vectors() is None
    assert model.noise_like("item", "joint", BATCH)["item"].shape == (N_ITEMS,)
    assert model.losses(BATCH).shape == (4,)


@pytest.mark.parametrize("kind", [MF, LightGCN, Popularity])
def test_an_attack_goes_over_every_pair_once_in_one_batch(kind: type[Recommender]) -> None:
    positives = Positives.from_pairs(pairs())
    (batch,) = kind(spec()).attack_batches(positives, 3)
    everything = {(u, i) for u in range(N_USERS) for i in pairs().of(u).tolist()}
    assert {tuple(pair) for pair in batch[:2].T.tolist()} == everything
    assert batch.shape == (3, len(everything))
    assert not any(j in pairs().of(u) for u, _, j in batch.T.tolist())


def test_no_epoch_of_training_draws_the_negatives_of_the_attack() -> None:
    assert ATTACK_EPOCH > 10**9
