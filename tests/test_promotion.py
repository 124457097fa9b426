"""Targeted noise: only the item's row moves, within its budget, and exposure is what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_attacks import DATA as TRAINED
from test_attacks import trained
from test_certify import DATA, model_of

from advrec.errors import DataError, UsageError
from advrec.robustness import promotion
from advrec.robustness.promotion import promote

K = 5


@pytest.mark.parametrize("unit", ["eps", "rho"])
@pytest.mark.parametrize(
    ("name", "site"),
    [("mf", "ego"), ("lightgcn", "ego"), ("lightgcn", "final"), ("vbpr", "features"),
     ("vbpr", "ego"), ("neumf", "ego"), ("cdae", "decoder")],
)  # fmt: skip
def test_items_are_shown_to_more_or_fewer_users_within_the_budget(
    name: str, site: str, unit: str
) -> None:
    model = model_of(name)
    options: dict[str, Any] = {"site": site, "norm": "row", "k": K, unit: [0.3, 3.0]}
    items = [DATA.item_ids[i] for i in (3, 11)]
    up = promote(model, DATA, items, **options)
    down = promote(model, DATA, items, goal="demote", **options)
    for one, other in zip(up, down, strict=True):
        assert one.before == other.before
        assert other.after <= one.before <= one.after
        assert one.measured <= one.size
    assert sum(one.after for one in up) > sum(one.before for one in up)


@pytest.mark.parametrize("site", ["ego", "final"])
def test_only_the_row_of_the_item_moves_and_exposure_is_counted_in_lists(site: str) -> None:
    model, target = trained("lightgcn"), 7
    kept = []
    plain = promotion._Attempt.best

    def best(self: Any, size: float) -> Any:
        kept.append(plain(self, size))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion._Attempt, "best", best)
        (result,) = promote(model, TRAINED, [TRAINED.item_ids[target]], eps=0.5, site=site, k=K)
    noise, after = kept[0]
    moved = torch.nonzero(noise[site].any(1)).flatten().tolist()
    assert moved == [TRAINED.n_users + target]
    scores = model.scores(torch.arange(TRAINED.n_users), noise).detach()
    holds = 0
    for user in range(TRAINED.n_users):
        hidden = [*TRAINED.train.of(user), *TRAINED.valid.of(user)]
        scores[user, np.array(hidden)] = -torch.inf
        holds += target in scores[user].topk(K).indices.tolist()
    assert result.after == after == holds / TRAINED.n_users
    assert result.after > result.before


def test_more_steps_than_one_count_and_results_are_plain_data() -> None:
    model = trained("mf")
    item = TRAINED.item_ids[9]
    (result,) = promote(model, TRAINED, [item], rho=0.5, k=K)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "STEPS", 1)
        (weak,) = promote(model, TRAINED, [item], rho=0.5, k=K)
    assert result.after >= weak.after
    document = result.to_dict()
    assert document["rho"] == 0.5
    assert document["exposure@5"] == {"before": result.before, "after": result.after}


def test_items_and_sites_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="has no item 'nothing' among its 40 items"):
        promote(model_of("mf"), DATA, ["nothing"])
    with pytest.raises(UsageError, match="'user' of model 'cdae' has no rows of items"):
        promote(model_of("cdae"), DATA, [DATA.item_ids[0]], site="user")
    with pytest.raises(UsageError, match="unknown goal 'lift': choose promote or demote"):
        promote(model_of("mf"), DATA, [DATA.item_ids[0]], goal="lift")
    with pytest.raises(UsageError, match="k must be at least 1"):
        promote(model_of("mf"), DATA, [DATA.item_ids[0]], k=0)
