"""Numbers, names and paths that no option takes: exit code 2 and one sentence, before any work."""

from __future__ import annotations

import pytest
from support.cli_runner import advrec

from advrec.data import DataConfig
from advrec.errors import ConfigError
from advrec.options import place
from advrec_cli.values import BadValue, number, whole_number

LONG = "9" * 5000
NAME = "x" * 300

CASES = {
    "pretrain --dim 1_000": "--dim must be a whole number, got '1_000'",
    "pretrain --dim ²": "--dim must be a whole number, got '²'",
    "pretrain --dim ٣": "--dim must be a whole number, got '٣'",
    "pretrain --dim 0": "--dim must be at least 1, got 0",
    "pretrain --dim 2000000": "--dim must be at most 1048576, got 2e+06",
    "pretrain --layers 101": "--layers must be at most 100, got 101",
    f"pretrain --layers {10**30}": "--layers must be a whole number of at most 2147483647",
    f"pretrain --layers {LONG}": "--layers must be a whole number of at most 2147483647",
    f"pretrain --eval-every {2**31}": "--eval-every must be a whole number of at most 2147483647",
    f"pretrain --seed {2**63}": "--seed must be a whole number of at most 9223372036854775807",
    f"pretrain --seed {LONG}": "--seed must be a whole number of at most 9223372036854775807",
    "pretrain --lr 1e999": "--lr must be a finite number, got '1e999'",
    "pretrain --lr 1_0": "--lr must be a number, got '1_0'",
    "pretrain --reg nan": "--reg must be a finite number, got 'nan'",
    "pretrain --reg 1e39": "--reg must be at most 1e+38, got 1e+39",
    f"pretrain --name {NAME}": "--name must be a path with parts of at most 255 bytes",
    f"pretrain --name {LONG}": "--name must be at most 4096 characters",
    f"pretrain --user-col {LONG}": "--user-col must be at most 4096 characters",
    f"pretrain --runs-dir {NAME}": "--runs-dir must be a path with parts of at most 255 bytes",
    f"pretrain --resume {NAME}": "--resume must be a path with parts of at most 255 bytes",
    "attack --noise ''": "--noise must be text that is not empty",
    "attack --noise ,": "--noise must name at least one value, got ','",
    "attack --eps ''": "--eps must be text that is not empty",
    "attack --eps ,": "--eps must name at least one value, got ','",
    "attack --eps 1,1_0": "--eps must be a number, got '1_0'",
    f"attack -k {2**31}": "-k must be a whole number of at most 2147483647",
    f"attack -k {LONG[:4000]}": "-k must be a whole number of at most 2147483647",
    "attack -k 1_000": "-k must be a whole number, got '1_000'",
    "attack --plot /": "--plot must be a path with a name at its end, got '/'",
    f"eval --sampled {2**63}": "--sampled must be a whole number of at most 2147483647",
    f"eval {NAME}": "argument RUN must be a path with parts of at most 255 bytes",
    "eval --out ..": "--out must be a path with a name at its end, got '..'",
    "export --out /": "--out must be a path with a name at its end, got '/'",
    "recommend --user u -k 1e3": "-k must be a whole number, got '1e3'",
    "data synth / --users 10": "argument OUT must be a path with a name at its end, got '/'",
    "data synth x --items 2147483647": "items must be at most 20,000,000 for 200,000 pairs",
    f"data synth x --items {10**30}": "--items must be a whole number of at most 2147483647",
}


def split(line: str) -> list[str]:
    return ["" if word == "''" else word for word in line.split()]


@pytest.mark.parametrize("line", CASES, ids=lambda line: line[:40])
def test_it_is_refused_in_a_sentence(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = advrec(*split(line))
    assert result.code == 2, result.err
    assert result.err.startswith(f"error: {CASES[line]}"), result.err
    assert len(result.err) < 400
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("-3", -3), ("+7", 7), ("007", 7), (str(2**31 - 1), 2**31 - 1)]
)
def test_plain_whole_numbers_are_read(text, value):
    assert whole_number(text) == value


@pytest.mark.parametrize("text", ["1", "-1.5", ".5", "1.", "1e-8", "+2E3"])
def test_plain_numbers_are_read(text):
    assert number(text) == float(text)


@pytest.mark.parametrize("text", ["", " ", "0x10", "1,5", "1 0", "१", "1e", "--1", "inf", "1e400"])
def test_other_words_are_no_numbers(text):
    with pytest.raises(BadValue):
        number(text)
    with pytest.raises(BadValue):
        whole_number(text)


@pytest.mark.parametrize("separator", ["\\r", "\\n", "\r", "\n", "  ", "\t\t", '"', ',"', "x" * 17])
def test_what_cannot_separate_columns_is_refused(separator):
    with pytest.raises(ConfigError, match="separator in the data options must be"):
        DataConfig.of("x", separator=separator)


@pytest.mark.parametrize("separator", [" ", "\t", "\\t", "tab", "::", ",", "|", "e"])
def test_other_separators_are_taken(separator):
    assert DataConfig.of("x", separator=separator).separator == separator


@pytest.mark.parametrize("column", ["²", "٣", LONG[:4096], "0", "-1", "3"])
@pytest.mark.parametrize("first", ["user,item\n", ""])
def test_a_column_is_a_name_or_a_plain_number(tmp_path, column, first):
    path = tmp_path / "t.csv"
    path.write_text(f"{first}a,b\nc,d\na,d\n")
    result = advrec("data", "inspect", path, "--user-col", column)
    assert result.code == 3, result.err
    assert "bug" not in result.err
    assert len(result.err) < 500


@pytest.mark.parametrize("text", ["a\0b", "x" * 256, "é" * 128, "a/" + "x" * 256, "\udcff"])
def test_a_place_is_one_that_the_system_can_have(text):
    with pytest.raises(ValueError, match=r"path|UTF-8"):
        place(text)
