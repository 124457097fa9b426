"""What is computed does not depend on the number of threads: every model, every command."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training_data import TIERS, bits, tiny_dataset, without_validation

import advrec
from advrec import native, ops
from advrec.errors import UsageError
from advrec.models import MODELS
from advrec.runs.model import load_model

THREADS = (2, 3, 8)
CASES = [*((name, {}) for name in MODELS), ("vbpr", {"scorer": "vbpr"}), ("cdae", {"dim": 64})]
USERS, ITEMS, FEATURES = 1500, 120, 40


@pytest.fixture(autouse=True)
def as_before():
    before, choice = native.set_threads(None), native.choice()
    torch_threads = torch.get_num_threads()
    yield
    native.use(choice)
    native.set_threads(before)
    torch.set_num_threads(torch_threads)


@pytest.fixture(scope="module")
def dataset():
    """12,000 pairs; torch splits work of 32,768 numbers or more."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((ITEMS, FEATURES)).astype(np.float32)
    return replace(
        without_validation(tiny_dataset(users=USERS, items=ITEMS)), item_features=features
    )


def answers(model, data):
    """Everything that the commands say of a model."""
    found = [advrec.evaluate(model, data)]
    for objective in ("bpr", "softmax", "ndcg"):
        try:
            for noise in ("adversarial", "random"):
                found += advrec.attack(
                    model, data, eps=[0.5], noise=noise, objective=objective, steps=1, restarts=1
                )
        except UsageError:  # of a model whose scores are not dot products
            assert objective != "bpr"
    with contextlib.suppress(UsageError):  # it has no certificate
        found.append(advrec.certify(model, data, eps=[0.1]))
    return [plain(one) for one in found]


def plain(value):
    """Without times, as what == compares."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names if "second" not in name}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if "second" not in str(key)}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return np.asarray(value).tobytes()
    return repr(value)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize(("name", "changes"), CASES)
def test_the_bits_do_not_depend_on_the_number_of_threads(name, changes, kernels, dataset, tmp_path):
    native.use(kernels)
    options = {"dim": 8, **{key: value for key, value in changes.items() if key == "dim"}}
    own = {key: value for key, value in changes.items() if key != "dim"}
    options |= {"epochs": 1, "batch_size": 8192, "model": name, "options": own, "runs": tmp_path}
    found, model = [], None
    for threads in (1, *THREADS):
        native.set_threads(threads)
        trained = advrec.adv_train(dataset, "scratch", threads=threads, kernels=kernels, **options)
        model = model or load_model(trained.run, dataset)
        found.append((bits(trained.run), answers(model, dataset)))
    for other in found[1:]:
        assert other == found[0]


def test_products_and_sums_are_those_of_torch_whatever_the_threads():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(301, 70, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(70, 203, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ops.product(a, b), a @ b)
    for own, torch_own in zip(
        torch.autograd.grad(ops.total(ops.product(a, b).square()), (a, b)),
        torch.autograd.grad((a @ b).square().sum(), (a, b)),
        strict=True,
    ):
        torch.testing.assert_close(own, torch_own)
    torch.testing.assert_close(ops.product(a.view(7, 43, 70), b), (a @ b).view(7, 43, 203))
    torch.testing.assert_close(ops.length(a), torch.linalg.vector_norm(a))
    assert torch.equal(ops.total(a[:0]), torch.zeros((), dtype=torch.float64))
