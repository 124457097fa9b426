"""Text of data files is shown, not obeyed: on terminals, in errors, in tables and in figures."""

from __future__ import annotations

import io
import json

import pytest
from support.cli_runner import advrec

from advrec.data import load_dataset
from advrec.errors import AdvrecError, DataError
from advrec.report.table import Column, Table
from advrec.visible import UNSAFE, in_json, listed, quoted, sentence, visible
from advrec_cli import console

EVIL = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\x9b31m\u202eevil\x7f"
SHOWN = r"\x1b[2J\x1b]0;owned\x07[red]x[/red]\x9b31m\u202eevil\x7f"


def unsafe(text: str) -> set[str]:
    return set(UNSAFE.findall(text)) - {"\n"}


@pytest.fixture
def evil(tmp_path):
    """A table whose ids and item names are sequences for a terminal."""
    rows = [f"u{k % 7}{EVIL},i{k % 5}{EVIL}\n" for k in range(35)]
    (tmp_path / "d.csv").write_text("user,item\n" + "".join(rows))
    names = [f"i{k}{EVIL}\tname {k} {EVIL}\n" for k in range(5)]
    (tmp_path / "names.tsv").write_text("".join(names))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u2066\u2028\u200e\ufeff\ud800\U000e0041", r"\u2066\u2028\u200e\ufeff\ud800\U000e0041"),
        ("naïve 日本語 👩‍💻 می‌خواهم λ", "naïve 日本語 👩‍💻 می‌خواهم λ"),
    ],
)
def test_unsafe_characters_are_shown_by_their_numbers(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_no_control_character_is_left_out():
    for code in [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]:
        assert not unsafe(visible(chr(code))), hex(code)


def test_json_is_plain_on_the_screen_and_exact_for_a_program():
    document = {"a": EVIL + "\ud800\U000e0001é\n"}
    text = in_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert not unsafe(text)
    assert "é" in text
    assert json.loads(text) == document


@pytest.mark.parametrize("terminal", [True, False])
def test_every_way_to_print_shows_text_as_text(terminal, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "400")
    console.note(EVIL)
    console.show(EVIL)
    console.facts([(EVIL, EVIL)], title=EVIL)
    console.show_report(Table(EVIL, (Column(EVIL), Column("n")), ((EVIL, 1.0),), (EVIL,)))
    console.stdout().print(EVIL, markup=False)  # whatever forgets to ask
    rows = console.table([console.escaped(EVIL)])
    rows.add_row(console.escaped(EVIL))
    console.show(rows)
    text = screen.getvalue()
    assert not unsafe(text)
    assert text.count(SHOWN) >= 9


def test_data_inspect_shows_ids_as_text(evil):
    result = advrec("data", "inspect", evil / "d.csv")
    assert result.code == 0
    assert SHOWN in result.out
    assert not unsafe(result.out + result.err)
    exact = advrec("data", "inspect", evil / "d.csv", "--json")
    assert EVIL in exact.json()["first_users"][0]
    assert not unsafe(exact.out)


def test_recommend_shows_items_and_names_as_text(evil):
    data = ["--data", evil / "d.csv", "--item-names", evil / "names.tsv"]
    trained = advrec(
        "pretrain", *data, "--epochs", 1, "--dim", 4, "--threads", 1, "--runs-dir", evil / "runs"
    )
    assert trained.code == 0, trained.err
    assert not unsafe(trained.out + trained.err)
    words = ["recommend", "--user", f"u0{EVIL}", "-k", 2, "--runs-dir", evil / "runs"]
    result = advrec(*words, env={"COLUMNS": "400"})
    assert result.code == 0, result.err
    assert f"For u0{SHOWN}" in result.out
    assert f"name {0}" in result.out or "name" in result.out
    assert not unsafe(result.out + result.err)
    exact = advrec(*words, "--json").json()
    assert exact["users"][0]["user"] == f"u0{EVIL}"
    vectors = evil / "v.csv"
    assert advrec("export", "--out", vectors, "--runs-dir", evil / "runs").code == 0
    assert EVIL in vectors.read_bytes().decode()


def test_an_error_is_one_visible_line_with_little_of_the_file(tmp_path):
    long = "Q" * 100_000
    for content in (
        f"user,item\nu,i\n{long}\n",
        f"{long},item2\na,b\nc,d\n",
        ",".join(["Q" * 30] * 300) + "\n" + ",".join(["a"] * 300) + "\n",
        f'user,item\n"{long}\n',
        f"user,item,rating\na,b,{long}\nc,d,2\n",
        f"user,item,timestamp\na,b,{EVIL}\nc,d,{EVIL}\n",
        f'{{"user": "{long}", "item": {{}}}}\n',
    ):
        path = tmp_path / "bad.csv"
        path.write_text(content)
        with pytest.raises(AdvrecError) as caught:
            load_dataset(str(path))
        text = f"{caught.value} {caught.value.hint or ''}"
        assert not unsafe(text)
        assert "\n" not in str(caught.value)
        assert text.count("Q") <= 200, text


def test_errors_of_the_library_show_what_they_quote():
    error = DataError(f"the id {EVIL} is odd", path="x", line=3, hint=EVIL)
    assert str(error) == f"x:3: the id {SHOWN} is odd"
    assert error.hint == SHOWN
    assert len(sentence("x" * 10_000)) <= 600
    assert sentence(f"a {'b' * 500!r} c") == f"a '{'b' * 79}…' c"


def test_quotes_and_lists_have_an_end():
    assert quoted(10**5000) == "a number of more than 80 digits"
    assert quoted([10**5000]) == "a list that is too long to show"
    assert quoted("x" * 99, 10) == "'xxxxxxxxx…'"
    assert listed(["a", "b"]) == "'a', 'b'"
    assert len(listed(["q" * 999] * 999)) < 250


def test_a_markdown_table_holds_text_only():
    text = Table("t", (Column("a|b"),), ((f"<script>alert(1)</script>{EVIL}",),)).to_markdown()
    assert not unsafe(text)
    assert "\\<script>" in text
    assert SHOWN in text
    table = Table("t", (Column("a"),), ((EVIL,),))
    assert json.loads(table.to_json())["rows"] == [{"a": EVIL}]


def test_a_figure_holds_text_only(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    from advrec.report.figures import Line, training_plot

    odd = "$\\frac{x$ <b>" + EVIL + "q" * 5000
    lines = [Line(odd, [1, 2], [0.1, 0.2]), Line("b", [1, 2], [0.2, 0.3])]
    path = training_plot({odd: lines}, tmp_path / "f.svg", {odd: 1.5})
    text = path.read_text()
    assert not unsafe(text)
    assert "<b>" not in text
