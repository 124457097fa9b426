"""What a command imports: looking around needs neither torch nor numpy, nor any other command."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.cli_runner import advrec, write_ratings

from advrec_cli.main import COMMANDS, Commands

HEAVY = ("torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "safetensors")


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports")
    ratings = write_ratings(folder / "ratings.csv")
    made = advrec("pretrain", "--data", ratings, "--epochs", 1, "--runs-dir", folder / "runs",
                  "--name", "first")  # fmt: skip
    assert made.code == 0, made.err
    return folder / "runs"


def _imported(*words: object) -> set[str]:
    """The modules of a process that ran `advrec WORDS` with success."""
    code = (
        "import sys; from advrec_cli.main import main\n"
        f"code = main({[str(word) for word in words]!r})\n"
        "sys.stderr.write('\\n'.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split("\n"))


def _commands(modules: set[str]) -> set[str]:
    """The commands among them."""
    return {
        name for name, entry in COMMANDS.items() if f"advrec_cli.commands.{entry.module}" in modules
    }


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("--version", "doctor"),
        ("data list", "data"),
        ("data list --json", "data"),
        ("runs", "runs"),
        ("runs --json", "runs"),
        ("runs first", "runs"),
        ("runs first --json", "runs"),
    ],
)
def test_looking_around_imports_nothing_heavy_and_no_other_command(words, command, runs_dir):
    where = ["--runs-dir", runs_dir] if command == "runs" else []
    modules = _imported(*words.split(), *where)
    assert not modules & set(HEAVY)
    assert _commands(modules) == {command}


BELOW_DATA = [f"data {name}" for name in Commands()["data"].commands]


@pytest.mark.parametrize("words", [*COMMANDS, *BELOW_DATA])
def test_the_help_of_a_command_imports_nothing_heavy(words):
    modules = _imported(*words.split(), "--help")
    assert not modules & set(HEAVY)
    # pretrain and adv-train end with what `runs` shows
    assert _commands(modules) <= {words.split()[0], "runs"}


def test_the_help_of_advrec_imports_every_command_and_nothing_heavy():
    modules = _imported("--help")
    assert not modules & set(HEAVY)
    assert _commands(modules) == set(COMMANDS)
