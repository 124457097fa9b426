"""`recommend --user` takes ids as the data has them: with commas, with blanks, several at once."""

from __future__ import annotations

import pytest
from support.cli_runner import advrec

USERS = ["Smith, Bob", "user 1", " padded ", "a", "b", "a,b", "anna", "ümit; x"]


@pytest.fixture(scope="module", autouse=True)
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rows = [f'"{user}",i{(3 * n + k) % 9}' for n, user in enumerate(USERS) for k in range(5)]
        (folder / "names.csv").write_text("\n".join(["user,item", *rows]) + "\n")
        outcome = advrec("pretrain", "--data", "names.csv", "--dim", 2, "--epochs", 1)
        assert outcome.code == 0, outcome.err
        yield


@pytest.mark.parametrize(
    ("given", "users"),
    [
        (["Smith, Bob"], ["Smith, Bob"]),
        (["user 1"], ["user 1"]),
        ([" padded "], [" padded "]),
        (["ümit; x"], ["ümit; x"]),
        (["user 1,anna"], ["user 1", "anna"]),
        (["anna, user 1"], ["anna", "user 1"]),
        (["a,b"], ["a,b"]),  # an id as it is, before two ids
        (["b,a"], ["b", "a"]),
        (["Smith, Bob", "a", "anna,"], ["Smith, Bob", "a", "anna"]),
    ],
)
def test_users_are_found_as_they_are_written(given, users):
    options = [word for user in given for word in ("--user", user)]
    outcome = advrec("recommend", *options, "-k", 2, "--json")
    assert outcome.code == 0, outcome.err
    assert [entry["user"] for entry in outcome.json()["users"]] == users


@pytest.mark.parametrize(
    ("given", "unknown", "hint"),
    [
        ("Smith, Bbo", "'Smith, Bbo'", "'Smith, Bob'"),
        ("anna,usr 1", "'usr 1'", "'user 1'"),
        (",", "','", "user ids look like"),
    ],
)
def test_an_unknown_user_is_named_as_it_was_typed(given, unknown, hint):
    outcome = advrec("recommend", "--user", given)
    assert outcome.code == 3
    assert f"no user {unknown}" in outcome.err
    assert hint in outcome.err


def test_no_user_is_a_usage_error():
    assert "no user to recommend to" in advrec("recommend").err
    assert advrec("recommend", "--user", "").code == 2
