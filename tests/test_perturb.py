"""Norms, directions and projections, on tensors without any model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from advrec.errors import UsageError
from advrec.ops import reference
from advrec.robustness import perturb

ULP = 2**-52


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grads(seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Two tensors of different width, with rows of zeros and rows of very different length."""
    draw = torch.randn(9, 4, generator=generator(seed), dtype=torch.float64)
    draw *= torch.logspace(-12, 3, 9, dtype=torch.float64)[:, None]
    draw[[2, 5]] = 0
    return {"a": draw.to(dtype), "b": draw[:6, :3].clone().to(dtype)}


def rows(noise: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.norm(dim=-1).flatten() for tensor in noise.values()])


def total(noise: dict[str, Tensor]) -> float:
    return float(torch.cat([tensor.flatten() for tensor in noise.values()]).norm())


@pytest.mark.parametrize("norm", ["row", "sample"])
def test_every_row_with_a_gradient_gets_eps_in_its_direction(norm: str) -> None:
    gamma = grads()
    delta = perturb.fgm(gamma, eps=0.5, norm=norm)
    for key, grad in gamma.items():
        live = grad.any(1)
        torch.testing.assert_close(
            delta[key][live].norm(dim=1), torch.full((int(live.sum()),), 0.5).double()
        )
        cosine = torch.cosine_similarity(delta[key][live], grad[live], eps=1e-300)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))
        assert not delta[key][~live].any()


def test_joint_is_one_norm_over_everything() -> None:
    gamma = grads()
    delta = perturb.fgm(gamma, eps=0.5, norm="joint")
    assert math.isclose(total(delta), 0.5, rel_tol=1e-14)
    for key in gamma:
        torch.testing.assert_close(delta[key], gamma[key] * (0.5 / total(gamma)))


def test_tensor_is_one_norm_for_each_tensor() -> None:
    gamma = grads()
    delta = perturb.fgm(gamma, eps=0.5, norm="tensor")
    for key in gamma:
        torch.testing.assert_close(delta[key], gamma[key] * (0.5 / gamma[key].norm()))


@pytest.mark.parametrize("norm", perturb.NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1.0, 1e25])
def test_the_scale_of_the_gradient_does_not_matter(
    norm: str, dtype: torch.dtype, factor: float
) -> None:
    """A saturated loss has gradients whose squares are 0 in float32; they still point somewhere."""
    gamma = {key: grad.clamp(-2, 2).to(dtype) for key, grad in grads().items()}
    gamma = {key: torch.where(grad.abs() > 1e-6, grad, 0) for key, grad in gamma.items()}
    scaled = {key: grad * factor for key, grad in gamma.items()}
    delta, other = (perturb.fgm(g, eps=0.5, norm=norm) for g in (gamma, scaled))
    for key in gamma:
        # 1e-36 and below are subnormal in float32: an entry may then have lost all but two digits.
        torch.testing.assert_close(delta[key], other[key], rtol=1e-5, atol=1e-7)
    assert all(float(tensor.norm()) > 0 for tensor in other.values())


@pytest.mark.parametrize("norm", perturb.NORMS)
def test_no_gradient_gives_no_noise(norm: str) -> None:
    zeros = {"a": torch.zeros(3, 4), "b": torch.zeros(2, 2)}
    found = [
        perturb.fgm(zeros, eps=0.5, norm=norm),
        perturb.random_like(zeros, eps=0.5, norm=norm, generator=generator()),
        perturb.random_start(zeros, eps=0.5, norm=norm, generator=generator()),
        perturb.project(zeros, eps=0.5, norm=norm),
    ]
    for noise in found:
        assert not any(tensor.any() for tensor in noise.values())


@pytest.mark.parametrize("norm", perturb.NORMS)
def test_eps_zero_gives_no_noise(norm: str) -> None:
    delta = perturb.fgm(grads(), eps=0.0, norm=norm)
    assert not any(tensor.any() for tensor in delta.values())


def test_rows_are_normalised_as_the_operator_does_it() -> None:
    gamma = grads()["a"]
    delta = perturb.fgm({"a": gamma}, eps=0.3, norm="row")["a"]
    torch.testing.assert_close(delta, reference.normalize_rows(gamma, 0.3), rtol=4 * ULP, atol=0)


@pytest.mark.parametrize("norm", perturb.NORMS)
def test_random_noise_has_the_row_norms_of_the_adversarial_one(norm: str) -> None:
    gamma = grads()
    delta = perturb.fgm(gamma, eps=0.5, norm=norm)
    noise = perturb.random_like(gamma, eps=0.5, norm=norm, generator=generator())
    torch.testing.assert_close(rows(noise), rows(delta))
    assert ((rows(noise) == 0) == (rows(delta) == 0)).all()


def test_random_directions_depend_on_the_generator_alone() -> None:
    one = perturb.random_like(grads(0), eps=0.5, norm="row", generator=generator(3))
    other = perturb.random_like(grads(9), eps=1.0, norm="row", generator=generator(3))
    single = perturb.random_like(
        grads(0, torch.float32), eps=0.5, norm="row", generator=generator(3)
    )
    for key in one:
        torch.testing.assert_close(2 * one[key], other[key])
        torch.testing.assert_close(one[key].float(), single[key])
    changed = perturb.random_like(grads(0), eps=0.5, norm="row", generator=generator(4))
    assert not torch.equal(one["a"], changed["a"])


def test_random_directions_are_spread_over_the_sphere() -> None:
    gamma = {"a": torch.ones(20_000, 3, dtype=torch.float64)}
    noise = perturb.random_like(gamma, eps=1.0, norm="row", generator=generator())["a"]
    # Means of 20,000 draws: standard errors √(1/3/20000) = .004 and below; five of them.
    assert noise.mean(0).abs().max() < 0.02
    torch.testing.assert_close(
        noise.T @ noise / 20_000, torch.eye(3).double() / 3, atol=0.02, rtol=0
    )


