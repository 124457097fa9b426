"""Metrics against trec_eval, against sums done by hand, and against what they may never do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.errors import UsageError
from advrec.evaluation import metrics as m

KS = (1, 2, 5, 10)
AT_K = tuple(m.AT_K)
UNHURRIED = settings(deadline=None)


def at(name: str, k: int, hits: list[int], n_relevant: int) -> float:
    spec = m.MetricSpec(name, k)
    values = m.per_user(np.array([hits], dtype=bool), np.array([n_relevant]), [spec])
    return float(values[str(spec)][0])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Lists of hits of one length, with as many relevant items as hits or more."""
    n_users, length = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    row = st.lists(st.booleans(), min_size=length, max_size=length)
    hits = np.array(draw(st.lists(row, min_size=n_users, max_size=n_users)), dtype=bool)
    missed = draw(st.lists(st.integers(0, 5), min_size=n_users, max_size=n_users))
    return hits, hits.sum(axis=1) + np.array(missed)


@pytest.mark.parametrize(
    ("name", "k", "hits", "n_relevant", "expected"),
    [
        ("Recall", 3, [1, 0, 1, 1], 4, 2 / 4),
        ("Precision", 3, [1, 0, 1, 1], 4, 2 / 3),
        ("Precision", 3, [1, 0, 0, 0], 1, 1 / 3),  # over K, though one relevant item is all
        ("HR", 2, [0, 1, 1, 0], 2, 1.0),
        ("HR", 1, [0, 1, 1, 0], 2, 0.0),
        ("MRR", 4, [0, 0, 1, 1], 2, 1 / 3),
        ("MRR", 2, [0, 0, 1, 1], 2, 0.0),
        ("MAP", 4, [1, 0, 1, 0], 2, (1 / 1 + 2 / 3) / 2),
        ("MAP", 2, [1, 0, 1, 0], 5, (1 / 1) / 2),  # the best possible has min(5, 2) hits
        ("NDCG", 3, [0, 1, 0, 1], 1 + 1, (1 / math.log2(3)) / (1 + 1 / math.log2(3))),
        ("NDCG", 1, [1, 0], 9, 1.0),  # the ideal list is cut at K as well
        ("Recall", 5, [1, 0], 1, 1.0),  # a catalogue of two items
    ],
)
def test_a_metric_is_its_formula(
    name: str, k: int, hits: list[int], n_relevant: int, expected: float
) -> None:
    assert at(name, k, hits, n_relevant) == pytest.approx(expected, rel=1e-15)


