"""`--help` teaches, is fast, and says what is true."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from support.cli_runner import advrec

from advrec.choices import OPTIMIZERS
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.data import DataConfig
from advrec.models import MODELS
from advrec_cli.main import app
from advrec_cli.settings import BY_FIELD, SETTINGS


def _tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group below `command`, by the words that lead to it."""
    for name, below in getattr(command, "commands", {}).items():
        yield (*path, name), below
        yield from _tree(below, (*path, name))


COMMANDS = [words for words, _ in _tree(typer.main.get_command(app))]
LEAVES = [w for w, below in _tree(typer.main.get_command(app)) if not hasattr(below, "commands")]
COMPUTING = ["pretrain", "adv-train", "attack", "eval"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_examples_of_itself(words):
    shown = advrec(*words, "--help")
    assert shown.code == 0
    assert shown.err == ""
    _, _, examples = shown.out.partition("Examples\n")
    assert examples.startswith(f"  advrec {' '.join(words)}")
    assert all(line.startswith("  advrec ") for line in examples.rstrip().splitlines())


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_takes_json_and_debug(words):
    shown = advrec(*words, "--help").out
    assert "--json" in shown
    assert "--debug" in shown


@pytest.mark.parametrize("command", COMPUTING)
def test_what_computes_takes_seed_device_threads_and_a_configuration(command):
    shown = advrec(command, "--help").out
    for flag in ("--seed", "--device", "--threads", "--kernels", "--config", "--data"):
        assert flag in shown


def test_advrec_alone_shows_the_four_steps_in_order():
    shown = advrec()
    assert shown.code == 0
    steps = ["advrec pretrain", "advrec adv-train", "advrec attack", "advrec eval"]
    places = [shown.out.index(step) for step in steps]
    assert places == sorted(places)


SET_BY_THE_COMMAND = {"phase"}
OF_THE_ADVERSARY = {"eps", "adv_weight", "norm", "site", "site_eps", "site_adv_weight"}
SCHEMAS = {"data": DataConfig, "train": TrainConfig}
FIELDS = [
    (section, name)
    for section, kind in SCHEMAS.items()
    for name in kind.model_fields
    if name not in SET_BY_THE_COMMAND
]


@functools.cache
def _help_in_one_line(command: str) -> str:
    """The help of a command without the frames of its panels, so that no text is broken."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", advrec(command, "--help").out).split())


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=lambda word: word)
def test_every_option_is_in_the_help_of_its_commands_with_its_description(section, name):
    description = SCHEMAS[section].model_fields[name].description
    assert description
    shown = {command: _help_in_one_line(command) for command in ("pretrain", "adv-train")}
    assert description in shown["adv-train"]
    if name not in OF_THE_ADVERSARY:
        assert description in shown["pretrain"]
    elif name in BY_FIELD:
        assert BY_FIELD[name].flag not in shown["pretrain"]
    if name in BY_FIELD:
        assert f" {BY_FIELD[name].flag} " in shown["adv-train"]
    if section == "data":
        assert name == "data" or description in " ".join(
            re.sub(r"[│╭╮╰╯─]", " ", advrec("data", "inspect", "--help").out).split()
        )


def test_what_has_no_flag_of_its_own_is_an_entry_of_another():
    without = {(section, name) for section, name in FIELDS if name not in BY_FIELD}
    assert without == {("train", name) for name in ("options", "site_eps", "site_adv_weight")}
    assert {setting.named for setting in SETTINGS} == {None, "lr", "site_eps", "site_adv_weight"}
    assert len({setting.flag for setting in SETTINGS}) == len(SETTINGS)


def test_a_value_outside_the_bounds_of_a_field_is_refused_by_its_flag():
    for setting in SETTINGS:
        bounds = setting.bounds
        if not bounds:
            continue
        low = bounds.get("minimum", bounds.get("exclusiveMinimum"))
        outcome = advrec("adv-train", setting.flag, setting.kind(low - 1))
        assert outcome.code == 2
        assert f"error: {setting.flag} must be " in outcome.err


@pytest.mark.parametrize("setting", SETTINGS, ids=[setting.flag for setting in SETTINGS])
def test_the_default_that_help_shows_is_the_default(setting):
    if setting.section == "data":
        default = DataConfig.model_fields[setting.field].default
        shown = "no" if default is False else str(default)
        assert default is None or setting.default == shown
        return
    general = ResolvedConfig.model_fields[setting.field].default
    wanted = {name: model.defaults.get(setting.field, general) for name, model in MODELS.items()}
    shown = dict(part.split(" ") for part in setting.default.split(", ") if part.count(" ") == 1)
    if set(shown) & set(wanted):  # "mf 0.05, lightgcn 0.001"
        assert {name: _same(value) for name, value in shown.items()} == {
            name: _same(wanted[name]) for name in shown
        }
    elif not setting.default.startswith("the model's"):
        assert _same(setting.default) == _same(general) or setting.field == "layers"


def _same(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return str(value)


def test_help_lists_the_choices_of_a_field():
    for setting in SETTINGS:
        if setting.choices:
            listed = f"One of {', '.join(setting.choices)}."
            assert f"{setting.help} {listed}" in _help_in_one_line("adv-train")
    assert {s.field: s.choices for s in SETTINGS}["optimizer"] == OPTIMIZERS


def test_the_shell_completes_commands_and_choices():
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        env = {
            **os.environ,
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_ADVREC_COMPLETE": "complete_bash",
        }
        code = "import sys; from advrec_cli.main import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        return done.stdout.split()

    assert completed("advrec adv") == ["adv-train"]
    assert completed("advrec pretrain --split loo") == ["loo-time", "loo-random"]
