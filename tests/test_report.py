"""Tables and figures: nothing lost on the way to JSON, nothing unreadable in Markdown."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advrec.errors import RunError, UsageError
from advrec.evaluation.evaluate import Evaluation
from advrec.report.evaluation import comparison_table, evaluation_table
from advrec.report.figures import Line, robustness_plot, training_plot
from advrec.report.robustness import Attacked, Curve, attack_curve, attack_curves, attack_tables
from advrec.report.stats import compare
from advrec.report.table import Column, Table, write_tables
from advrec.robustness.attack import AttackResult
from advrec.robustness.perturb import Budget
from advrec.robustness.search import Plan

SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}


def make_evaluation(**values: float) -> Evaluation:
    named = {name.replace("_", "@"): value for name, value in values.items()}
    return Evaluation(named, 1200, 0, {}, np.zeros(0, dtype=np.int64), "full ranking", "test")


def make_curves() -> list[Curve]:
    eps = (0.5, 1.0, 2.0)
    loses = {"random": (0.0, 0.05, 0.1), "adversarial": (0.1, 0.3, 0.7)}
    return [
        Curve(model, training, noise, 0.5, eps, tuple(0.5 * (1 - x) for x in loses[noise]))
        for model in ("MF", "LightGCN")
        for training in ("pretrained", "adversarially trained")
        for noise in ("random", "adversarial")
    ]


# --- tables -----------------------------------------------------------------------------------


def test_markdown_is_aligned_with_numbers_to_the_right() -> None:
    table = Table(
        "A | B",
        (Column("model"), Column("NDCG@20"), Column("lost", ".1%"), Column("users")),
        (("MF|1", 0.12345, 0.5, 12345), ("LightGCN", math.nan, None, 7)),
        ("A note.",),
    )
    assert table.to_markdown() == (
        "**A \\| B**\n"
        "\n"
        "| model    | NDCG@20 |  lost |  users |\n"
        "| -------- | ------: | ----: | -----: |\n"
        "| MF\\|1    |  0.1235 | 50.0% | 12,345 |\n"
        "| LightGCN |       – |     – |      7 |\n"
        "\n"
        "A note.\n"
    )


def test_json_keeps_every_digit_and_is_free_of_nan() -> None:
    columns = (Column("model"), Column("a"), Column("b"), Column("c"))
    table = Table("T", columns, (("MF", 1 / 3, math.nan, math.inf),), ("n",))
    assert json.loads(table.to_json()) == {
        "title": "T",
        "columns": ["model", "a", "b", "c"],
        "rows": [{"model": "MF", "a": 1 / 3, "b": None, "c": None}],
        "notes": ["n"],
    }


def test_a_table_without_rows_is_still_a_table() -> None:
    table = Table("T", (Column("model"), Column("HR@5")), ())
    assert table.to_markdown() == "**T**\n\n| model | HR@5 |\n| ----- | ---- |\n"


def test_rows_fit_their_columns() -> None:
    with pytest.raises(ValueError, match="3 cells under 2"):
        Table("T", (Column("a"), Column("b")), ((1, 2, 3),))


@pytest.mark.parametrize("name", ["table.md", "table.JSON"])
def test_a_table_is_written_by_its_ending(tmp_path: Path, name: str) -> None:
    table = Table("T", (Column("ε"),), ((0.5,),))
    path = table.write(tmp_path / name)
    text = path.read_text(encoding="utf-8")
    assert text == (table.to_markdown() if name.endswith("md") else table.to_json())
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    table = Table("T", (Column("a"),), ((1,),))
    with pytest.raises(UsageError, match=r"table\.html must end in \.md or") as caught:
        table.write(tmp_path / "table.html")
    assert str(tmp_path / "table.md") in (caught.value.hint or "")
    with pytest.raises(RunError, match="cannot be written"):
        table.write(tmp_path / "missing" / "table.md")
    text = write_tables([table, table], tmp_path / "two.md").read_text()
    assert text == f"{table.to_markdown()}\n{table.to_markdown()}"


def test_an_evaluation_table_says_how_it_was_measured() -> None:
    skipped = replace(make_evaluation(HR_5=0.25, AUC=0.75), n_skipped=34)
    table = evaluation_table({"MF": skipped})
    assert [column.name for column in table.columns] == ["model", "HR@5", "AUC"]
    assert table.rows == (("MF", 0.25, 0.75),)
    assert table.notes == (
        "test part, full ranking, 1,200 users (34 without relevant items left out).",
    )


def test_rows_measured_differently_are_never_shown_as_comparable() -> None:
    full = make_evaluation(HR_5=0.25)
    sampled = replace(full, protocol="sampled, 99 negatives, seed 0")
    same = evaluation_table({"A": full, "B": full})
    assert len(same.notes) == 1
    mixed = evaluation_table({"A": full, "B": sampled, "C": full})
    assert "must not be compared" in mixed.notes[0]
    assert mixed.notes[1:] == (
        "A, C: test part, full ranking, 1,200 users.",
        "B: test part, sampled, 99 negatives, seed 0, 1,200 users.",
    )


def test_nothing_can_be_lost_of_nothing() -> None:
    assert math.isnan(Curve("MF", "BPR", "random", 0.0, (0.5,), (0.0,)).lost[0])
    (table,) = attack_tables([Attacked("MF", "mf", [make_attack(0.5, 0.0, clean=0.0)])])
    assert table.to_markdown().splitlines()[4].endswith("|    – |")


def test_a_curve_is_as_long_as_its_eps() -> None:
    with pytest.raises(ValueError, match="2 of attacked"):
        Curve("MF", "BPR", "random", 0.5, (0.5,), (0.4, 0.3))


def make_attack(
    eps: float, value: float, site: str = "ego", noise: str = "adversarial", clean: float = 0.5
) -> AttackResult:
    return AttackResult(
        plan=Plan(noise, site, "row"),
        eps=eps,
        budget=Budget(norm="row", absolute=eps, relative=eps / 2, rows=10, largest_row=eps),
        clean_loss=0.1,
        attacked_loss=0.2,
        clean=make_evaluation(HR_5=clean),
        attacked=make_evaluation(HR_5=value),
    )


def test_attacks_become_a_curve_in_the_order_of_eps() -> None:
    curve = attack_curve(
        [make_attack(1.0, 0.2), make_attack(0.5, 0.4)], "HR@5", model="MF", training="BPR"
    )
    assert curve == Curve("MF", "BPR", "adversarial", 0.5, (0.5, 1.0), (0.4, 0.2))
    assert curve.lost == pytest.approx((0.2, 0.6))
    with pytest.raises(UsageError, match="NDCG@20"):
        attack_curve([make_attack(1.0, 0.2)], "NDCG@20", model="MF", training="BPR")
    with pytest.raises(UsageError, match="at least one attack"):
        attack_curve([], "HR@5", model="MF", training="BPR")


def test_an_attack_table_has_a_row_for_each_noise_and_names_its_sites() -> None:
    first = Attacked("A", "mf", [make_attack(1.0, 0.4, noise="random"), make_attack(1.0, 0.6)])
    (table,) = attack_tables([first])
    names = [column.name for column in table.columns]
    assert names == ["run", "noise", "ε", "budget", "relative", "clean", "attacked", "lost"]
    assert table.rows[0] == ("A", "random", 1.0, 1.0, 0.5, 0.5, 0.4, pytest.approx(0.2))
    assert table.rows[1][-1] == pytest.approx(-0.2)  # a gain
    assert table.notes[0] == "test part, full ranking, 1,200 users; noise at ego (row)."
    (both,) = attack_tables([first, Attacked("B", "mf", [make_attack(1.0, 0.5, site="final")])])
    assert [row[:2] for row in both.rows] == [("A", "ego"), ("A", "ego"), ("B", "final")]
    assert "noise at ego (row) or final (row)" in both.notes[0]
    assert both.to_markdown().splitlines()[6].endswith(" 0.0% |")  # not -0.0%


def test_each_site_and_noise_is_a_curve_of_its_own() -> None:
    results = [
        make_attack(1.0, value, site, noise)
        for site, noise, value in (("ego", "adversarial", 0.1), ("ego", "random", 0.4),
                                   ("final", "adversarial", 0.2))
    ]  # fmt: skip
    curves = attack_curves([Attacked("A", "mf", results)], "HR@5")
    assert [(c.training, c.noise, c.attacked) for c in curves] == [
        ("A, ego", "random", (0.4,)),
        ("A, ego", "adversarial", (0.1,)),
        ("A, final", "adversarial", (0.2,)),
    ]
    (alone,) = attack_curves([Attacked("A", "mf", results[:1])], "HR@5")
    assert alone.training == "A"


def test_a_comparison_becomes_a_table_that_says_which_is_which() -> None:
    table = comparison_table({"HR@5": compare([0.2, 0.3], [0.1, 0.25])}, ("APR", "BPR"), "T")
    assert table.rows[0][:4] == ("HR@5", 0.25, pytest.approx(0.175), pytest.approx(0.075))
    assert table.notes[0].startswith("A: APR; B: BPR;")
    assert "+0.0750" in table.to_markdown()


# --- figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", list(SIGNATURES))
def test_figures_are_written_in_the_format_of_their_ending(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    robust = robustness_plot(make_curves(), "NDCG@20", tmp_path / f"robust.{ending}")
    trained = training_plot({"loss": [Line("BPR", [1, 2], [0.7, 0.6])]}, tmp_path / f"t.{ending}")
    for path in (robust, trained):
        assert path.read_bytes().startswith(SIGNATURES[ending])
    assert sorted(tmp_path.iterdir()) == sorted([robust, trained])


def test_the_same_results_draw_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for ending in SIGNATURES:
        paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
        first, second = (robustness_plot(make_curves(), "HR@5", p).read_bytes() for p in paths)
        assert first == second


def test_a_robustness_figure_draws_every_curve_from_the_clean_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Read back from the figure itself: panels, lines, their styles, and where they begin."""
    figure_module = pytest.importorskip("matplotlib.figure")
    drawn = []
    save = figure_module.Figure.savefig
    monkeypatch.setattr(
        figure_module.Figure,
        "savefig",
        lambda fig, *a, **k: (drawn.append(fig), save(fig, *a, **k)),
    )
    curves = make_curves()
    curves[0] = replace(curves[0], low=(0.4, 0.4, 0.3), high=(0.55, 0.5, 0.5))
    robustness_plot(curves, "NDCG@20", tmp_path / "robust.png")
    above, below = drawn[0].axes[:2], drawn[0].axes[2:]
    assert [axis.get_title(loc="left") for axis in above] == ["MF", "LightGCN"]
    assert above[0].get_ylabel() == "NDCG@20"
    for upper, lower, model in zip(above, below, ("MF", "LightGCN"), strict=True):
        of_model = [curve for curve in curves if curve.model == model]
        for curve, line, lost in zip(of_model, upper.lines, lower.lines, strict=False):
            assert line.get_xdata().tolist() == [0, *curve.eps]
            assert line.get_ydata().tolist() == [curve.clean, *curve.attacked]
            assert lost.get_ydata().tolist() == [0, *curve.lost]
            assert line.get_linestyle() == ("--" if curve.noise == "random" else "-")
        colours = {line.get_color() for line in upper.lines}
        assert len(colours) == 2
    assert len(above[0].collections) == len(below[0].collections) == 1
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels[:2] == ["pretrained", "adversarially trained"]
    assert set(labels[2:]) == {"random noise", "adversarial noise"}


def test_figures_of_nothing_or_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one curve"):
        robustness_plot([], "HR@5", tmp_path / "a.png")
    with pytest.raises(UsageError, match="at least one line"):
        training_plot({"loss": []}, tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"\.jpg"):
        robustness_plot(make_curves(), "HR@5", tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_matplotlib_is_said_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="need matplotlib") as caught:
        robustness_plot(make_curves(), "HR@5", tmp_path / "a.png")
    assert "pip install" in (caught.value.hint or "")
