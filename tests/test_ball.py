"""The ball of noise: every row within its budget, sides, canonical form, and equal tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_certify import DATA, model_of
from torch import Tensor

from advrec.choices import SIDES
from advrec.errors import UsageError
from advrec.models import Recommender
from advrec.robustness import perturb
from advrec.robustness.attack import attack
from advrec.robustness.ball import UNITS, Ball, ball_of, exposure
from advrec.robustness.budget import canonical, item_scale

K = 5
PLACES = [
    ("mf", "ego", "row"), ("mf", "ego", "joint"), ("lightgcn", "ego", "row"),
    ("lightgcn", "final", "row"), ("ngcf", "weights", "tensor"), ("ngcf", "weights", "joint"),
    ("gnnguard", "final", "row"), ("vbpr", "features", "row"), ("vbpr", "ego", "row"),
    ("neumf", "ego", "row"), ("neumf", "mlp", "tensor"), ("cdae", "decoder", "row"),
    ("cdae", "user", "tensor"), ("cdae", "encoder", "tensor"),
]  # fmt: skip


def ball(model: Recommender, site: str, norm: str, **options: Any) -> Ball:
    return ball_of(model, site, norm, exposure=exposure(model, DATA, "test", K), **options)


def noise_of(model: Recommender, site: str, norm: str, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    start = model.noise_like(site, norm, None)
    return {k: torch.randn(v.shape, generator=generator).to(v) for k, v in start.items()}


def measured(inside: Ball, noise: dict[str, Tensor], size: float) -> float:
    """The largest share of the budget that a row, or the whole, takes, by its definition."""
    largest = 0.0
    rows = {key: value.double() for key, value in noise.items()}
    if inside.form is not None:
        n = inside.form.n_users
        rows = {
            key: torch.cat([v[:n] @ inside.form.users, v[n:] @ inside.form.items])
            for key, v in rows.items()
        }
    if inside.norm == "joint":
        whole = torch.cat([v.flatten() for v in rows.values()]).norm()
        rows = dict.fromkeys(rows, whole[None, None])
    for key, value in rows.items():
        lengths = (
            value.norm()[None, None] if inside.norm == "tensor" else value.norm(dim=1)[:, None]
        )
        allowed = inside.lengths.get(key, torch.ones((), dtype=torch.float64)) * size
        still = lengths == 0
        largest = max(largest, float((lengths / allowed).masked_fill(still, 0).max()))
    return largest


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("name", "site", "norm"), PLACES)
def test_every_point_lies_in_the_ball_and_the_vertex_on_its_border(
    name: str, site: str, norm: str, unit: str
) -> None:
    model = model_of(name)
    here = ball(model, site, norm, unit=unit)
    grads, generator = noise_of(model, site, norm), torch.Generator().manual_seed(1)
    size = 0.3
    points = {
        "vertex": here.vertex(grads, size),
        "random": here.random_like(grads, size, generator),
        "start": here.random_start(grads, size, generator),
        "projected": here.project({k: 100 * v for k, v in grads.items()}, size),
        "stretched": here.stretched(grads, size),
    }
    for what, noise in points.items():
        share = measured(here, noise, size)
        assert share <= 1 + 1e-5, what
        assert share > (0.01 if what == "start" else 1 - 1e-5), what
        inside = here.within(noise, size)
        assert here.size_of(inside) <= size
        assert measured(here, inside, size) == pytest.approx(here.size_of(inside) / size)
    small = {key: 1e-4 * value for key, value in points["stretched"].items()}
    for key, value in here.within(small, size).items():
        torch.testing.assert_close(value, small[key], rtol=0, atol=0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("name", "site", "norm"), PLACES)
def test_the_vertex_is_where_the_linear_loss_is_largest(
    name: str, site: str, norm: str, unit: str
) -> None:
    model = model_of(name)
    here = ball(model, site, norm, unit=unit)
    grads = {key: value.double() for key, value in noise_of(model, site, norm).items()}

    def gain(noise: dict[str, Tensor]) -> float:
        return sum(float((grads[key] * noise[key]).sum()) for key in grads)

    best = gain(here.vertex(grads, 0.3))
    for seed in range(1, 8):
        other = noise_of(model, site, norm, seed)
        near = {key: grads[key] + 0.5 * other[key].double() for key in grads}
        assert gain(here.stretched(near, 0.3)) < best


def test_without_a_budget_of_its_own_the_ball_is_that_of_the_papers_to_the_bit() -> None:
    model = model_of("mf")
    grads = noise_of(model, "ego", "row")
    here = ball(model, "ego", "row")
    expected = perturb.fgm(grads, eps=0.5, norm="row")["ego"]
    assert torch.equal(here.vertex(grads, 0.5)["ego"], expected)


def test_relative_lengths_are_those_of_the_definition() -> None:
    model = model_of("lightgcn")
    shown = exposure(model, DATA, "test", K)
    n = DATA.n_users
    ego = ball(model, "ego", "row", unit="rho").lengths["ego"][:, 0]
    table = model.tables("ego")["ego"].double()
    torch.testing.assert_close(ego[:n], table[:n].norm(dim=1))
    assert float(ego[n]) == pytest.approx(item_scale(table[n:], shown))
    final = model.tables("final")["final"]
    form = canonical(final[:n], final[n:], shown)
    own = ball(model, "final", "row", unit="rho").lengths["final"][:, 0]
    torch.testing.assert_close(own[:n], form.users.norm(dim=1))
    assert float(own[n]) == pytest.approx(item_scale(form.items, shown))
    stored = ball(model, "final", "row", unit="rho", as_stored=True)
    torch.testing.assert_close(stored.lengths["final"][:n, 0], final[:n].double().norm(dim=1))


@pytest.mark.parametrize(
    ("name", "site", "norm"),
    [("ngcf", "weights", "tensor"), ("cdae", "decoder", "row"), ("vbpr", "features", "row"),
     ("neumf", "mlp", "joint")],
)  # fmt: skip
def test_without_rows_of_both_rho_counts_against_the_mean_row_or_the_whole(
    name: str, site: str, norm: str
) -> None:
    model = model_of(name)
    here = ball(model, site, norm, unit="rho")
    tables = {key: table.double() for key, table in model.tables(site).items()}
    whole = torch.cat([table.flatten() for table in tables.values()]).norm()
    for key, table in tables.items():
        expected = {"row": table.norm(dim=1).mean(), "tensor": table.norm(), "joint": whole}[norm]
        assert float(here.lengths[key].max()) == pytest.approx(float(expected))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("name", "site"), [("mf", "ego"), ("lightgcn", "final"), ("vbpr", "ego")])
def test_rows_of_the_other_side_do_not_move(name: str, site: str, side: str, unit: str) -> None:
    model = model_of(name)
    here = ball(model, site, "row", side=side, unit=unit)
    n = DATA.n_users
    for objective in ("bpr", "ndcg"):
        (result,) = attack(
            model, DATA, **{unit: 0.2}, side=side, site=site, objective=objective, ks=(K,),
            metrics=["NDCG"],
        )  # fmt: skip
        assert result.noise is not None
        moved = {
            "users": result.noise["users"] if name == "vbpr" else result.noise[site][:n],
            "items": result.noise["items"] if name == "vbpr" else result.noise[site][n:],
        }
        for owner, rows in moved.items():
            assert bool(rows.any()) == (side in ("both", owner))
        assert here.size_of(result.noise) <= 0.2 * (1 + 1e-5)


def test_noise_on_rows_that_may_not_move_is_outside_every_budget() -> None:
    model = model_of("mf")
    here = ball(model, "ego", "row", side="users", unit="rho")
    noise = noise_of(model, "ego", "row")
    assert here.size_of(noise) == float("inf")
    assert here.size_of(here.within(noise, 0.1)) <= 0.1


@pytest.mark.parametrize("scale", [1e-20, 1e8])
def test_a_relative_budget_holds_for_vectors_of_any_size(scale: float) -> None:
    model = model_of("mf")
    with torch.no_grad():
        model.get_parameter("embedding").mul_(scale)
    here = ball(model, "ego", "row", unit="rho")
    noise = here.within(here.vertex(noise_of(model, "ego", "row"), 0.1), 0.1)
    assert 0.099 < here.size_of(noise) <= 0.1


def test_sides_and_budgets_that_a_site_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match="'features' of model 'vbpr' has rows of items only, got"):
        ball(model_of("vbpr"), "features", "row", side="users")
    with pytest.raises(UsageError, match="'weights' of model 'ngcf' has no rows of either, got"):
        ball(model_of("ngcf"), "weights", "tensor", side="items")
    with pytest.raises(UsageError, match="eps and rho exclude each other"):
        attack(model_of("mf"), DATA, eps=0.1, rho=0.1)
    with pytest.raises(UsageError, match="rho must be a number from 0 up, got -1"):
        attack(model_of("mf"), DATA, rho=-1.0)
    empty = model_of("mf")
    with torch.no_grad():
        empty.get_parameter("embedding").zero_()
    with pytest.raises(UsageError, match="so a relative budget means nothing"):
        attack(empty, DATA, rho=0.1)