@pytest.mark.parametrize("norm", perturb.NORMS)
def test_random_starts_lie_inside_the_ball_in_rows_with_a_gradient(norm: str) -> None:
    gamma = grads()
    for seed in range(20):
        start = perturb.random_start(gamma, eps=0.5, norm=norm, generator=generator(seed))
        unmoved = perturb.project(start, eps=0.5 * (1 + 8 * ULP), norm=norm)
        for key in gamma:
            assert torch.equal(unmoved[key], start[key])
            assert torch.equal(start[key].any(1), gamma[key].any(1))


def test_random_starts_of_rows_are_uniform_in_the_ball() -> None:
    gamma = {"a": torch.ones(20_000, 3, dtype=torch.float64)}
    start = perturb.random_start(gamma, eps=2.0, norm="row", generator=generator())["a"]
    volume = (start.norm(dim=1) / 2.0) ** 3  # uniform on [0, 1]
    assert abs(float(volume.mean()) - 1 / 2) < 0.01
    assert abs(float(volume.var()) - 1 / 12) < 0.005


vectors = st.lists(st.floats(-10, 10), min_size=4, max_size=4)


@given(vectors, vectors, st.floats(0.01, 5))
@settings(max_examples=100, deadline=None)
def test_projection_keeps_what_is_inside_and_takes_the_nearest_point_otherwise(
    first: list[float], second: list[float], eps: float
) -> None:
    x = torch.tensor([first], dtype=torch.float64)
    inside = torch.tensor([second], dtype=torch.float64)
    inside = inside / max(1.0, float(inside.norm()) / eps)  # any point of the ball
    out = perturb.project({"a": x}, eps=eps, norm="row")["a"]
    if float(x.norm()) <= eps:
        assert torch.equal(out, x)
    assert float(out.norm()) <= eps * (1 + 4 * ULP)
    assert float((x - out).norm()) <= float((x - inside).norm()) * (1 + 8 * ULP) + 1e-12


def test_projection_of_rows_is_no_clipping_of_entries() -> None:
    """±eps in each entry is inside the cube and √d times outside the ball."""
    noise = perturb.project({"a": torch.full((1, 64), 0.5)}, eps=0.5, norm="row")["a"]
    torch.testing.assert_close(noise.norm(), torch.tensor(0.5))


@pytest.mark.parametrize("norm", ["joint", "tensor"])
def test_projection_scales_the_whole(norm: str) -> None:
    gamma = {key: grad * 1e6 for key, grad in grads().items()}
    out = perturb.project(gamma, eps=0.5, norm=norm)
    expected = perturb.fgm(gamma, eps=0.5, norm=norm)
    for key in gamma:
        torch.testing.assert_close(out[key], expected[key])


def test_the_budget_of_rows_is_the_longest_row_and_its_share_of_the_mean_row() -> None:
    noise = {"a": torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]])}
    table = {"a": torch.tensor([[6.0, 8.0], [0.0, 20.0], [30.0, 0.0]])}
    budget = perturb.measure(noise, table, "row")
    assert budget == perturb.Budget("row", absolute=5.0, relative=0.25, rows=2, largest_row=5.0)


def test_the_budget_of_samples_is_compared_with_all_rows() -> None:
    noise = {"user": torch.tensor([[3.0, 4.0]]), "positive": torch.tensor([[0.0, 1.0]])}
    table = {"a": torch.tensor([[6.0, 8.0], [0.0, 20.0]]), "b": torch.tensor([[30.0, 0.0]])}
    assert perturb.measure(noise, table, "sample").relative == 0.25


def test_the_budgets_of_joint_and_tensor_compare_like_with_like() -> None:
    noise = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([[4.0]])}
    table = {"a": torch.tensor([[30.0, 0.0]]), "b": torch.tensor([[4.0], [39.799497]])}
    joint, tensor = (perturb.measure(noise, table, norm) for norm in ("joint", "tensor"))
    assert (joint.absolute, joint.largest_row, joint.rows) == (5.0, 4.0, 2)
    assert math.isclose(joint.relative, 0.1, rel_tol=1e-6)
    assert tensor.absolute == 4.0
    assert math.isclose(tensor.relative, 0.1, rel_tol=1e-6)


def test_a_noise_on_nothing_but_zeros_is_infinitely_large() -> None:
    zeros = {"a": torch.zeros(2, 2)}
    assert perturb.measure({"a": torch.ones(2, 2)}, zeros, "row").relative == math.inf
    assert perturb.measure(zeros, zeros, "row").relative == 0.0


@pytest.mark.parametrize("norm", perturb.NORMS)
def test_the_budget_of_a_fast_gradient_is_eps(norm: str) -> None:
    gamma = grads()
    budget = perturb.measure(perturb.fgm(gamma, eps=0.5, norm=norm), gamma, norm)
    assert math.isclose(budget.absolute, 0.5, rel_tol=1e-14)


@pytest.mark.parametrize(("eps", "norm"), [(-1.0, "row"), (math.nan, "row"), (math.inf, "row")])
def test_a_budget_that_is_none_is_refused(eps: float, norm: str) -> None:
    with pytest.raises(UsageError, match="eps must be"):
        perturb.fgm(grads(), eps=eps, norm=norm)
    with pytest.raises(UsageError, match="eps must be"):
        perturb.project(grads(), eps=eps, norm=norm)


def test_an_unknown_norm_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="unknown norm 'l1': choose row, sample, joint, tensor"):
        perturb.fgm(grads(), eps=1.0, norm="l1")
