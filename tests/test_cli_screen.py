"""What reaches a terminal, a pipe and a log: colours, widths, numbers, the line of progress."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from support.cli_runner import advrec

from advrec.report.table import Column, Table
from advrec.training.loop import Event
from advrec_cli import console
from advrec_cli.progress import LOG_SECONDS, TrainingProgress, sentence


def on_a_terminal(*words: str, **env: str) -> str:
    """What `advrec WORDS` writes when all its streams are a terminal."""
    master, slave = pty.openpty()
    code = f"import sys; from advrec_cli.main import main; sys.exit(main({list(words)!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **env},
    )  # fmt: skip
    os.close(slave)
    written = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(master)
    process.wait()
    return written.decode()


def test_a_terminal_gets_colour_unless_no_color_is_set():
    words = ("attack", "nope")
    assert "\x1b[" in on_a_terminal(*words)
    plain = on_a_terminal(*words, NO_COLOR="1")
    assert "no run nope" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)


def test_a_pipe_gets_no_escape_codes():
    for words in (["models"], ["data", "list"], ["attack", "nope"], ["--help"]):
        outcome = advrec(*words)
        assert "\x1b" not in outcome.out + outcome.err


def test_a_table_in_a_pipe_is_not_cut_to_a_width(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = (("x" * 60, "y" * 60, 0.5),)
    console.show_report(Table("T", (Column("a"), Column("b"), Column("c")), rows, ("a note",)))
    printed = capsys.readouterr().out
    assert f"{'x' * 60}  {'y' * 60}  0.5000" in printed
    assert printed.rstrip().endswith("a note")


def test_repeated_text_is_printed_once_and_brackets_are_text(capsys):
    rows = (("[red]run", "random", 0.1), ("[red]run", "random", None), ("other", "random", 2))
    console.show_report(Table("T", (Column("run"), Column("noise"), Column("x")), rows))
    printed = capsys.readouterr().out
    assert printed.count("[red]run") == 1
    assert printed.count("random") == 2
    assert "–" in printed


def test_json_has_no_nan_and_unpacks_arrays(capsys):
    console.emit_json(
        {"a": float("nan"), "b": np.float32(0.5), "c": np.arange(2), "d": {1: (None, True)}}
    )
    assert json.loads(capsys.readouterr().out) == {
        "a": None, "b": 0.5, "c": [0, 1], "d": {"1": [None, True]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59.4, "59 s"), (59.7, "1 min 00 s"), (75, "1 min 15 s"),
     (7260, "2 h 01 min"), (float("inf"), "?")],
)  # fmt: skip
def test_durations_are_read_at_a_glance(seconds, text):
    assert console.duration(seconds) == text


def an_event(kind: str = "epoch", **more: object) -> Event:
    facts = {
        "epoch": 3, "epochs": 10, "step": 5, "steps": 5, "triplets": 500, "rate": 2.5e6,
        "eta_seconds": 70.0, "loss": 0.25,
    }  # fmt: skip
    return Event(kind, **{**facts, **more})  # type: ignore[arg-type]


def test_the_line_has_rate_losses_validation_and_time_left():
    assert sentence(an_event()) == "2.50 M triplets/s  loss 0.2500  1 min 10 s left"
    slow = an_event(rate=1234.5, eta_seconds=None)
    assert sentence(slow, "users") == "1,234 users/s  loss 0.2500"
    full = an_event(adv_loss=0.5, metric="NDCG@20", value=0.3, best_value=0.4)
    assert sentence(full) == (
        "2.50 M triplets/s  loss 0.2500  adversarial 0.5000  NDCG@20 0.3000 (best 0.4000)"
        "  1 min 10 s left"
    )


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(capsys):
    time = [0.0]
    with TrainingProgress(clock=lambda: time[0]) as progress:
        for epoch in range(1, 11):
            time[0] += LOG_SECONDS / 4
            progress(an_event(epoch=epoch))
        progress(an_event("note", message="a note"))
        progress(an_event("finished", message="all done"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "epoch 4/10", "epoch 8/10", "a note", "epoch 10/10", "all done",
    ]  # fmt: skip


def test_quiet_progress_says_nothing(capsys):
    with TrainingProgress(quiet=True) as progress:
        progress(an_event("note", message="a note"))
        progress(an_event("finished", message="all done"))
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_live_line():
    code = (
        "from advrec.training.loop import Event\n"
        "from advrec_cli.progress import TrainingProgress\n"
        "time = [0.0]\n"
        "with TrainingProgress(clock=lambda: time[0]) as progress:\n"
        "    for epoch in range(1, 6):\n"
        "        time[0] += 1.0\n"
        "        progress(Event('epoch', epoch=epoch, epochs=5, steps=1, step=1, triplets=9,\n"
        "                       rate=1e6, loss=0.5))\n"
        "    progress(Event('finished', message='all done'))\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(slave)
    process.wait()
    written = os.read(master, 65536).decode()
    os.close(master)
    assert "epoch 5/5" in written
    assert "1.00 M triplets/s" in written
    assert "all done" in written
    assert "\x1b[2K" in written  # the line is drawn over, not scrolled
