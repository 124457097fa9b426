"""On a GPU: every operator and model against the CPU, and what only a device can get wrong.

`make gpu-test`, or pytest -m gpu. Without a CUDA device these tests are skipped; the kernels are
then proven on the emulator (test_cuda_emulator.py) and by nvcc (test_cuda_build.py).

Tolerances: float32 sums of n terms in two orders differ by about 2^-24 · √n · their size, so the
tests allow 8 times that (`rounding`). Orders, ids and counts must be equal.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_data import FAST, tiny_dataset
from torch import Tensor

import advrec
from advrec import native, ops
from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.data.dataset import Pairs
from advrec.models import MODELS, ModelSpec, create
from advrec.ops import reference
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.runs.model import build_model
from advrec.training.fused import FusedStepper

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none"
    ),
]

U, I = 300, 170
DIMS = (1, 3, 8, 20, 64, 67, 128, 130, 256, 260, 512)
CUDA = "cuda:0"


@pytest.fixture(autouse=True, scope="module")
def the_cuda_core() -> None:
    """The operators for CUDA tensors; NativeError says why if they are unavailable."""
    native.cuda(required=True)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Random pairs with an idle user, an idle item, and an item that nearly all have seen."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, U, 4000), rng.integers(1, I, 4000)
    users = np.concatenate([users, np.arange(1, U)])
    items = np.concatenate([items, np.full(U - 1, 5)])
    return Pairs.from_coo(users.astype(np.int32), items.astype(np.int32), U, I)


def rounding(terms: int) -> float:
    return 8 * torch.finfo(torch.float32).eps * terms**0.5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lists(rows: int, most: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    sets = [np.sort(rng.choice(I, rng.integers(0, most), replace=False)) for _ in range(rows)]
    indptr = np.cumsum([0] + [len(row) for row in sets])
    return torch.tensor(indptr), torch.from_numpy(np.concatenate(sets).astype(np.int32))


def there(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.to(CUDA) for t in tensors)


# --- operators --------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["pairs", "users"])
@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**63 - 1, 2**31 - 1)])
def test_the_sampler_draws_what_the_cpu_draws(pairs, sampling, negatives, seed, epoch):
    here, on_gpu = Positives.from_pairs(pairs), Positives.from_pairs(pairs, CUDA)
    total = len(here) * negatives
    for first, count in ((0, total), (5, 1), (total - 70, 70), (3, 0)):
        arguments = dict(
            seed=seed, epoch=epoch, first=first, count=count, negatives=negatives, sampling=sampling
        )
        found = ops.sample_triplets(on_gpu, **arguments)
        assert found.device.type == "cuda"
        assert torch.equal(found.cpu(), ops.sample_triplets(here, **arguments))


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("layers", range(5))
def test_propagation_and_its_gradient(pairs, dim, layers):
    results = []
    for device in ("cpu", CUDA):
        x = random(U + I, dim).to(device).requires_grad_()
        out = ops.propagate(x, Graph.build(pairs, device=device), layers)
        (grad,) = torch.autograd.grad(out, x, random(U + I, dim, seed=1).to(device))
        results.append((out.detach().cpu(), grad.cpu()))
    for found, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=rounding(U))


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("count", [0, 1, 700])
def test_margins_and_their_gradients(pairs, dim, count):
    triplets = ops.sample_triplets(
        Positives.from_pairs(pairs), seed=1, epoch=0, first=0, count=count
    )
    results = []
    for device in ("cpu", CUDA):
        users = random(U, dim).to(device).requires_grad_()
        items = random(I, dim, seed=1).to(device).requires_grad_()
        margin = ops.triplet_margin(users, items, triplets.to(device))
        weight = random(count, seed=2).to(device)
        grads = torch.autograd.grad((margin * weight).sum(), (users, items))
        results.append([margin.detach().cpu(), *(g.cpu() for g in grads)])
    for found, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=10 * rounding(count + dim))


def test_triplets_outside_their_table_do_no_harm():
    users, items = random(5, 8).to(CUDA), random(6, 8).to(CUDA)
    triplets = torch.tensor([[0, 5, 1], [0, 1, -1], [1, 2, 3]], dtype=torch.int32, device=CUDA)
    margin = ops.triplet_margin(users, items, triplets)
    assert margin.isnan().tolist() == [False, True, True]
    grads = torch.ops.advrec.triplet_margin_backward(
        torch.ones(3, device=CUDA), users, items, triplets
    )
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("dim", DIMS)
def test_normalised_rows_have_length_eps_even_when_tiny(dim):
    x = random(9, dim)
    x[1] = 0
    x[2] *= 1e-25
    x[3] *= 1e18
    out = ops.normalize_rows(x.to(CUDA), 0.5).cpu()
    torch.testing.assert_close(out, ops.normalize_rows(x, 0.5))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dim", [1, 7, 64, 130])
@pytest.mark.parametrize("k", [1, 20, 169, 400])
def test_rankings_equal_the_cpu_s_ties_included(dim, k, exact):
    users, items = random(U, dim), random(I, dim, seed=1)
    if exact:  # whole numbers: every score is exact, and many are equal
        users, items = users.round(), items.round()
    mask, relevant = lists(U, 60, seed=1), lists(U, 12, seed=2)
    wanted = ops.rank_topk(users, items, mask, relevant, k, count_above=True)
    gpu_users, gpu_items = there((users, items))
    arguments = (there(mask), there(relevant), k)
    found = [ops.rank_topk(gpu_users, gpu_items, *arguments, count_above=True)]
    if exact:
        scores = (users @ items.T).to(CUDA)
        found.append(ops.rank_scores(scores, *arguments, count_above=True))
    for ranking in found:
        if exact:
            for name in ("ids", "hits", "above"):
                assert torch.equal(getattr(ranking, name).cpu(), getattr(wanted, name)), name
        else:
            same = (ranking.ids.cpu() == wanted.ids).double().mean()
            assert same > 0.98  # without fused multiply-add on the CPU, ulps may change places
        torch.testing.assert_close(
            ranking.scores.cpu(), wanted.scores, rtol=0, atol=rounding(dim) * 4
        )


@pytest.mark.parametrize("kind", sorted(ops.OPTIMIZERS))
@pytest.mark.parametrize("touched", [False, True])
def test_optimisers_make_the_cpu_s_steps(kind, touched):
    results = []
    for device in ("cpu", CUDA):
        rows = torch.tensor([3, 0, 8], dtype=torch.int32, device=device) if touched else None
        param, state1, state2 = (random(10, 67, seed=n).abs().to(device) for n in range(3))
        for step in (1, 2, 3):
            grad = random(3 if touched else 10, 67, seed=10 + step).to(device)
            ops.optimizer_step_(
                kind, param, grad, state1, state2, step=step, lr=0.1, opt_eps=1e-8, rows=rows
            )
        results.append([t.cpu() for t in (param, state1, state2)])
    for found, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-6, atol=1e-6)


def test_torch_finds_nothing_wrong_with_the_operators(pairs):
    graph = Graph.build(pairs, device=CUDA)
    pos = ops.positives_arguments(Positives.from_pairs(pairs, CUDA))
    x = random(U + I, 8).to(CUDA).requires_grad_()
    users, items = x[:U].detach().clone().requires_grad_(), x[U:].detach().clone().requires_grad_()
    drawing = (*pos.values(), 1, 0, 0, 50, 1, 0)
    triplets = torch.ops.advrec.sample_triplets(*drawing)
    for name, arguments in {
        "sample_triplets": drawing,
        "propagate": (x, graph.indptr, graph.indices, graph.scale, 2),
        "triplet_margin": (users, items, triplets),
        "normalize_rows": (x, 0.5),
    }.items():
        torch.library.opcheck(getattr(torch.ops.advrec, name), arguments)


@pytest.mark.parametrize("wrong", ["float64", "another device", "too wide", "not contiguous"])
def test_what_the_kernels_cannot_take_is_refused_with_a_sentence(pairs, wrong):
    graph, x = Graph.build(pairs, device=CUDA), random(U + I, 8).to(CUDA)
    arguments = {
        "float64": (x.double(), graph.indptr, graph.indices, graph.scale),
        "another device": (x, graph.indptr.cpu(), graph.indices, graph.scale),
        "too wide": (random(U + I, 513).to(CUDA), graph.indptr, graph.indices, graph.scale),
        "not contiguous": (x[:, :4], graph.indptr, graph.indices, graph.scale),
    }[wrong]
    with pytest.raises(ValueError, match=r"float32|must be|wanted"):
        torch.ops.advrec.propagate(*arguments, 2)


def test_what_the_kernels_cannot_take_runs_on_the_twin(pairs):
    graph = Graph.build(pairs, dtype=torch.float64, device=CUDA)
    x = random(U + I, 8).double().to(CUDA)
    wanted = reference.propagate(x.cpu(), graph.to(device="cpu"), 2)
    torch.testing.assert_close(ops.propagate(x, graph, 2).cpu(), wanted)


# --- training steps ---------------------------------------------------------------------------

WAYS = [
    ("mf", "ego", norm, optimizer)
    for norm in ("row", "sample", "joint")
    for optimizer in ("sgd", "adagrad", "adam", "sparse_adam")
] + [
    ("lightgcn", site, norm, optimizer)
    for site, norms in (("ego", ("row", "joint")), ("final", ("row", "sample", "joint")))
    for norm in norms
    for optimizer in ("sgd", "adagrad", "adam")
]


def setting(model: str, **options: object) -> ResolvedConfig:
    values = dict(
        phase="adversarial", model=model, dim=20, batch_size=64, lr=0.01, seed=11, negatives=2,
        eps=0.5, adv_weight=0.7, init_std=0.3, reg=0.01,
    )  # fmt: skip
    if model == "lightgcn":
        values["layers"] = 3
    return resolve(TrainConfig(**{**values, **options}), MODELS[model])


def stepper(pairs: Pairs, config: ResolvedConfig, device: str) -> FusedStepper:
    spec = ModelSpec(
        n_users=U, n_items=I, dim=config.dim, layers=config.layers, seed=3,
        graph=Graph.build(pairs), init_std=config.init_std,
    )  # fmt: skip
    model = create(config.model, spec).to(device)
    here = config.model_copy(update={"device": str(device)})
    assert FusedStepper.supports(type(model), here)
    return FusedStepper(model, Positives.from_pairs(pairs, device), config)


def trained(
    pairs: Pairs, config: ResolvedConfig, device: str, calls: tuple[tuple[int, int], ...]
) -> list[Tensor]:
    made = stepper(pairs, config, device)
    stats = [made.run(2, first, steps) for first, steps in calls]
    losses = torch.tensor([[s.loss, s.adv_loss] for s in stats], dtype=torch.float64).sum(0)
    state = made.state()
    return [made._model.embedding.detach().cpu(), losses, *(state[k].cpu() for k in sorted(state))]


@pytest.mark.parametrize(("model", "site", "norm", "optimizer"), WAYS)
def test_steps_equal_the_cpu_s(pairs, model, site, norm, optimizer):
    config = setting(model, site=site, norm=norm, optimizer=optimizer)
    wanted = trained(pairs, config, "cpu", ((0, 5),))
    found = trained(pairs, config, CUDA, ((0, 5),))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("dim", [1, 33, 64, 128, 200, 257, 512])
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_steps_of_every_width(pairs, model, dim):
    config = setting(model, dim=dim, optimizer="sgd")
    wanted = trained(pairs, config, "cpu", ((3, 2),))
    for ours, theirs in zip(trained(pairs, config, CUDA, ((3, 2),)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_captured_graph_gives_the_bits_of_plain_launches(pairs, model):
    """100 steps in one call are replayed; seven at a time they are not. The last batch is short."""
    config = setting(model, norm="joint", batch_size=40)
    total = stepper(pairs, config, CUDA).total_steps
    assert total > 100
    pieces = tuple((first, min(7, total - first)) for first in range(0, total, 7))
    once = trained(pairs, config, CUDA, ((0, total),))
    cut = trained(pairs, config, CUDA, pieces)
    assert torch.equal(once[0], cut[0])
    again = trained(pairs, config, CUDA, ((0, total),))
    for first, second in zip(once, again, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_the_same_call_gives_the_same_bits(pairs, model):
    config = setting(model, site="ego", norm="row", optimizer="adam")
    first = trained(pairs, config, CUDA, ((0, 20),))
    for _ in range(5):
        for ours, theirs in zip(trained(pairs, config, CUDA, ((0, 20),)), first, strict=True):
            assert torch.equal(ours, theirs)


# --- streams, memory, synchronisation ---------------------------------------------------------


@pytest.fixture
def busy() -> Iterator[Callable[[], None]]:
    """Queues about half a second of work on the current stream."""
    yield lambda: torch.cuda._sleep(1_000_000_000)
    torch.cuda.synchronize()


def calls_of(pairs: Pairs) -> dict[str, Callable[[], object]]:
    graph, x = Graph.build(pairs, device=CUDA), random(U + I, 64).to(CUDA)
    mask, relevant = there(lists(U, 60, seed=1)), there(lists(U, 12, seed=2))
    positives = Positives.from_pairs(pairs, CUDA)
    drawing = dict(seed=1, epoch=0, first=0, count=500)
    triplets = ops.sample_triplets(positives, **drawing)
    config = setting("lightgcn", batch_size=20)
    state = stepper(pairs, config, CUDA)

    def steps() -> object:
        graph = state._model.graph
        embedding = state._model.embedding.detach()
        return torch.ops.advrec.lightgcn_steps(
            embedding=embedding, state1=None, state2=None, graph_indptr=graph.indptr,
            graph_indices=graph.indices, graph_scale=graph.scale, layers=3,
            **ops.positives_arguments(positives), seed=1, epoch=0, negatives=1, sampling=0,
            first_step=0, steps=100, batch_size=20, mean=True, reg=0.01, eps=0.5, adv_weight=0.7,
            norm=0, site=1, optimizer=0, lr=0.01, beta1=0.9, beta2=0.999, opt_eps=0.0, updates=0,
        )  # fmt: skip

    return {
        "sample_triplets": lambda: ops.sample_triplets(positives, **drawing),
        "propagate": lambda: ops.propagate(x, graph, 3),
        "triplet_margin": lambda: ops.triplet_margin(x[:U], x[U:], triplets),
        "normalize_rows": lambda: ops.normalize_rows(x, 0.5),
        "rank_topk": lambda: ops.rank_topk(x[:U], x[U:], mask, relevant, 20, True),
        "lightgcn_steps": steps,
    }


def test_no_call_waits_for_the_device(pairs, busy):
    calls = calls_of(pairs)
    for call in calls.values():
        call()  # loads modules, fills the allocator, captures the graph
    torch.cuda.synchronize()
    waited = []
    for name, call in calls.items():
        busy()
        still_running = torch.cuda.Event()
        still_running.record()
        call()
        if still_running.query():
            waited.append(name)
        torch.cuda.synchronize()
    assert waited == []


def test_calls_run_on_the_current_stream(pairs, busy):
    """Input is written on a side stream behind a long wait; only that stream's order helps."""
    graph = Graph.build(pairs, device=CUDA)
    source = random(U + I, 64).to(CUDA)
    wanted = ops.propagate(source, graph, 3)
    x = torch.zeros_like(source)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        busy()
        x.copy_(source)
        found = ops.propagate(x, graph, 3)
    stream.synchronize()
    assert torch.equal(found, wanted)


