"""Evaluation: what is ranked, what is masked, who is in the mean; blocks change nothing."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advrec.data.dataset import Dataset, Pairs
from advrec.errors import DataError, RunError, TrainingError, UsageError
from advrec.evaluation import scorer as scorers
from advrec.evaluation.evaluate import evaluate, write_per_user
from advrec.evaluation.metrics import AT_K
from advrec.evaluation.sampled import CHUNK_USERS, draw_absent
from advrec.evaluation.scorer import merged_rows, rows_of

ALL = (*AT_K, "AUC")


def make_dataset(n_users: int, n_items: int, seed: int, density: float = 0.5) -> Dataset:
    """Each pair in none or one of train, valid and test; some users are in none of them."""
    rng = np.random.default_rng(seed)
    place = rng.choice(4, size=(n_users, n_items), p=[1 - density, *[density / 3] * 3])
    place[rng.random(n_users) < 0.2] = 0
    if not (place == 3).any():
        place[0, 0] = 3
    parts = [Pairs.from_coo(*np.nonzero(place == n), n_users, n_items) for n in (1, 2, 3)]
    users, items = [f"u{n}" for n in range(n_users)], [f"i{n}" for n in range(n_items)]
    return Dataset("toy", "made up", n_users, n_items, *parts, users, items)


def make_vectors(dataset: Dataset, seed: int, dim: int = 3) -> tuple[Tensor, Tensor]:
    """Small whole numbers: exact dot products, and many ties."""
    rng = np.random.default_rng(seed)
    user = rng.integers(-1, 2, size=(dataset.n_users, dim))
    item = rng.integers(-1, 2, size=(dataset.n_items, dim))
    return torch.tensor(user, dtype=torch.float32), torch.tensor(item, dtype=torch.float32)


class TableModel(nn.Module):
    """A model without vectors: it looks its scores up, and adds noise to them."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.asked: list[int] = []

    def vectors(self, noise: Mapping[str, Tensor] | None = None) -> None:
        return None

    def scores(self, users: Tensor, noise: Mapping[str, Tensor] | None = None) -> Tensor:
        assert not self.training, "dropout would still be on"
        self.asked.append(len(users))
        return self.table[users] + (0 if noise is None else noise["table"][users])