@UNHURRIED
@given(rankings())
def test_metrics_equal_trec_eval(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    """What trec_eval means by these names, and where that differs:

    - map_cut_K divides by |relevant|, MAP@K by min(|relevant|, K): rescaled here;
    - recip_rank has no cut-off: a first hit beyond K is set to 0 here;
    - recall, P, ndcg_cut and success are the same as ours;
    - a user without relevant items is not in its result at all.
    """
    pytrec_eval = pytest.importorskip("pytrec_eval")
    hits, n_relevant = ranking
    qrel, run = {}, {}
    for user, row in enumerate(hits):
        found = {f"i{rank}": 1 for rank in np.flatnonzero(row)}
        absent = {f"x{n}": 1 for n in range(n_relevant[user] - len(found))}
        if found or absent:
            qrel[str(user)] = {**found, **absent}
        run[str(user)] = {f"i{rank}": float(len(row) - rank) for rank in range(len(row))}
    cuts = ",".join(map(str, KS))
    measures = {f"{name}.{cuts}" for name in ("recall", "P", "ndcg_cut", "map_cut", "success")}
    theirs = pytrec_eval.RelevanceEvaluator(qrel, measures | {"recip_rank"}).evaluate(run)
    ours = m.per_user(hits, n_relevant, [m.MetricSpec(name, k) for name in AT_K for k in KS])

    for user in range(len(hits)):
        if not n_relevant[user]:
            assert str(user) not in theirs
            assert all(np.isnan(values[user]) for values in ours.values())
            continue
        their = theirs[str(user)]
        first = their["recip_rank"]
        for k in KS:
            expected = {
                "Recall": their[f"recall_{k}"],
                "Precision": their[f"P_{k}"],
                "HR": their[f"success_{k}"],
                "NDCG": their[f"ndcg_cut_{k}"],
                "MRR": first if first >= 1 / k else 0.0,
                "MAP": their[f"map_cut_{k}"] * n_relevant[user] / min(n_relevant[user], k),
            }
            for name, value in expected.items():
                assert ours[f"{name}@{k}"][user] == pytest.approx(value, abs=1e-12), (name, k)


@UNHURRIED
@given(rankings(), st.sampled_from(AT_K), st.integers(1, 15))
def test_values_lie_between_0_and_1(
    ranking: tuple[np.ndarray, np.ndarray], name: str, k: int
) -> None:
    (values,) = m.per_user(*ranking, [m.MetricSpec(name, k)]).values()
    defined = values[ranking[1] > 0]
    assert ((defined >= 0) & (defined <= 1 + 1e-12)).all()


@UNHURRIED
@given(rankings(), st.sampled_from(["Recall", "HR", "MRR"]), st.integers(1, 12))
def test_a_longer_list_never_lowers_recall_hr_and_mrr(
    ranking: tuple[np.ndarray, np.ndarray], name: str, k: int
) -> None:
    shorter, longer = m.per_user(*ranking, [m.MetricSpec(name, n) for n in (k, k + 1)]).values()
    defined = ranking[1] > 0
    assert (longer[defined] >= shorter[defined]).all()


@pytest.mark.parametrize("name", [name for name in AT_K if name != "Precision"])
@pytest.mark.parametrize("n_relevant", [1, 3, 10, 25])
def test_a_perfect_list_scores_exactly_1(name: str, n_relevant: int) -> None:
    k = 10
    hits = [1] * min(n_relevant, k) + [0] * (k - min(n_relevant, k))
    expected = min(n_relevant, k) / n_relevant if name == "Recall" else 1.0
    assert at(name, k, hits, n_relevant) == expected


@pytest.mark.parametrize("name", AT_K)
def test_a_user_without_relevant_items_has_no_value(name: str) -> None:
    assert math.isnan(at(name, 3, [0, 0, 0], 0))


def test_a_block_of_no_users_has_no_values() -> None:
    hits, n_relevant = np.zeros((0, 5), dtype=bool), np.zeros(0, dtype=int)
    (values,) = m.per_user(hits, n_relevant, [m.MetricSpec("NDCG", 5)]).values()
    assert values.shape == (0,)


@pytest.mark.parametrize(
    ("hits", "n_relevant"), [(np.ones((1, 3), bool), [2]), (np.ones((2, 3), bool), [3])]
)
def test_hits_that_cannot_be_are_refused(hits: np.ndarray, n_relevant: list[int]) -> None:
    with pytest.raises(ValueError, match="hits"):
        m.RankedHits.from_hits(hits, np.array(n_relevant))


@UNHURRIED
@given(st.data())
def test_auc_is_the_share_of_pairs_in_the_right_order(data: st.DataObject) -> None:
    score = st.integers(0, 4)  # few values: many ties
    users = data.draw(
        st.lists(st.tuples(st.lists(score, max_size=4), st.lists(score, max_size=5)), max_size=5)
    )
    above, indptr, n_negatives, expected = [], [0], [], []
    for relevant, negative in users:
        above += [sum(n >= r for n in negative) for r in relevant]
        indptr.append(len(above))
        n_negatives.append(len(negative))
        pairs = [float(r > n) for r in relevant for n in negative]
        nothing_wrong = 1.0 if relevant else math.nan
        expected.append(sum(pairs) / len(pairs) if pairs else nothing_wrong)
    values = m.auc(np.array(above, int), np.array(indptr), np.array(n_negatives, int))
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NDCG@20", ("NDCG", 20)),
        (" ndcg@5 ", ("NDCG", 5)),
        ("recall@100", ("Recall", 100)),
        ("Hr@1", ("HR", 1)),
        ("auc", ("AUC", None)),
    ],
)
def test_metric_names_are_read_in_any_case(text: str, expected: tuple[str, int | None]) -> None:
    spec = m.parse_metric(text)
    assert spec == expected
    assert m.parse_metric(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("NDGC@20", "unknown metric 'NDGC': choose from Recall", "did you mean 'NDCG'?"),
        ("accuracy@1", "unknown metric 'accuracy': choose from Recall", ""),
        ("", "unknown metric '': choose from Recall", ""),
        ("NDCG", "needs a cut-off", "NDCG@20"),
        ("AUC@10", "no cut-off", "AUC"),
        *((f"HR@{k}", "whole number", "HR@20") for k in ("", "0", "-1", "1.5", "x", "²", "9" * 99)),
    ],
)
def test_a_wrong_metric_is_refused_with_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        m.parse_metric(text)
    assert hint in (caught.value.hint or "")


def test_names_without_a_cut_off_are_taken_at_each_k() -> None:
    specs = m.metric_specs(["recall", "NDCG@10", "AUC", "Recall@5"], [5, 10])
    assert [str(spec) for spec in specs] == ["Recall@5", "Recall@10", "NDCG@10", "AUC"]


@pytest.mark.parametrize(
    ("metrics", "ks"), [([], [5]), (["NDCG"], []), (["NDCG"], [0]), (["x"], [5]), (["NDCG"], [2.5])]
)
def test_nothing_to_measure_is_refused(metrics: list[str], ks: list[int]) -> None:
    with pytest.raises(UsageError):
        m.metric_specs(metrics, ks)