def test_steps_can_be_captured_by_the_caller_too(pairs):
    config = setting("mf", optimizer="sgd", batch_size=40)
    one, other = stepper(pairs, config, CUDA), stepper(pairs, config, CUDA)

    def steps(embedding: Tensor) -> Tensor:
        return torch.ops.advrec.mf_steps(
            embedding=embedding, state1=None, state2=None,
            **ops.positives_arguments(one._positives), seed=1, epoch=0, negatives=1, sampling=0,
            first_step=0, steps=70, batch_size=40, mean=True, reg=0.0, eps=0.5, adv_weight=0.7,
            norm=0, optimizer=0, lr=0.01, beta1=0.9, beta2=0.999, opt_eps=0.0, updates=0,
        )  # fmt: skip

    steps(one._model.embedding.detach())
    side = other._model.embedding.detach()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        steps(side)
    graph.replay()
    assert torch.equal(side, one._model.embedding.detach())


def test_nothing_is_kept_after_a_call(pairs):
    calls = calls_of(pairs)
    for call in calls.values():
        call()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        for call in calls.values():
            call()
    assert torch.cuda.memory_allocated() == before


def test_ranking_needs_no_memory_for_the_catalogue():
    users = random(2000, 32).to(CUDA)
    empty = (torch.zeros(2001, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))
    peaks = []
    for n_items in (5_000, 100_000):
        items = random(n_items, 32).to(CUDA)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        ops.rank_topk(users, items, there(empty), there(empty), 20)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] == peaks[1]
    assert peaks[1] < 2000 * 100_000  # a quarter of the scores


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_device_of_the_tensors_counts_not_the_current_one(pairs):
    graph, x = Graph.build(pairs, device="cuda:1"), random(U + I, 8).to("cuda:1")
    with torch.cuda.device(0):
        found = ops.propagate(x, graph, 2)
        assert torch.cuda.current_device() == 0
    assert found.device == x.device
    torch.testing.assert_close(found.cpu(), ops.propagate(x.cpu(), Graph.build(pairs), 2))