def pessimistic_order(dataset: Dataset, scores: np.ndarray, user: int, part: str) -> list[int]:
    """The candidates of a user as a list, by the slow and obvious rule."""
    relevant = set((dataset.test if part == "test" else dataset.valid).of(user).tolist())
    known = set(dataset.train.of(user).tolist())
    if part == "test":
        known |= set(dataset.valid.of(user).tolist())
    candidates = [item for item in range(dataset.n_items) if item not in known]
    return sorted(candidates, key=lambda item: (-scores[user, item], item in relevant, item))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 20),
    st.integers(0, 10**6),
    st.sampled_from(["test", "valid"]),
    st.booleans(),
)
def test_evaluation_equals_trec_eval_on_pessimistically_ordered_candidates(
    n_users: int, n_items: int, seed: int, part: str, by_vectors: bool
) -> None:
    """Ties and users without relevant items included; see test_metrics for MAP and MRR."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    dataset = make_dataset(n_users, n_items, seed)
    relevant = dataset.test if part == "test" else dataset.valid
    if not len(relevant):
        return
    user, item = make_vectors(dataset, seed)
    scores = (user @ item.T).numpy()
    model = (user, item) if by_vectors else TableModel(user @ item.T)
    k = 5
    ours = evaluate(model, dataset, part=part, ks=[k], metrics=ALL)

    run, qrel = {}, {}
    for u in range(n_users):
        order = pessimistic_order(dataset, scores, u, part)
        run[str(u)] = {str(i): float(len(order) - rank) for rank, i in enumerate(order)}
        if len(relevant.of(u)):
            qrel[str(u)] = {str(i): 1 for i in relevant.of(u)}
    measures = {f"{name}.{k}" for name in ("recall", "P", "ndcg_cut", "map_cut", "success")}
    theirs = pytrec_eval.RelevanceEvaluator(qrel, measures | {"recip_rank"}).evaluate(run)

    assert ours.users.tolist() == sorted(map(int, qrel))
    assert (ours.n_users, ours.n_skipped) == (len(qrel), n_users - len(qrel))
    for place, u in enumerate(ours.users):
        their, degree = theirs[str(u)], len(relevant.of(u))
        first = their["recip_rank"]
        expected = {
            f"Recall@{k}": their[f"recall_{k}"],
            f"Precision@{k}": their[f"P_{k}"],
            f"HR@{k}": their[f"success_{k}"],
            f"NDCG@{k}": their[f"ndcg_cut_{k}"],
            f"MRR@{k}": first if first >= 1 / k else 0.0,
            f"MAP@{k}": their[f"map_cut_{k}"] * degree / min(degree, k),
            "AUC": brute_auc(scores[u], list(map(int, run[str(u)])), relevant.of(u)),
        }
        found = {name: float(values[place]) for name, values in ours.per_user.items()}
        assert found == pytest.approx(expected, abs=1e-12)
    for name, values in ours.per_user.items():
        assert ours.values[name] == pytest.approx(np.mean(values))


def brute_auc(scores: np.ndarray, candidates: list[int], relevant: np.ndarray) -> float:
    negatives = [item for item in candidates if item not in relevant]
    right = [scores[r] > scores[n] for r in relevant for n in negatives]
    return float(np.mean(right)) if right else 1.0


@pytest.mark.parametrize("by_vectors", [True, False])
@pytest.mark.parametrize("sampled", [None, 4])
@pytest.mark.parametrize("batch_users", [1, 7, 10_000])
def test_blocks_change_nothing(by_vectors: bool, sampled: int | None, batch_users: int) -> None:
    dataset = make_dataset(60, 30, seed=1)
    user, item = make_vectors(dataset, seed=2)
    model = (user, item) if by_vectors else TableModel(user @ item.T)
    whole = evaluate(model, dataset, metrics=ALL, sampled=sampled)
    parts = evaluate(model, dataset, metrics=ALL, sampled=sampled, batch_users=batch_users)
    assert parts.values == whole.values
    for name, values in whole.per_user.items():
        np.testing.assert_array_equal(parts.per_user[name], values)


def test_a_block_of_scores_stays_below_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(50, 40, seed=3)
    monkeypatch.setattr(scorers, "BLOCK_BYTES", 6 * 40 * 4)
    user, item = make_vectors(dataset, seed=3)
    model = TableModel(user @ item.T)
    for sampled in (None, 5):
        model.asked.clear()
        evaluate(model, dataset, sampled=sampled)
        assert max(model.asked) == 6


def test_gathering_by_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(50, 40, seed=3)
    vectors = make_vectors(dataset, seed=3)
    whole = evaluate(vectors, dataset, metrics=ALL, sampled=5)
    monkeypatch.setattr(scorers, "GATHERED_BYTES", 1)
    assert evaluate(vectors, dataset, metrics=ALL, sampled=5).values == whole.values


def test_what_is_known_is_masked_and_what_is_tested_is_not() -> None:
    """Scores put train first, validation second: only without the mask would they come first."""
    train, valid, test = (Pairs.from_coo([0], [item], 1, 5) for item in (0, 1, 2))
    dataset = Dataset("toy", "", 1, 5, train, valid, test, ["u"], list("abcde"))
    vectors = torch.ones(1, 1), torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]])
    assert evaluate(vectors, dataset, part="test", ks=[1]).values["HR@1"] == 1
    assert evaluate(vectors, dataset, part="valid", ks=[1]).values["HR@1"] == 1
    # validating, the test item is one of the candidates that may be ranked above
    lower = torch.ones(1, 1), torch.tensor([[5.0], [3.0], [4.0], [2.0], [1.0]])
    assert evaluate(lower, dataset, part="valid", ks=[1]).values["HR@1"] == 0


@pytest.mark.parametrize("sampled", [None, 6])
def test_a_model_that_scores_everything_alike_gets_nothing(sampled: int | None) -> None:
    dataset = make_dataset(30, 40, seed=4, density=0.2)
    constant = torch.ones(30, 2), torch.ones(40, 2)
    found = evaluate(constant, dataset, ks=[3], metrics=ALL, sampled=sampled)
    assert set(found.values.values()) == {0.0}


def test_a_cut_off_beyond_the_catalogue_reaches_all_of_it() -> None:
    dataset = make_dataset(10, 6, seed=5)
    found = evaluate(make_vectors(dataset, 5), dataset, ks=[1000], metrics=["Recall", "HR"])
    assert set(found.values.values()) == {1.0}


def test_noise_reaches_the_model_and_training_mode_comes_back() -> None:
    dataset = make_dataset(20, 15, seed=6)
    user, item = make_vectors(dataset, seed=6)
    model = TableModel(user @ item.T).train()
    noise = {"table": torch.randn(20, 15, generator=torch.Generator().manual_seed(0))}
    disturbed = evaluate(model, dataset, noise=noise, metrics=ALL)
    assert model.training
    expected = evaluate(TableModel(model.table.detach() + noise["table"]), dataset, metrics=ALL)
    assert disturbed.values == expected.values
    assert disturbed.values != evaluate(model, dataset, metrics=ALL).values


def all_but(left: list[int], n_items: int = 6) -> Dataset:
    """Users with one test item, and all other items but so many in train."""
    n_users = len(left)
    train = [(u, i) for u in range(n_users) for i in range(1, n_items - left[u])]
    users, items = zip(*train, strict=True)
    pairs = Pairs.from_coo(users, items, n_users, n_items)
    test = Pairs.from_coo(range(n_users), [0] * n_users, n_users, n_items)
    empty, ids = Pairs.empty(n_users, n_items), [str(n) for n in range(n_items)]
    return Dataset("toy", "made up", n_users, n_items, pairs, empty, test, ids[:n_users], ids)


@pytest.mark.parametrize(
    ("left", "count", "protocol"),
    [
        ([3, 4], 3, "sampled, 3 negatives, seed 0"),
        ([3, 3], 9, "sampled, 3 negatives (9 asked for), seed 0"),
        ([2, 4], 9, "sampled, 2 to 4 negatives (9 asked for), seed 0"),
        ([2, 4], 3, "sampled, 2 to 3 negatives, seed 0"),
        ([0, 4], 3, "sampled, 0 to 3 negatives, seed 0"),
    ],
)
def test_the_protocol_says_how_many_negatives_there_were(left, count, protocol) -> None:
    dataset = all_but(left)
    found = evaluate(make_vectors(dataset, 0), dataset, sampled=count)
    assert found.protocol == found.to_dict()["protocol"] == protocol


def test_sampling_where_no_user_has_a_negative_is_refused() -> None:
    dataset = all_but([0, 0])
    with pytest.raises(DataError, match="no user has an item left to draw as a negative: 6 items"):
        evaluate(make_vectors(dataset, 0), dataset, sampled=9)
    assert evaluate(make_vectors(dataset, 0), dataset).protocol == "full ranking"


def test_noise_for_bare_vectors_is_refused() -> None:
    dataset = make_dataset(4, 4, seed=0)
    with pytest.raises(UsageError, match="only its vectors"):
        evaluate(make_vectors(dataset, 0), dataset, noise={"ego": torch.zeros(8, 3)})


@pytest.mark.parametrize("by_vectors", [True, False])
@pytest.mark.parametrize("sampled", [None, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_end_in_one_sentence(
    by_vectors: bool, sampled: int | None, value: float
) -> None:
    dataset = make_dataset(10, 8, seed=7)
    user, item = make_vectors(dataset, seed=7)
    last = int(np.flatnonzero(dataset.test.user_degrees())[-1])
    user[last, 0] = value
    table = torch.zeros(10, 8)
    table[last, 0] = value
    model = (user, item) if by_vectors else TableModel(table)
    with pytest.raises(TrainingError, match=r"cannot rank: 1 of \d+ (user|score) rows") as caught:
        evaluate(model, dataset, sampled=sampled)
    assert "smaller lr" in (caught.value.hint or "")


def test_vectors_whose_scores_would_overflow_are_refused() -> None:
    dataset = make_dataset(10, 8, seed=7)
    with pytest.raises(TrainingError, match="may reach"):
        evaluate((torch.full((10, 2), 1e30), torch.full((8, 2), 1e30)), dataset)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_vectors_of_any_number_type_are_ranked(dtype: torch.dtype) -> None:
    dataset = make_dataset(10, 8, seed=7)
    user, item = make_vectors(dataset, 7)
    expected = evaluate((user, item), dataset, metrics=ALL, ks=[3])
    assert evaluate((user.to(dtype), item), dataset, metrics=ALL, ks=[3]).values == expected.values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "train"}, "unknown part 'train': choose test or valid"),
        ({"sampled": 0}, "sampled must be at least 1, got 0"),
        ({"sampled": 5, "sampled_seed": -1}, "seed"),
        ({"batch_users": 0}, "batch_users must be at least 1, got 0"),
        ({"metrics": ["NDGC"]}, "unknown metric"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    dataset = make_dataset(5, 5, seed=8)
    with pytest.raises(UsageError, match=message):
        evaluate(make_vectors(dataset, 8), dataset, **options)  # type: ignore[arg-type]


def test_a_part_without_pairs_is_refused() -> None:
    dataset = make_dataset(5, 5, seed=8)
    without = replace(dataset, valid=Pairs.empty(5, 5))
    with pytest.raises(DataError, match="no pairs in its valid part"):
        evaluate(make_vectors(dataset, 8), without, part="valid")


@pytest.mark.parametrize("by_vectors", [True, False])
def test_a_model_of_another_size_is_refused(by_vectors: bool) -> None:
    dataset = make_dataset(5, 5, seed=8)
    model = (torch.ones(5, 2), torch.ones(6, 2)) if by_vectors else TableModel(torch.ones(5, 6))
    with pytest.raises(UsageError, match=r"6 .*items"):
        evaluate(model, dataset)


def test_progress_is_told_after_every_block() -> None:
    dataset = make_dataset(20, 10, seed=9)
    told: list[tuple[int, int]] = []
    found = evaluate(
        make_vectors(dataset, 9), dataset, batch_users=4, on_block=lambda *at: told.append(at)
    )
    assert [total for _, total in told] == [found.n_users] * len(told)
    assert [done for done, _ in told] == [*range(4, found.n_users, 4), found.n_users]


# --- sampled negatives -----------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 8), st.integers(1, 30), st.integers(1, 20), st.integers(0, 10**6))
def test_negatives_are_distinct_and_unknown_and_all_there_are_when_scarce(
    n_users: int, n_items: int, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    known = Pairs.from_coo(
        *np.nonzero(rng.random((n_users, n_items)) < rng.random()), n_users, n_items
    )
    owners = np.sort(rng.integers(0, n_users, size=12))
    drawn = draw_absent(rows_of(known, np.arange(n_users)), owners, n_items, count, rng)
    assert drawn.shape == (12, count)
    for owner, row in zip(owners, drawn, strict=True):
        absent = np.setdiff1d(np.arange(n_items), known.of(owner))
        found = row[row >= 0]
        assert len(found) == min(count, len(absent))
        assert len(set(found.tolist())) == len(found)
        assert np.isin(found, absent).all()


@pytest.mark.parametrize(("n_items", "count"), [(9, 2), (9, 4), (9, 5)])
def test_every_absent_item_is_as_likely(n_items: int, count: int) -> None:
    """8 absent items; both ways of drawing. Chi-square with 7 degrees of freedom, p = 1e-6: 41."""
    rows, trials = (np.array([0, 1]), np.array([3], dtype=np.int32)), 20_000
    drawn = draw_absent(rows, np.zeros(trials, dtype=int), n_items, count, np.random.default_rng(0))
    counts = np.delete(np.bincount(drawn.ravel(), minlength=n_items), 3)
    expected = trials * count / 8
    # without replacement the counts vary less than multinomial ones: the bound is on the safe side
    assert ((counts - expected) ** 2 / expected).sum() < 41


def test_sampled_metrics_are_those_of_the_rank_among_the_negatives() -> None:
    """With more negatives asked for than there are, all are taken: the rank is known exactly."""
    dataset = make_dataset(40, 12, seed=11)
    user, item = make_vectors(dataset, seed=11)
    scores = (user @ item.T).numpy()
    found = evaluate((user, item), dataset, ks=[3], metrics=ALL, sampled=100)
    everything = [dataset.train, dataset.valid, dataset.test]
    for place, u in enumerate(found.users):
        known = np.concatenate([pairs.of(u) for pairs in everything])
        negatives = np.setdiff1d(np.arange(12), known)
        ranks = [(scores[u, negatives] >= scores[u, i]).sum() for i in dataset.test.of(u)]
        inside = np.array([rank < 3 for rank in ranks])
        rank = np.array(ranks, dtype=float)
        share = rank / len(negatives) if len(negatives) else rank
        expected = {
            "Recall@3": inside.mean(),
            "HR@3": inside.mean(),
            "Precision@3": inside.mean() / 3,
            "NDCG@3": (inside / np.log2(rank + 2)).mean(),
            "MRR@3": (inside / (rank + 1)).mean(),
            "MAP@3": (inside / (rank + 1)).mean(),
            "AUC": (1 - share).mean(),
        }
        values = {name: float(values[place]) for name, values in found.per_user.items()}
        assert values == pytest.approx(expected, abs=1e-12)


def test_the_seed_decides_the_negatives_and_the_protocol_names_both() -> None:
    dataset = make_dataset(50, 60, seed=12, density=0.2)
    vectors = torch.randn(50, 4), torch.randn(60, 4)
    first, again, other = (
        evaluate(vectors, dataset, sampled=9, sampled_seed=seed) for seed in (5, 5, 6)
    )
    assert first.values == again.values
    assert first.values != other.values
    assert first.protocol == "sampled, 9 negatives, seed 5"
    assert evaluate(vectors, dataset).protocol == "full ranking"


def test_a_users_negatives_do_not_depend_on_users_of_other_chunks() -> None:
    """One random stream for CHUNK_USERS users: the second chunk is the same whatever the first."""
    n_users, n_items = CHUNK_USERS + 20, 30
    user = torch.randn(n_users, 3, generator=torch.Generator().manual_seed(1))
    item = torch.randn(n_items, 3, generator=torch.Generator().manual_seed(2))
    late = np.arange(CHUNK_USERS, n_users)
    nothing = Pairs.empty(n_users, n_items)
    values = []
    for early in ([], [0, 3, 5]):
        users = np.array([*early, *late])
        test = Pairs.from_coo(users, users % n_items, n_users, n_items)
        dataset = Dataset("toy", "", n_users, n_items, nothing, nothing, test, [], [])
        found = evaluate((user, item), dataset, sampled=5, metrics=["AUC"])
        values.append(found.per_user["AUC"][len(early) :])
    np.testing.assert_array_equal(*values)


def test_two_chunks_have_two_streams() -> None:
    """Users that differ in their number only, CHUNK_USERS apart."""
    n_users, n_items = 2 * CHUNK_USERS, 30
    item = torch.randn(n_items, 3, generator=torch.Generator().manual_seed(2))
    nothing = Pairs.empty(n_users, n_items)
    users = np.array([0, 1, 2, CHUNK_USERS, CHUNK_USERS + 1, CHUNK_USERS + 2])
    test = Pairs.from_coo(users, users % CHUNK_USERS, n_users, n_items)
    dataset = Dataset("toy", "", n_users, n_items, nothing, nothing, test, [], [])
    found = evaluate((torch.ones(n_users, 3), item), dataset, sampled=9, metrics=["AUC"])
    assert found.per_user["AUC"][:3].tolist() != found.per_user["AUC"][3:].tolist()


def test_a_seed_means_the_same_negatives_in_every_version() -> None:
    """Figures of sampled evaluations are compared across years: the stream must not change."""
    rng = np.random.Generator(np.random.Philox(key=np.array([7, 0], dtype=np.uint64)))
    known = np.array([0, 2]), np.array([1, 4], dtype=np.int32)
    drawn = draw_absent(known, np.array([0, 0]), 9, 4, rng)
    assert drawn.tolist() == [[6, 2, 8, 5], [2, 7, 6, 0]]
    rng = np.random.Generator(np.random.Philox(key=np.array([7, 0], dtype=np.uint64)))
    drawn = draw_absent(known, np.array([0, 0]), 1000, 4, rng)
    assert drawn.tolist() == [[296, 406, 421, 872], [84, 297, 621, 697]]


def test_merged_rows_are_the_union() -> None:
    dataset = make_dataset(9, 7, seed=13)
    users = np.array([1, 2, 5, 8])
    indptr, items = merged_rows([dataset.train, dataset.valid, Pairs.empty(9, 7)], users)
    for row, user in enumerate(users):
        expected = np.union1d(dataset.train.of(user), dataset.valid.of(user))
        assert items[indptr[row] : indptr[row + 1]].tolist() == expected.tolist()


# --- writing --------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("TSV", "\t")])
def test_per_user_values_come_back_with_the_ids_of_the_data(
    tmp_path: Path, ending: str, separator: str
) -> None:
    dataset = make_dataset(12, 9, seed=14)
    ids = [f'user "{n}",\t{n}' for n in range(12)]
    dataset = replace(dataset, user_ids=ids)
    found = evaluate(make_vectors(dataset, 14), dataset, ks=[2, 3], metrics=["NDCG", "AUC"])
    path = write_per_user(found, dataset, tmp_path / f"users.{ending}")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=separator)
    assert header == ["user", "NDCG@2", "NDCG@3", "AUC"]
    assert [row[0] for row in rows] == [ids[user] for user in found.users]
    for column, name in enumerate(header[1:], start=1):
        assert [float(row[column]) for row in rows] == found.per_user[name].tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_per_user_values_have_a_known_ending_and_a_place(tmp_path: Path) -> None:
    dataset = make_dataset(5, 5, seed=8)
    found = evaluate(make_vectors(dataset, 8), dataset)
    with pytest.raises(UsageError, match=r"\.xls"):
        write_per_user(found, dataset, tmp_path / "users.xls")
    with pytest.raises(RunError, match="cannot be written"):
        write_per_user(found, dataset, tmp_path / "missing" / "users.csv")


def test_the_result_is_plain_data() -> None:
    dataset = make_dataset(5, 5, seed=8)
    found = evaluate(make_vectors(dataset, 8), dataset, metrics=["HR@2"])
    assert found.to_dict() == {
        "part": "test",
        "protocol": "full ranking",
        "users": found.n_users,
        "users_skipped": found.n_skipped,
        "metrics": {"HR@2": found.values["HR@2"]},
    }
