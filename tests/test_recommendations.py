"""Recommendations: known items left out, ids and names of the data, helpful about wrong users."""

from __future__ import annotations

import pytest
import torch

from advrec.data.dataset import Dataset, Pairs
from advrec.errors import DataError, UsageError
from advrec.evaluation.recommend import Recommendation, recommend

ITEMS = ["libc6", "python3", "perl", "zlib1g", "bash"]


def make_dataset(names: list[str] | None = None) -> Dataset:
    """User 0 has libc6 in train, python3 in validation and perl in test; user 1 has nothing."""
    parts = [Pairs.from_coo([0], [item], 3, 5) for item in (0, 1, 2)]
    users = ["Apache2", "apt", "zsh"]
    return Dataset("toy", "", 3, 5, *parts, users, ITEMS, item_names=names)


def vectors(*scores: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(3, 1), torch.tensor(scores).reshape(5, 1)


def test_known_items_are_left_out_and_test_items_are_not() -> None:
    found = recommend(vectors(5, 4, 3, 1, 2), make_dataset(), "Apache2", k=2)
    assert found == [
        Recommendation(1, "perl", None, 3.0),
        Recommendation(2, "bash", None, 2.0),
    ]


def test_names_come_along_and_equal_scores_keep_the_order_of_the_data() -> None:
    names = [f"the {item} package" for item in ITEMS]
    found = recommend(vectors(1, 1, 1, 1, 1), make_dataset(names), "zsh", k=3)
    assert [r.item for r in found] == ITEMS[:3]
    assert found[0].name == "the libc6 package"


def test_the_list_ends_with_the_catalogue() -> None:
    found = recommend(vectors(5, 4, 3, 2, 1), make_dataset(), "Apache2", k=100)
    assert [(r.rank, r.item) for r in found] == [(1, "perl"), (2, "zlib1g"), (3, "bash")]


@pytest.mark.parametrize(
    ("user", "hint"),
    [
        ("apache2", "did you mean 'Apache2'?"),
        ("aptt", "'apt'"),
        ("qqq", "user ids look like 'Apache2', 'apt', 'zsh'"),
        ("", "user ids look like"),
    ],
)
def test_an_unknown_user_is_met_with_those_that_look_alike(user: str, hint: str) -> None:
    with pytest.raises(DataError, match="no user") as caught:
        recommend(vectors(1, 2, 3, 4, 5), make_dataset(), user)
    assert hint in (caught.value.hint or "")


def test_a_list_has_at_least_one_item() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        recommend(vectors(1, 2, 3, 4, 5), make_dataset(), "zsh", k=0)