# --- models, runs -----------------------------------------------------------------------------


def on_both(name: str) -> list[advrec.models.Recommender]:
    dataset = tiny_dataset()
    if MODELS[name].needs_features:
        features = random(dataset.n_items, 12).numpy()
        dataset = replace(dataset, item_features=features)
    config = resolve(TrainConfig(model=name, dim=8), MODELS[name])
    return [build_model(config, dataset, device) for device in ("cpu", CUDA)]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_the_cpu_s_losses_and_scores(name):
    here, on_gpu = on_both(name)
    dataset = tiny_dataset()
    batch = ops.sample_triplets(
        Positives.from_pairs(dataset.train), seed=1, epoch=0, first=0, count=60
    )
    if here.batch_kind == "users":
        batch = batch[:1]
    torch.testing.assert_close(
        on_gpu.losses(batch.to(CUDA)).cpu(), here.losses(batch), rtol=1e-4, atol=1e-5
    )
    users = torch.arange(dataset.n_users)
    torch.testing.assert_close(
        on_gpu.scores(users.to(CUDA)).cpu(), here.scores(users), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_attacks_and_evaluates_on_the_device(name, tmp_path):
    dataset = tiny_dataset()
    if MODELS[name].needs_features:
        dataset = replace(dataset, item_features=random(dataset.n_items, 12).numpy())
    result = advrec.adv_train(
        dataset, "scratch", model=name, eps=0.3, out=tmp_path / "run", **{**FAST, "device": CUDA}
    )
    assert all(p.device.type == "cuda" for p in result.model.parameters())
    figures = advrec.evaluate(result.run, dataset, device=CUDA).values
    again = advrec.evaluate(result.run, dataset, device="cpu").values
    assert figures == pytest.approx(again, abs=0.02)  # a tie broken otherwise moves one user
    advrec.attack(result.run, dataset, eps=[0.1], device=CUDA)


@pytest.mark.parametrize(("first", "second"), [("cpu", CUDA), (CUDA, "cpu"), (CUDA, CUDA)])
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_run_goes_on_on_another_device(model, first, second, tmp_path):
    dataset, options = tiny_dataset(), {**FAST, "model": model}
    whole = advrec.pretrain(
        dataset, out=tmp_path / "whole", **{**options, "epochs": 4, "device": first}
    )
    begun = advrec.pretrain(
        dataset, out=tmp_path / "begun", **{**options, "epochs": 2, "device": first}
    )
    ended = advrec.resume(begun.run, dataset, epochs=4, device=second)
    for name, wanted in whole.model.state_dict().items():
        found = ended.model.state_dict()[name]
        if first == second:
            assert torch.equal(found, wanted)
        else:
            torch.testing.assert_close(found.cpu(), wanted.cpu(), rtol=1e-3, atol=1e-4)


def test_running_out_of_memory_is_one_sentence(tmp_path):
    from advrec.errors import NativeError

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 64 * 2**20 / total))
    try:
        with pytest.raises(NativeError, match="memory") as caught:
            advrec.pretrain(
                tiny_dataset(), model="mf", out=tmp_path / "run",
                **{**FAST, "dim": 512, "batch_size": 2**17, "device": CUDA},
            )  # fmt: skip
        assert caught.value.hint
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer here")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(tool):
    chosen = "steps_of_every_width or margins_and_their or rankings_equal"
    done = subprocess.run(
        ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-m",
         "pytest", "-q", "-x", "-m", "gpu", "-k", chosen, str(Path(__file__))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
